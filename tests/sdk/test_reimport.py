"""A new version of a project's modules can be imported beside the old one, and taken back."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.errors import UserCodeError
from modelpack.sdk.loading import find_service
from modelpack.sdk.reimport import drop_stale_bytecode, taken_out
from modelpack.sdk.service import ServiceSpec

SERVICE = """
import modelpack
from helper import VALUE

@modelpack.service
class Answer:
    @modelpack.api
    def answer(self) -> int:
        return VALUE
"""


@pytest.fixture(autouse=True)
def _own_imports() -> Iterator[None]:
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


def write(folder: Path, value: str, service: str = SERVICE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "service.py").write_text(service)
    (folder / "helper.py").write_text(f"VALUE = {value}\n")
    return folder


def answer_of(spec: ServiceSpec) -> int:
    answer: int = spec.create().answer()
    return answer


def test_a_changed_sibling_is_seen_and_the_old_service_keeps_its_own(tmp_path: Path) -> None:
    root = write(tmp_path / "project", "1")
    old = find_service(root)
    write(root, "2")

    taken_out([root])
    new = find_service(root)

    assert answer_of(new) == 2
    assert answer_of(old) == 1


def test_a_file_that_changes_twice_within_a_second_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would take the bytecode: it knows only the second and the size."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    root = tmp_path / "project"
    for value in "1234":
        write(root, value)
        taken_out([root])
        assert answer_of(find_service(root)) == int(value)


def test_bytecode_of_other_places_stays(tmp_path: Path) -> None:
    kept = []
    for place in (".hidden", "env/lib"):
        folder = tmp_path / place
        (folder / "__pycache__").mkdir(parents=True)
        cached = folder / "__pycache__" / "one.cpython-311.pyc"
        cached.touch()
        (folder / "one.py").touch()
        kept.append(cached)
    (tmp_path / "env" / "pyvenv.cfg").touch()

    drop_stale_bytecode(tmp_path)

    assert all(cached.exists() for cached in kept)


def test_a_version_in_another_folder_takes_nothing_from_the_first(tmp_path: Path) -> None:
    first = write(tmp_path / "v1", "1")
    find_service(first)
    second = write(tmp_path / "v2", "2")
    (second / "helper.py").unlink()

    before = taken_out([first, second])
    with pytest.raises(UserCodeError, match="needs the module 'helper'"):
        find_service(second)
    assert str(first) not in sys.path
    before.put_back()

    assert sys.path[0] == str(first)
    assert sys.modules["helper"].VALUE == 1


def test_a_version_that_fails_is_taken_back_whole(tmp_path: Path) -> None:
    root = write(tmp_path / "project", "1")
    old = find_service(root)
    modules = sys.modules["service"], sys.modules["helper"]
    write(root, "2", service="import helper, extra\n" + SERVICE + "raise ValueError('half way')\n")
    (root / "extra.py").write_text("")

    before = taken_out([root])
    with pytest.raises(UserCodeError, match="ValueError: half way"):
        find_service(root)
    before.put_back()

    assert (sys.modules["service"], sys.modules["helper"]) == modules
    assert "extra" not in sys.modules
    assert answer_of(old) == 1


def test_only_the_users_own_python_modules_are_taken_out(tmp_path: Path) -> None:
    root = write(tmp_path / "project", "1")
    find_service(root)
    compiled = types.ModuleType("fast_part")
    compiled.__file__ = str(root / "fast_part.cpython-311-x86_64-linux-gnu.so")
    sys.modules["fast_part"] = compiled
    os_module = importlib.import_module("os")

    everything = Path(os.__file__).anchor
    taken_out([Path(everything)])

    assert "service" not in sys.modules
    assert sys.modules["fast_part"] is compiled
    assert sys.modules["os"] is os_module
    assert "modelpack.sdk.loading" in sys.modules
    assert "pytest" in sys.modules


def test_a_package_without_init_is_taken_out_too(tmp_path: Path) -> None:
    root = write(tmp_path / "project", "1", service=SERVICE.replace("helper", "parts.helper"))
    (root / "parts").mkdir()
    (root / "parts" / "helper.py").write_text("VALUE = 5\n")
    assert answer_of(find_service(root)) == 5

    taken_out([root])

    assert "parts" not in sys.modules
    assert "parts.helper" not in sys.modules
