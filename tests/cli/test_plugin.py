"""``modelpack plugin``: what it writes works as it is, and is found once it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelpack.cli.scaffold import make_plugin
from modelpack.errors import ConflictError, UsageError


def test_the_plugin_that_is_written_passes_its_tests_untouched(cli, tmp_path: Path) -> None:
    done = cli("plugin", "new", "my-cloud")
    assert (done.status, done.out) == (0, "modelpack-my-cloud\n")
    assert "src/modelpack_my_cloud/target.py" in done.err

    folder = tmp_path / "modelpack-my-cloud"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout[-3000:]
    from modelpack.testing import CLAIMS, PLUGIN_CLAIMS

    assert f"{len(CLAIMS) + len(PLUGIN_CLAIMS)} passed" in tested.stdout


def test_an_installed_plugin_is_a_target(inside, my_cloud: Path) -> None:
    done = inside("plugin", "list", "-o", "json")
    states = {row["name"]: row["state"] for row in json.loads(done.out)}
    assert states.items() >= {"docker": "built in", "my-cloud": "loads"}.items()


def test_a_plugin_that_does_not_load_is_listed_with_the_reason(inside, my_cloud: Path) -> None:
    (my_cloud / "modelpack_my_cloud" / "target.py").write_text("import no_such_module\n")
    done = inside("plugin", "list")
    assert done.status == 0
    assert "does not load: ModuleNotFoundError" in done.out


@pytest.mark.parametrize("name", ["", "My", "1cloud", "-rf", "a_b", "../x", "a--b", "x" * 80, "ä"])
def test_what_is_no_word_for_a_target_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a target"):
        make_plugin(tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


def test_the_names_of_built_in_targets_are_taken(cli) -> None:
    cli("plugin", "new", "docker").failed_well(5, "conflict")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConflictError):
        make_plugin(tmp_path, "my-cloud")
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    make_plugin(tmp_path / "new", "my-cloud")
    for file in (tmp_path / "new").rglob("*"):
        assert "@{" not in str(file)
        if file.is_file():
            assert "@{" not in file.read_text()
