"""Which Python makes the bytecode, and that uv is not asked twice."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import BuildError
from modelpack.image.direct import interpreters
from modelpack.image.direct.interpreters import Compiler, find_compiler

OWN_VERSION = ".".join(str(part) for part in sys.version_info[:3])
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


class FakeUv:
    """Knows one Python, or none, and counts how often it is asked."""

    def __init__(self) -> None:
        self.program: Path | None = None
        self.asked: list[str] = []

    def __call__(self, arguments: Sequence[str], **_: Any) -> str:
        self.asked.append(arguments[-1])
        if self.program is None:
            raise BuildError("no interpreter found")
        return f"{self.program}\n"


@pytest.fixture
def uv(image_cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    fake = FakeUv()
    monkeypatch.setattr(interpreters, "run_uv", fake)
    return fake


def python_that_says(tmp_path: Path, said: str) -> Path:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("wanted", [None, OWN_VERSION])
def test_that_of_modelpack_itself_is_taken_unasked(uv: FakeUv, wanted: str | None) -> None:
    assert find_compiler(OWN, wanted) == Compiler(sys.executable, OWN_VERSION)
    assert uv.asked == []


def test_the_bases_own_version_comes_first_where_it_is_here(uv: FakeUv, tmp_path: Path) -> None:
    uv.program = python_that_says(tmp_path, f"cpython {OWN}.99")
    assert find_compiler(OWN, f"{OWN}.99") == Compiler(str(uv.program), f"{OWN}.99")
    assert uv.asked == [f"cpython@{OWN}.99"]


def test_where_it_is_not_here_that_of_modelpack_is_taken(uv: FakeUv) -> None:
    assert find_compiler(OWN, f"{OWN}.99") == Compiler(sys.executable, OWN_VERSION)


@pytest.mark.parametrize(
    "said", ["pypy 3.9.18", "cpython 3.8.1", "cpython 3.99", "", "cpython 3.9.1rc1"]
)
def test_another_python_than_was_asked_for_is_none(uv: FakeUv, tmp_path: Path, said: str) -> None:
    uv.program = python_that_says(tmp_path, said)
    assert find_compiler("3.9", None) is None


def test_uv_is_asked_once_for_as_long_as_that_python_is_the_same(
    uv: FakeUv, tmp_path: Path
) -> None:
    uv.program = python_that_says(tmp_path, "cpython 3.9.18")
    assert find_compiler("3.9", None) == find_compiler("3.9", None)
    assert len(uv.asked) == 1
    uv.program.write_text("#!/bin/sh\necho 'cpython 3.9.19'\n")
    os.utime(uv.program, (1, 1))
    assert find_compiler("3.9", None) == Compiler(str(uv.program), "3.9.19")
    assert len(uv.asked) == 2


def test_that_there_is_none_is_believed_for_a_day(uv: FakeUv, image_cache: Path) -> None:
    assert find_compiler("3.9", None) is None
    assert find_compiler("3.9", None) is None
    assert len(uv.asked) == 1
    (note,) = (image_cache / "image" / "pythons").iterdir()
    assert json.loads(note.read_bytes()) is None
    yesterday = time.time() - 90_000
    os.utime(note, (yesterday, yesterday))
    find_compiler("3.9", None)
    assert len(uv.asked) == 2


@pytest.mark.parametrize("version", ["3.9.18; rm -rf /", "../../3.9", "3.9.x"])
def test_a_version_that_is_none_is_not_asked_for(uv: FakeUv, version: str) -> None:
    find_compiler("3.9", version)
    assert uv.asked == ["cpython@3.9"]
