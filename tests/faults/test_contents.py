"""F38: the same input is the same bundle, whoever builds it, wherever and when.  S11: no secret gets in.

project + model + lock ──modelpack build, as someone else, elsewhere, later──► the same digests
project full of decoys ──modelpack build──► blobs without one of them; each refusal names path and rule
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import modelpack
from modelpack import models
from modelpack.archive.builder import lock_inputs
from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.config.load import load_project
from modelpack.store import Kind, Store

PACKAGES = [
    LockedPackage("numpy", "2.4.6", None, ("sha256:" + "0" * 64, "sha256:" + "f" * 64)),
    LockedPackage("tiny", "1.0", "python_full_version < '3.12'", ("sha256:" + "1" * 64,)),
]
SERVICE = """
import modelpack


@modelpack.service
class Hello:
    double = modelpack.Model("double")

    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[str]:
        return ["a"] * len(x)

    @modelpack.api
    def greet(self, name: str, times: int = 1) -> dict[str, str]:
        return {"text": name * times}
"""
SETTINGS = """
name: hello
service: service:Hello
server: {max_queue_rows: 7, port: 4000}
image: {env: {B: "2", A: "1"}, system_packages: [curl]}
"""
SAVE_AND_BUILD = """
import sys
import modelpack
from modelpack.cli.main import main

folder, model, accuracy = sys.argv[1:]
modelpack.models.save("double", model, metrics={"accuracy": float(accuracy)})
sys.exit(main(["build", folder, "-o", "json"]))
"""
IMPORTED = Path(modelpack.__file__).parents[1]
INSTALLED = next(path for path in sys.path if path.endswith("site-packages"))


@dataclass(frozen=True)
class Made:
    """The digests of what a build left in its store."""

    tag: str
    bundle: str
    model: str
    archive: bytes
    """What ``export`` writes once the statements, which say who and when, are taken away."""


@dataclass(frozen=True)
class Circumstances:
    """What must not matter."""

    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "project"
    around: Sequence[str] = ()
    """A program to run it in."""
    umask: int = 0o022
    user: int | None = None
    is_reversed: bool = False
    """Lay the files out in another order."""
    age_s: int = 0
    """How long ago the files were written."""
    accuracy: float = 0.5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model beside it and its lock in it."""
    root = tmp_path_factory.mktemp("f38")
    project = root / "project"
    files = {
        "service.py": SERVICE,
        "modelpack.yaml": SETTINGS,
        "README.md": "# Hello\n",
        "pkg/__init__.py": "",
        "pkg/empty.txt": "",
        "data/ü 日本.txt": "words",
        "data/Zulu": "z",
        "data/alpha": "a",
        "run.sh": "#!/bin/sh\n",
    }
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    (project / "run.sh").chmod(0o755)
    _write_model(root / "double.onnx")
    store = Store(root / "first" / "store")
    entry = store.find(models.save("double", root / "double.onnx", store=store), Kind.MODEL)
    inputs = lock_inputs(load_project(project), [entry], store)
    (project / "requirements.lock").write_text(lock_text(inputs.first_line, PACKAGES))
    return root


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A folder that other users can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="modelpack-f38-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def usual(source: Path) -> Made:
    """What a plain build makes."""
    folder = Path(tempfile.mkdtemp(prefix="modelpack-f38-"))
    try:
        return build(source, folder, Circumstances())
    finally:
        shutil.rmtree(folder)


def build(source: Path, place: Path, how: Circumstances) -> Made:
    """Copy the project to ``place``, save its model and build it there, in a process of its own."""
    project = place / how.folder
    before = os.umask(how.umask)
    try:
        _copy(source / "project", project, how)
        shutil.copyfile(source / "double.onnx", place / "double.onnx")
        (place / "home").mkdir()
    finally:
        os.umask(before)
    if how.user is not None:
        for path in (place, *place.rglob("*")):
            os.chown(path, how.user, how.user)
    script = [how.python, "-c", SAVE_AND_BUILD, str(project), str(place / "double.onnx")]
    done = subprocess.run(
        [*how.around, *script, str(how.accuracy)],
        cwd=place,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(IMPORTED), INSTALLED]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(place / "home"),
            "MODELPACK_HOME": str(place / "home"),
            "MODELPACK_CACHE": str(place / "home" / "cache"),
            **how.environment,
        },
        umask=how.umask,
        user=how.user,
        group=how.user,
        extra_groups=[] if how.user is not None else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return _made(Store(place / "home" / "store"), json.loads(done.stdout)["tag"], place)


def _made(store: Store, tag: str, place: Path) -> Made:
    (bundle,), (model,) = store.list(Kind.BUNDLE), store.list(Kind.MODEL)
    assert str(bundle.tag) == tag
    for entry in (bundle, model):
        for referrer in store.referrers(entry):
            store.detach(referrer)
    archive = store.export(bundle, place / "a.modelpack").read_bytes()
    return Made(tag, bundle.digest, model.digest, archive)


def _copy(source: Path, target: Path, how: Circumstances) -> None:
    """Lay files out one by one, so that the order in the folders is that in which they came."""
    paths = sorted((path for path in source.rglob("*") if path.is_file()), reverse=how.is_reversed)
    for path in paths:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        if path.stat().st_mode & 0o100:
            copy.chmod((0o777 & ~how.umask) | 0o100)
        moment = path.stat().st_mtime - how.age_s
        os.utime(copy, (moment, moment))


def _write_model(file: Path) -> None:
    from onnx import TensorProto, helper, save

    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "double", tensors[:1], tensors[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


@cache
def other_pythons() -> tuple[str, ...]:
    """Return interpreters of this minor version with another patch version."""
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [Path(one) for one in os.environ["PATH"].split(os.pathsep)]
    folders += [
        Path("/usr/bin"),
        Path("/usr/local/bin"),
        *Path.home().glob(".pyenv/versions/*/bin"),
    ]
    found: dict[str, str] = {}
    for program in {(folder / wanted).resolve() for folder in folders}:
        if not os.access(program, os.X_OK):
            continue
        said = subprocess.run(
            [program, "-c", "import platform; print(platform.python_version())"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        version = said.stdout.strip()
        if said.returncode == 0 and version != platform.python_version():
            found.setdefault(version, str(program))
    return tuple(found.values())


def python_of_nobody() -> str:
    """Return an interpreter that another user may run; skips the test without one."""
    for program in (sys.executable, *other_pythons()):
        try:
            done = subprocess.run(
                [program, "-c", "import modelpack, numpy"],
                user=65534, group=65534, extra_groups=[], capture_output=True, check=False,
                env={"PYTHONPATH": os.pathsep.join([str(IMPORTED), INSTALLED])}, cwd="/",
            )  # fmt: skip
        except PermissionError:
            continue
        if done.returncode == 0:
            return program
    pytest.skip("no other user may run one of the interpreters here")


PLAIN = {
    "later, in another zone": Circumstances(
        environment={"TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "1"}, age_s=400_000_000
    ),
    "another locale": Circumstances(environment={"LC_ALL": "C", "LANG": "tr_TR.UTF-8"}),
    "an open umask": Circumstances(umask=0),
    "a closed umask": Circumstances(umask=0o077),
    "another folder": Circumstances(folder="Some where/dé ep/er"),
    "another order of files": Circumstances(is_reversed=True),
    "a hash seed": Circumstances(environment={"PYTHONHASHSEED": "1"}),
    "another hash seed": Circumstances(environment={"PYTHONHASHSEED": "4294967295"}),
    "in a pipeline, with other metrics": Circumstances(
        environment={"MODELPACK_BUILDER": "https://ci.example/7"}, accuracy=0.75
    ),
}


@pytest.mark.parametrize("how", PLAIN.values(), ids=PLAIN.keys())
def test_f38_the_same_input_is_the_same_bundle(
    source: Path, usual: Made, anywhere: Path, how: Circumstances
) -> None:
    made = build(source, anywhere, how)
    assert (made.tag, made.bundle, made.model) == (usual.tag, usual.bundle, usual.model)
    assert made.archive == usual.archive


def test_f38_another_user_builds_the_same_bundle(source: Path, usual: Made, anywhere: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    assert build(source, anywhere, Circumstances(python=python_of_nobody(), user=65534)) == usual


def test_f38_another_host_builds_the_same_bundle(source: Path, usual: Made, anywhere: Path) -> None:
    around = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    named = subprocess.run([*around, "uname", "-n"], capture_output=True, text=True, check=False)
    if named.stdout.strip() != "elsewhere":
        pytest.skip(f"a host name of one's own is not to be had here: {named.stderr.strip()}")
    assert build(source, anywhere, Circumstances(around=around)) == usual


def test_f38_another_patch_version_of_python_builds_the_same_bundle(
    source: Path, usual: Made, anywhere: Path
) -> None:
    if not other_pythons():
        pytest.skip(f"there is no Python of this minor version but {platform.python_version()}")
    for number, program in enumerate(other_pythons()):
        place = anywhere / str(number)
        place.mkdir()
        assert build(source, place, Circumstances(python=program)) == usual


def test_f38_another_input_is_another_bundle(source: Path, usual: Made, anywhere: Path) -> None:
    """The digests would not be worth much if everything gave the same."""
    changed = anywhere / "changed"
    shutil.copytree(source / "project", changed / "project")
    shutil.copy(source / "double.onnx", changed)
    (changed / "project" / "pkg" / "empty.txt").write_text("x")
    place = anywhere / "place"
    place.mkdir()
    made = build(changed, place, Circumstances())
    assert made.bundle != usual.bundle
    assert made.model == usual.model
