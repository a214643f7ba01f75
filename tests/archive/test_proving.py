"""A lock is proved: what the service imports is there when nothing but the lock is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack import paths
from modelpack.archive import proving
from modelpack.archive.imports import Code
from modelpack.archive.inputs import Inputs
from modelpack.archive.lock import ensure_lock, target_platform
from modelpack.archive.platforms import Platform, host_platform
from modelpack.archive.proving import prove_lock
from modelpack.archive.requirements import checked_requirements
from modelpack.errors import UsageError, UserCodeError
from modelpack.manifest import RUNTIME_REQUIREMENTS

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = Platform("aarch64" if host_platform().machine == "x86_64" else "x86_64")


@pytest.fixture
def prove(
    index: Any, tmp_path: Path, lay_out: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, ...]]:
    """Return a function that proves a lock of ``tiny`` for these files.

    The packages of the index are empty, so the server's own modules are not imported.
    """
    monkeypatch.setattr(proving, "_RUNTIME", ("modelpack.tag",))
    lines = checked_requirements([*RUNTIME_REQUIREMENTS, "tiny"], None)
    inputs = Inputs(lines, PYTHON, target_platform())
    lock, _ = ensure_lock(inputs, tmp_path / "requirements.lock")

    def run(files: dict[str, str]) -> tuple[str, ...]:
        code = Code(lay_out(files), tuple(files), "service")
        return prove_lock(lock, PYTHON, [host_platform()], code=code)

    return run


def leftovers() -> list[Path]:
    return list((paths.cache_dir() / "proofs").iterdir())


def test_every_module_that_the_service_reaches_is_imported(
    prove: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    modules = prove(
        {
            "service.py": "import tiny\nfrom parts import one\nassert tiny.VERSION == '1.1'\n",
            "parts/__init__.py": "",
            "parts/one.py": f"open({str(tmp_path / 'ran')!r}, 'w').close()\n",
            "train.py": "import not_locked\n",
        }
    )
    assert modules == ("modelpack.tag", "parts", "parts.one", "service")
    assert (tmp_path / "ran").exists()
    assert leftovers() == []


def test_what_is_installed_here_and_not_in_the_lock_is_missed(
    prove: Callable[..., tuple[str, ...]],
) -> None:
    """Pytest is there where this runs."""
    with pytest.raises(UserCodeError, match="'parts' cannot be imported") as caught:
        prove({"service.py": "import parts\n", "parts.py": "import pytest\n"})
    assert "pytest" in (caught.value.hint or "")
    assert leftovers() == []


def test_a_file_that_is_not_packed_is_missed(
    prove: Callable[..., tuple[str, ...]], lay_out: Callable[..., Path]
) -> None:
    lay_out({"labels.txt": "0"})
    with pytest.raises(UserCodeError, match=r"labels\.txt"):
        prove(
            {
                "service.py": "import pathlib\npathlib.Path(__file__).with_name('labels.txt').read_text()\n"
            }
        )


def test_a_lock_for_other_machines_cannot_be_proved_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing can be proved here"):
        prove_lock("", PYTHON, [OTHER], code=None)
