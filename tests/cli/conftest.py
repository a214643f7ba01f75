"""Runs the real command in a process of its own, and projects and bundles to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive import LockedPackage
from modelpack.archive.builder import build_bundle, lock_inputs
from modelpack.archive.lockfile import lock_text
from modelpack.cli.main import main
from modelpack.cli.scaffold import make_plugin
from modelpack.config.load import load_project
from modelpack.sdk.loading import find_service
from modelpack.store import Entry, Store

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"

SERVICE = """
import modelpack


@modelpack.service
class Hello:
    @modelpack.api
    def greet(self, name: str, times: int = 1) -> str:
        return " ".join(["hello " + name] * times)
"""
PACKAGE = LockedPackage("numpy", "2.0.0", None, ("sha256:" + "0" * 64,))


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def failed_well(self, status: int, code: str) -> None:
        """Check that it failed as a user should see it: short, coded, without a traceback."""
        assert self.status == status, self.err
        lines = self.err.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("error["))
        assert lines[start].startswith(f"error[{code}]: ")
        assert len(lines) - start <= 4
        assert "Traceback" not in self.err
        assert self.out == ""


Cli = Callable[..., Done]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run ``modelpack ARGUMENTS`` in a folder, without a terminal."""

    def run(
        *arguments: object,
        cwd: Path = tmp_path,
        env: Mapping[str, str] | None = None,
        text: str = "",
    ) -> Done:
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    """Run ``modelpack ARGUMENTS`` in this process, which is quicker; there is no terminal either."""

    def run(*arguments: object, cwd: Path = tmp_path, env: Mapping[str, str] | None = None) -> Done:
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            capfd.readouterr()
            status = main([str(word) for word in arguments])
        done = capfd.readouterr()
        return Done(status, done.out, done.err)

    return run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose lock is there already, so that building it needs no network."""
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "modelpack.yaml").write_text("name: hello\nservice: service:Hello\n")
    lock_in(folder)
    return folder


def lock_in(folder: Path) -> None:
    """Write the lock that a build of the project will take for its own."""
    inputs = lock_inputs(load_project(folder), [], Store())
    (folder / "requirements.lock").write_text(lock_text(inputs.first_line, [PACKAGE]))


@pytest.fixture
def relock() -> Callable[[Path], None]:
    """Write the lock anew, after the settings have changed."""
    return lock_in


@pytest.fixture
def bundle(project: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A bundle of the project, in the store of this test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded: dict[str, Any] = dict(sys.modules)
    spec = find_service(project)
    entry = build_bundle(load_project(project), spec, store=Store(), version="1").entry
    for name in set(sys.modules) - set(loaded):
        if name == "service":
            del sys.modules[name]
    return entry


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A model that doubles rows of two numbers."""
    from onnx import TensorProto, helper, save

    row = ["batch", 2]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, row)],
    )
    opsets = [helper.make_opsetid("", 17)]
    folder = tmp_path / "model"
    folder.mkdir()
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "double.onnx")
    return folder / "double.onnx"


@pytest.fixture(scope="session")
def plugin_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin ``my-cloud`` that ``modelpack plugin new`` writes, built."""
    folder = tmp_path_factory.mktemp("plugin")
    make_plugin(folder / "source", "my-cloud")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=folder / "source",
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture
def my_cloud(plugin_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin, installed for this test: its folder is on the path, here and below."""
    site = tmp_path / "site"
    with zipfile.ZipFile(plugin_wheel) as wheel:
        wheel.extractall(site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "modelpack_my_cloud"]:
        del sys.modules[name]
