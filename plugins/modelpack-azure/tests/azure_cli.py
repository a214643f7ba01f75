"""The command line over the small Azure, in this process: the plugin as it is when it is installed."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from modelpack_azure.target import AzureTarget

from modelpack.archive.builder import build_bundle, lock_inputs
from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.cli.main import main
from modelpack.config.load import load_project
from modelpack.deploy.catalog import GROUP
from modelpack.sdk.loading import find_service
from modelpack.store import Store
from modelpack.testing import Hours

from .fake_azure import FakeAzure

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
SERVICE = """
import modelpack


@modelpack.service
class Words:
    @modelpack.api
    def double(self, x: list[float]) -> list[float]:
        return [2 * one for one in x]
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def failed_well(self, status: int) -> None:
        """Check that it failed as people should see it: short, coded, with something to do."""
        lines = self.err.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("error["))
        assert (self.status, self.out) == (status, ""), self.err
        assert len(lines) - start <= 4, self.err
        assert any(line.startswith("  help: ") for line in lines[start:]), self.err
        assert "Traceback" not in self.err


@dataclass
class Cli:
    """Runs commands in a project, over a small Azure."""

    azure: FakeAzure
    capsys: Any

    def __call__(self, *words: str) -> Done:
        self.capsys.readouterr()
        status = main(list(words))
        found = self.capsys.readouterr()
        return Done(status, found.out, found.err)

    def deploy(self, target: str, *words: str) -> Done:
        where = ("--option", f"endpoint={self.azure.endpoint}")
        return self("deploy", "words", "-t", target, *where, *words)


def installed(folder: Path) -> None:
    """Write what an installer would, so that the targets are found by their entry points."""
    info = folder / "modelpack_azure-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modelpack-azure\nVersion: 0.1.0\n")
    points = [f"{name} = {value}" for name, value in PROJECT["entry-points"][GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points, ""]))


def bundled(folder: Path) -> None:
    """Build a bundle ``words:1`` into the store of this test."""
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "modelpack.yaml").write_text("name: words\nservice: service:Words\n")
    inputs = lock_inputs(load_project(folder), [], Store())
    package = LockedPackage("numpy", "2.0.0", None, ("sha256:" + "0" * 64,))
    (folder / "requirements.lock").write_text(lock_text(inputs.first_line, [package]))
    build_bundle(load_project(folder), find_service(folder), store=Store(), version="1")


@pytest.fixture
def cli(
    azure: FakeAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Iterator[Cli]:
    """A project with a bundle, and targets that push to the small Azure and wait in no time."""
    site = tmp_path / "site"
    site.mkdir()
    installed(site)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    bundled(tmp_path / "words")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.chdir(tmp_path / "words")
    real = AzureTarget.from_options.__func__  # type: ignore[attr-defined]

    def made(cls: Any, options: Any) -> Any:
        calls, clock = azure.arm(), Hours().clock()
        return replace(real(cls, options), calls=calls, push=azure.push, clock=clock)

    monkeypatch.setattr(AzureTarget, "from_options", classmethod(made))
    yield Cli(azure, capsys)
    sys.modules.pop("service", None)
