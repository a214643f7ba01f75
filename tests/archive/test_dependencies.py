"""Where a lock is made from: what counts, in which order, and what is said of it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.builder import Built, build_bundle
from modelpack.archive.dependencies import Code, Locking, gather_inputs, lock_dependencies
from modelpack.archive.inputs import Inputs
from modelpack.archive.lockfile import read_lock
from modelpack.archive.requirements import checked_requirements
from modelpack.config.settings import Project
from modelpack.errors import ConfigError, NotFoundError, UsageError
from modelpack.manifest import RUNTIME_REQUIREMENTS
from modelpack.store import Store

HASH = "0a" * 32


class Heard:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, text: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def gather(lay_out: Callable[..., Path], heard: Heard) -> Callable[..., Inputs]:
    """Return a function that gathers the inputs of a project with these files and settings."""

    def run(files: dict[str, str], brought: tuple[str, ...] = (), **settings: Any) -> Inputs:
        root = lay_out({"service.py": "", **files})
        locking = settings.pop("locking", Locking())
        project = Project(root=root, **settings)
        code = Code(root, tuple(name for name in files if name.endswith(".py")), "service")
        return gather_inputs(project, code, brought, locking, heard)

    return run


def own(inputs: Inputs) -> set[str]:
    return set(inputs.requirements) - set(checked_requirements(RUNTIME_REQUIREMENTS, None))


def test_requirements_of_the_project_and_of_its_models_are_taken(
    gather: Callable[..., Inputs],
) -> None:
    inputs = gather({}, ("onnxruntime>=1.20",), requirements=("Tiny >=1",))
    assert own(inputs) == {"tiny>=1", "onnxruntime>=1.20"}
    assert inputs.pins is None


def test_without_any_the_imports_say_what_is_needed(
    gather: Callable[..., Inputs], heard: Heard
) -> None:
    """Pytest stands for a package that is installed here; what models bring is not said again."""
    text = "import pytest, numpy, onnxruntime\nimport not_to_be_had\n"
    inputs = gather({"service.py": text}, ("onnxruntime>=1.20",))
    assert own(inputs) == {"pytest", "onnxruntime>=1.20"}
    assert inputs.preferred == (f"pytest=={pytest.__version__}",)
    assert any(f"pytest (pytest {pytest.__version__})" in note for note in heard.notes)
    assert any("not_to_be_had" in note for note in heard.notes)


def test_a_version_that_happens_to_be_installed_here_is_no_input(
    gather: Callable[..., Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague with another one takes the lock as it is."""
    here = gather({"service.py": "import pytest\n"})
    monkeypatch.setattr("importlib.metadata.Distribution.version", property(lambda _: "1.2.3"))
    there = gather({"service.py": "import pytest\n"})
    assert here.preferred != there.preferred
    assert here.digest == there.digest


@pytest.mark.parametrize(
    "said", [{"requirements": ("tiny",)}, {"places": {"requirements": "x:1:1"}}]
)
def test_whoever_lists_requirements_gets_those_and_no_others(
    gather: Callable[..., Inputs], said: dict[str, Any]
) -> None:
    """An empty list says that nothing is needed."""
    inputs = gather({"service.py": "import pytest\n"}, **said)
    assert own(inputs) == set(said.get("requirements", ()))


HASHED = f"tiny==1.0 --hash=sha256:{HASH}\n"


def test_a_lock_of_the_project_counts_before_the_imports(
    gather: Callable[..., Inputs], heard: Heard
) -> None:
    inputs = gather({"service.py": "import pytest\n", "requirements.txt": HASHED})
    assert own(inputs) == set()
    assert inputs.pins is not None
    assert inputs.pins.are_requirements
    assert "versions from 'requirements.txt'" in heard.notes


def test_requirements_beside_a_lock_say_what_and_the_lock_says_which_version(
    gather: Callable[..., Inputs],
) -> None:
    inputs = gather({"requirements.txt": HASHED}, requirements=("tiny-helper",))
    assert own(inputs) == {"tiny-helper"}
    assert inputs.pins is not None
    assert not inputs.pins.are_requirements


def test_a_lock_that_holds_modelpack_gives_versions_alone(gather: Callable[..., Inputs]) -> None:
    """All that building needs stands in it too, and none of that is to be served."""
    lock = HASHED + f"modelpack-cli==1.0 --hash=sha256:{HASH}\ndocker==7 --hash=sha256:{HASH}\n"
    inputs = gather({"service.py": "import pytest\n", "requirements.txt": lock})
    assert own(inputs) == {"pytest"}
    assert inputs.pins is not None
    assert not inputs.pins.are_requirements


def test_requirements_without_hashes_are_not_read_and_that_is_said(
    gather: Callable[..., Inputs], heard: Heard
) -> None:
    inputs = gather({"service.py": "import pytest\n", "requirements.txt": "tiny\n"})
    assert own(inputs) == {"pytest"}
    assert any("has no hashes" in note for note in heard.notes)


def test_changed_pins_are_changed_inputs(gather: Callable[..., Inputs]) -> None:
    digests = {
        gather({"requirements.txt": text}).digest
        for text in (HASHED, HASHED.replace("1.0", "1.1"), HASHED.replace("0a", "0b"))
    }
    assert len(digests) == 3


def test_options_count_more_than_the_project(gather: Callable[..., Inputs]) -> None:
    settings = {
        "python": "3.12",
        "platforms": ("linux/amd64",),
        "torch_backend": "cu126",
        "requirements": ("tiny",),
    }
    inputs = gather({}, **settings)
    assert (inputs.python, inputs.torch_backend) == ("3.12", "cu126")
    assert inputs.target == "x86_64-unknown-linux-gnu"
    locking = Locking(python="3.13", platforms=("linux/amd64", "linux/arm64"), torch_backend="cpu")
    inputs = gather({}, locking=locking, **settings)
    assert (inputs.python, inputs.torch_backend) == ("3.13", "cpu")
    assert inputs.target == "aarch64-unknown-linux-gnu,x86_64-unknown-linux-gnu"


@pytest.mark.parametrize("python", ["3", "3.10", "3.11.4", "4.0", "--offline", "3.¹¹"])
def test_a_python_that_cannot_be_locked_for_is_refused(
    gather: Callable[..., Inputs], python: str
) -> None:
    with pytest.raises(UsageError, match="not a Python"):
        gather({}, locking=Locking(python=python))


@pytest.mark.parametrize(
    "line", ["--index-url=http://evil.example", "-r other.txt", "x @ file:///etc", "git+ssh://x/y"]
)
def test_options_and_urls_among_the_requirements_are_refused(
    gather: Callable[..., Inputs], line: str
) -> None:
    with pytest.raises(ConfigError):
        gather({}, requirements=("tiny", line))


def test_a_path_that_a_model_brings_is_refused(gather: Callable[..., Inputs]) -> None:
    with pytest.raises(ConfigError, match="is a path"):
        gather({}, ("./local",), requirements=())


def test_a_path_that_is_not_there_is_named(gather: Callable[..., Inputs]) -> None:
    with pytest.raises(NotFoundError, match=r"'../gone' is not there"):
        gather({}, requirements=("-e ../gone",))


# Whole builds


Hello = Callable[..., Any]


def build(hello: Hello, store: Store, locking: Locking, **details: Any) -> Built:
    project, spec = hello(**details)
    return build_bundle(project, spec, store=store, locking=locking)


def test_a_wheel_of_ones_own_lies_in_the_bundle_and_not_among_its_code(
    hello: Hello, store: Store, index: Any, tmp_path: Path
) -> None:
    own = index.beside(tmp_path / "project" / "wheels", "corp-lib", "1.0")
    index.beside(tmp_path / "project" / "wheels", "unused", "1.0")
    built = build(hello, store, Locking(), requirements=("corp-lib",))
    manifest = store.bundle_manifest(built.entry)
    assert [one.path for one in manifest.wheels] == [own.name]
    assert [one.path for one in manifest.files] == ["service.py"]
    folder = store.unpack(built.entry, tmp_path / "out")
    assert (folder / "wheels" / own.name).read_bytes() == own.read_bytes()
    store.verify(built.entry)


def test_a_bundle_without_wheels_says_nothing_of_them(
    hello: Hello, store: Store, index: Any
) -> None:
    built = build(hello, store, Locking())
    assert "wheels" not in store.bundle_manifest(built.entry).to_json()
    assert [one.path for one in built.entry.layers if "wheels" in one.path] == []


def test_a_changed_service_keeps_the_layer_of_the_wheels(
    hello: Hello, store: Store, index: Any
) -> None:
    first = build(hello, store, Locking(with_wheels=True))
    second = build(hello, store, Locking(with_wheels=True), files={"more.py": "X = 1\n"})
    assert first.entry.digest != second.entry.digest
    layers = [
        {one.digest for one in built.entry.layers if one.path == "bundle/wheels"}
        for built in (first, second)
    ]
    assert layers[0] == layers[1] != set()


def test_the_same_project_in_another_folder_gives_the_same_bundle(
    hello: Hello, store: Store, index: Any, tmp_path: Path
) -> None:
    """With a wheel of its own and all others inside."""
    digests = []
    for folder in ("one", "two"):
        index.beside(tmp_path / folder / "wheels", "corp-lib", "1.0")
        locking = Locking(with_wheels=True)
        details = {"folder": folder, "requirements": ("corp-lib", "tiny")}
        digests.append(build(hello, store, locking, **details).entry.digest)
    assert digests[0] == digests[1]


def test_f41_without_a_network_an_unchanged_lock_is_used_as_it_is(
    hello: Hello, store: Store, index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(hello, store, Locking(with_wheels=True), requirements=("tiny",))
    monkeypatch.setattr("modelpack.archive.resolver._program", lambda: pytest.fail("uv ran"))
    again = build(hello, store, Locking(with_wheels=True), requirements=("tiny",))
    assert (again.lock_reused, again.is_unchanged) == (True, True)
    assert again.entry.digest == first.entry.digest


def test_cuda_in_a_lock_is_said(index: Any, tmp_path: Path, heard: Heard) -> None:
    index.add("nvidia-nccl-cu12", "2.0")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    inputs = Inputs(("nvidia-nccl-cu12",), python, "x86_64-unknown-linux-gnu")
    locked = lock_dependencies(inputs, tmp_path / "a.lock", Locking(), progress=heard)
    assert [one.name for one in read_lock(locked.text)] == ["nvidia-nccl-cu12"]
    assert any("brings CUDA: nvidia-nccl-cu12 2.0" in note for note in heard.notes)


def test_the_records_of_wheels_are_those_of_their_bytes(index: Any, tmp_path: Path) -> None:
    file = index.beside(tmp_path / "wheels", "corp-lib", "1.0")
    code = Code(tmp_path, (), "service")
    inputs = gather_inputs(Project(root=tmp_path, requirements=("corp-lib",)), code, (), Locking())
    [record] = lock_dependencies(inputs, tmp_path / "a.lock", Locking()).records
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record.size == file.stat().st_size


def test_a_lock_that_names_hosts_does_not_get_in(hello: Hello, store: Store, index: Any) -> None:
    pylock = 'lock-version = "1.0"\ncreated-by = "somebody"\npackages = []\n'
    built = build(hello, store, Locking(), files={"pylock.toml": pylock})
    assert [one.path for one in store.bundle_manifest(built.entry).files] == ["service.py"]
    assert "pylock.toml (ignored)" in built.skipped
