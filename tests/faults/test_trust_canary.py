"""S2: a pickle at rest, and code at rest: nothing of a bundle runs until somebody serves it.

canary ── code that leaves a mark when it is imported, a model that leaves one when it is loaded
   └──► every command of the real command table ──► no mark

A new command fails ``test_s02_every_command_is_here`` until it stands in one of the two tables below.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from modelpack import models
from modelpack.archive.builder import build_bundle, lock_inputs
from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.cli.main import main, make_app
from modelpack.config.load import load_project
from modelpack.errors import CodeModelError, ToolMissingError
from modelpack.sdk.loading import find_service
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag
from modelpack.trust import check

SPRINGS = "import os; os.makedirs({mark!r}, exist_ok=True)\n"
SERVICE = """
import modelpack

@modelpack.service
class Canary:
    words = modelpack.Model("words:1")

    @modelpack.api
    def ask(self, x: int = 1) -> int:
        return x
"""
OWN = """
import modelpack

@modelpack.service
class Own:
    words = modelpack.Model("words:1")

    @modelpack.api
    def ask(self, x: int = 1) -> int:
        return x
"""

# What is done with the canary by each command, in this order, with the status that it must end with: a
# command that fails for another reason would prove nothing.  {key} and the like are places of the cage.
COMMANDS: dict[str, list[tuple[str, int]]] = {
    "init": [("fresh", 0)],
    "list": [("", 0), ("-o json", 0)],
    "call": [("127.0.0.1:1 predict --set x=1 --attempts 1", 1)],
    "inspect": [("canary", 0), ("canary:1 -o json", 0)],
    "diff": [("canary:1 canary:2 --text", 0), ("canary:1 canary:2 -o json", 0)],
    "history": [("canary", 0)],
    "tag": [("canary:1 stable", 0)],
    "export": [("canary:1 canary.modelpack", 0)],
    "sign": [("canary:1 --key {key}", 0), ("models/words --key {key}", 0)],
    "verify": [("canary:1", 0), ("canary:1 --key {public} --unpack out", 0), ("--all", 0)],
    "push": [("canary:1 file://{remote}", 0), ("models/words:1 file://{remote}", 0)],
    "copy": [("file://{remote}#canary:1 file://{copied}", 0)],
    "delete": [("canary:1", 0)],
    "undelete": [("canary:1", 0)],
    "pull": [("file://{copied}#canary:1", 0)],
    "import": [("{archive}", 0)],
    "gc": [("--plan", 0), ("", 0)],
    "build": [("{own} --version 1", 0)],
    "containerize": [("canary:1 --dockerfile image", 0), ("canary:1 --plan -o json", 0)],
    # No image of it is at hand, and what the bundle is said to be is not believed.
    "image inspect": [("oci:{copied}:canary:1", 4)],
    "image history": [("oci:{copied}:canary:1", 4)],
    "image diff": [("oci:{copied}:canary:1 oci:{copied}:canary:1", 4)],
    "deploy": [
        ("canary:1 --target local --plan", 0),
        ("canary:1 --target local --offline --save release.plan --output sent", 0),
    ],
    "apply": [("no-such.plan", 3)],
    "doctor": [("", 0)],
    "completion": [("bash", 0)],
    "__complete": [("1 modelpack inspect ca", 0)],
    "login": [("127.0.0.1:9 -u me --password-stdin", 1)],
    "logout": [("127.0.0.1:9", 0)],
    "models list": [("", 0)],
    "models inspect": [("words", 0)],
    "models convert": [("words --to onnx", 2), ("trap --to onnx", 4)],
    "models delete": [("words:1", 0)],
    "models undelete": [("words:1", 0)],
    "servers list": [("", 0)],
    "servers status": [("canary", 3)],
    "servers scale": [("canary --replicas 2", 3)],
    "deployments list": [("", 0)],
    "deployments status": [("canary", 3)],
    "deployments metrics": [("", 0)],
    "deployments logs": [("canary", 3)],
    "deployments history": [("canary", 3)],
    "deployments rollback": [("canary", 3)],
    "deployments scale": [("canary --min 2", 3)],
    "deployments destroy": [("canary", 3)],
    "autoscale simulate": [("no-such.csv", 2)],
    "plugin new": [("my-cloud", 0)],
    "plugin list": [("", 0)],
    "config show": [("", 0)],
    "config check": [("{own}", 0)],
    "config schema": [("", 0)],
}

# These run what they are given; that is what they are for, and the policy is asked first.
RUN_THE_BUNDLE = {
    "serve": "becomes its server",
    "batch": "runs its apis on the rows of a file",
    "bench": "serves it for as long as it is measured",
    "image run": "starts a container of an image",
    "servers swap": "lets a running server load it",
}


@dataclass(frozen=True)
class Cage:
    """A store with the canary in it, and the places that the commands are given."""

    folder: Path
    marks: Path
    names: dict[str, str]

    def sprung(self) -> list[str]:
        return sorted(path.name for path in self.marks.iterdir())

    def words(self, command: str, text: str) -> list[str]:
        return [*command.split(), *text.format(**self.names).split()]


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.mark,)


def write_project(folder: Path, name: str, files: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / "modelpack.yaml").write_text(f"name: {name}\nservice: service\n")
    for path, text in files.items():
        (folder / path).write_text(text)
    store, project = Store(), load_project(folder)
    packages = [LockedPackage("numpy", "2.0.0", None, ("sha256:" + "0" * 64,))]
    inputs = lock_inputs(project, store.list(Kind.MODEL, "words"), store)
    (folder / "requirements.lock").write_text(lock_text(inputs.first_line, packages))
    return folder


@pytest.fixture(autouse=True)
def _never_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused would take this process's place, or never end."""

    def served(*_: object, **__: object) -> None:
        raise AssertionError("it would have been served")

    monkeypatch.setattr("os.execve", served)
    monkeypatch.setattr("modelpack.server.run", served)


@pytest.fixture
def cage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cage]:
    marks = tmp_path / "marks"
    marks.mkdir()
    path, loaded = list(sys.path), set(sys.modules)
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    models.save("words", Trap(marks / "pickle"), version="1")
    models.save("trap", Trap(marks / "joblib"), framework="sklearn", version="1")
    springs = {
        name: SPRINGS.format(mark=str(marks / name))
        for name in ("service.py", "setup.py", "conftest.py", "sitecustomize.py", "__init__.py")
    }
    springs["service.py"] += SERVICE
    folder = write_project(tmp_path / "canary", "canary", springs)
    project = load_project(folder)
    build_bundle(project, find_service(folder), store=Store(), version="1")
    (folder / "README.md").write_text("{{ 7 * 7 }} ${HOME} $(id)\n")
    build_bundle(project, find_service(folder), store=Store(), version="2")
    Store().export(canary(Store(), "2"), tmp_path / "given.modelpack")
    forget(path, loaded)
    for mark in marks.iterdir():  # its own build ran the code, as its maker's
        mark.rmdir()
    own = write_project(tmp_path / "own", "own", {"service.py": OWN})
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    names = {
        "key": str(tmp_path / "k.pem"),
        "public": str(tmp_path / "k.pub"),
        "archive": str(tmp_path / "given.modelpack"),
        "remote": str(tmp_path / "remote"),
        "copied": str(tmp_path / "copied"),
        "own": str(own),
    }
    assert main(["sign", "--new-key", names["key"], "--no-password"]) == 0
    yield Cage(tmp_path, marks, names)
    forget(path, loaded)


def forget(path: list[str], loaded: set[str]) -> None:
    sys.path[:] = path
    for name in set(sys.modules) - loaded:
        if name.split(".")[0] in ("service", "conftest", "setup", "sitecustomize"):
            del sys.modules[name]


def canary(store: Store, version: str = "1") -> Entry:
    return store.find(Tag("canary", version), Kind.BUNDLE)


def leaves(command: Any, path: str = "") -> list[str]:
    """Return every command that does something, groups opened."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [path]
    return [leaf for name, one in inner.items() for leaf in leaves(one, f"{path} {name}".strip())]


def test_s02_every_command_is_here() -> None:
    """Whoever adds a command says here what it does with a bundle that nobody trusts."""
    known = COMMANDS.keys() | RUN_THE_BUNDLE.keys()
    assert set(leaves(typer.main.get_command(make_app()))) == known


def test_s02_the_canary_sings_when_it_is_run(cage: Cage) -> None:
    """Else the next test could not fail."""
    store = Store()
    folder = store.unpack(canary(store), cage.folder / "unpacked")
    spec = find_service(folder / "code")
    assert cage.sprung() == ["service.py"]
    spec.models["words"].load()
    assert cage.sprung() == ["pickle", "service.py"]


def test_s02_no_command_runs_anything_of_a_bundle(
    cage: Cage, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("password\n"))
    for command, uses in COMMANDS.items():
        for text, expected in uses:
            words = cage.words(command, text)
            status = main(words)
            said = capfd.readouterr()
            assert cage.sprung() == [], words
            assert status == expected, (words, said.err)


def test_s02_models_that_carry_code_are_marked_and_refused(
    cage: Cage, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "canary:1"]) == 0
    assert "loading it runs code" in capfd.readouterr().out
    assert main(["serve", "canary:1", "--no-code-models"]) == 4
    said = capfd.readouterr().err
    assert "error[carries-code]: 'canary:1' holds models that run code" in said
    assert "'words' (pickled)" in said
    store = Store()
    entry = canary(store)
    (store.root.parent / "trust.yaml").write_text('rules: [{names: ["*"], code_models: refuse}]\n')
    with pytest.raises(CodeModelError):
        check(store, entry, "containerize")
    assert main(["deploy", "canary:1", "--target", "local", "--yes"]) == 4
    assert cage.sprung() == []


def test_s02_serving_names_the_models_that_run_code(
    cage: Cage, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise ToolMissingError("far enough")

    monkeypatch.setattr("modelpack.archive.ensure_environment", stop)
    assert main(["serve", "canary:1", "--port", "0"]) == 6
    warning, error = capfd.readouterr().err.splitlines()[-2:]
    assert warning.startswith("warning: serve it only if you trust it, models run code")
    assert warning.endswith(": 'words' (pickled)")
    assert error == "error[tool-missing]: far enough"
    assert cage.sprung() == []


def test_s02_a_project_is_asked_too_whether_its_models_carry_code(
    cage: Cage, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cage.names["own"])
    assert main(["serve", "--no-code-models", "--port", "0"]) == 4
    assert "'words' (pickled)" in capfd.readouterr().err
    assert cage.sprung() == []
