"""Examples as their README has them: copied away, trained by their own ``train.py``."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Example:
    """A copy of an example, and the home that its training has saved to."""

    folder: Path
    home: Path
    said: str
    """What ``train.py`` printed."""

    def use(self, monkeypatch: pytest.MonkeyPatch) -> Example:
        """Make its home the home of the test."""
        monkeypatch.setenv("MODELPACK_HOME", str(self.home))
        monkeypatch.chdir(self.folder)
        return self

    def split(self) -> Any:
        """Return x_train, x_test, y_train, y_test as the example's own ``train.py`` splits them."""
        return runpy.run_path(str(self.folder / "train.py"))["split"]()

    def service(self) -> Any:
        """Return the example's service, made as a plain object."""
        from modelpack.sdk.loading import find_service

        return find_service(self.folder).create()


def copied(name: str, tmp_path_factory: pytest.TempPathFactory) -> Example:
    root = tmp_path_factory.mktemp(name)
    folder = root / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    home = root / "home"
    if not (folder / "train.py").is_file():
        return Example(folder, home, "")
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder,
        env={**os.environ, "MODELPACK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Example(folder, home, done.stdout)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Example]:
    """Return an example by its name, trained once for all tests of a file."""
    made: dict[str, Example] = {}

    def get(name: str) -> Example:
        if name not in made:
            made[name] = copied(name, tmp_path_factory)
        return made[name]

    return get


@pytest.fixture
def digits(example: Callable[[str], Example], monkeypatch: pytest.MonkeyPatch) -> Example:
    return example("digits-onnx").use(monkeypatch)


@pytest.fixture
def iris(example: Callable[[str], Example], monkeypatch: pytest.MonkeyPatch) -> Example:
    return example("iris-sklearn").use(monkeypatch)


@pytest.fixture
def words(example: Callable[[str], Example], monkeypatch: pytest.MonkeyPatch) -> Example:
    return example("python-function").use(monkeypatch)
