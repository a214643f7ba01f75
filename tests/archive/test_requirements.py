from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.archive.requirements import checked_requirements
from modelpack.errors import ConfigError


def test_lines_come_out_in_one_form_sorted_and_once() -> None:
    lines = ["NumPy >= 1.26", "scikit_learn", "numpy>=1.26", "uvicorn[standard] ~=0.30"]
    assert checked_requirements(lines, None) == (
        "numpy>=1.26",
        "scikit-learn",
        "uvicorn[standard]~=0.30",
    )


def test_markers_are_kept() -> None:
    line = "tomli>=2; python_version < '3.11'"
    assert checked_requirements([line], None) == ('tomli>=2; python_version < "3.11"',)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--index-url http://evil.example/simple", "is an option"),
        ("--extra-index-url=http://evil.example", "is an option"),
        ("-r other.txt", "is an option"),
        ("-e .", "is an option"),
        ("numpy --index-url http://evil.example", "is a URL"),
        ("numpy --hash=sha256:00", "is not a requirement"),
        ("numpy\n--index-url http://evil.example", "holds a control character"),
        ("numpy\\\n--pre", "holds a control character"),
        ("numpy \x1b[31m", "holds a control character"),
        ("./local", "is a path"),
        ("../local", "is a path"),
        ("/abs/local", "is a path"),
        ("wheels/thing-1.0-py3-none-any.whl", "is a path"),
        ("thing @ file:///local", "names a URL"),
        ("thing @ https://user:hunter2@host.example/thing.whl", "is a path"),
        ("thing @ https://user:hunter2@host.example/thing", "names a URL"),
        ("git+https://user:hunter2@host.example/thing", "is a URL"),
        ("numpy==", "is not a requirement"),
        ("", "is not a requirement"),
        ("$(touch x)", "is not a requirement"),
    ],
)
def test_what_is_no_plain_requirement_is_refused(line: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_requirements([line], Path("/p/modelpack.yaml"))
    message = caught.value.message
    assert message.startswith("modelpack.yaml: requirements[0]: ")
    assert why in message
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "hunter2" not in message
    assert "\n" not in message
    assert "\x1b" not in message


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        checked_requirements(["numpy", "-e .", "=="], Path("pyproject.toml"))
    assert [mistake.what[:15] for mistake in caught.value.mistakes] == [
        "requirements[1]",
        "requirements[2]",
    ]
