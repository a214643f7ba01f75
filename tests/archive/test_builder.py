from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.archive import build_bundle
from modelpack.archive.builder import import_string
from modelpack.config.settings import ImageSettings, Project, ServerSettings
from modelpack.errors import (
    BuildError,
    ConfigError,
    ConflictError,
    ModelNotFoundError,
    SecretFoundError,
    TagError,
)
from modelpack.provenance import read_provenance
from modelpack.sdk.model import Model
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Kind, Store

pytestmark = pytest.mark.usefixtures("index")

Hello = Callable[..., tuple[Project, ServiceSpec]]
SaveModel = Callable[..., Entry]


def with_models(spec: ServiceSpec, *refs: str) -> ServiceSpec:
    return replace(spec, models={f"model_{n}": Model(ref) for n, ref in enumerate(refs)})


def test_a_project_becomes_a_bundle(hello: Hello, store: Store, tmp_path: Path) -> None:
    project, spec = hello(
        {"pkg/__init__.py": "", "README.md": "# hi", ".env": "A=1"},
        requirements=("tiny",),
        server=ServerSettings(max_queue_rows=7),
        image=ImageSettings(system_packages=("curl",)),
    )
    built = build_bundle(project, spec, store=store)
    assert (built.is_unchanged, built.lock_reused, built.file_count) == (False, False, 3)
    assert built.skipped == (".env (named like a secret, '.env*')", "modelpack.yaml (ignored)")
    assert built.entry.tag.name == "hello"
    manifest = store.bundle_manifest(built.entry)
    assert manifest.service == "service:Hello"
    assert manifest.model is None
    assert [file.path for file in manifest.files] == ["pkg/__init__.py", "service.py"]
    assert [api["route"] for api in manifest.apis] == ["/greet"]
    assert manifest.settings == {
        "server": {"max_queue_rows": 7},
        "image": {"system_packages": ["curl"]},
    }
    lock = store.lock_text(built.entry)
    assert "tiny==1.1" in lock
    assert "starlette==99.0" in lock
    assert (project.root / "requirements.lock").read_text() == lock


def test_building_again_says_that_nothing_changed(hello: Hello, store: Store) -> None:
    project, spec = hello()
    first = build_bundle(project, spec, store=store)
    again = build_bundle(project, spec, store=store)
    assert (again.is_unchanged, again.lock_reused) == (True, True)
    assert again.entry == first.entry


def test_the_same_tree_gives_the_same_digest_in_another_folder_later_under_another_umask(
    hello: Hello, store: Store, tmp_path: Path
) -> None:
    project, spec = hello({"run.sh": "#!/bin/sh", "data/a.txt": "1"}, "one")
    (project.root / "run.sh").chmod(0o755)
    first = build_bundle(project, spec, store=store)
    before = os.umask(0o077)
    try:
        shutil.copytree(project.root, tmp_path / "two", copy_function=shutil.copy)
        for path in (tmp_path / "two").rglob("*"):
            os.utime(path, (10**9, 10**9))
            path.chmod(0o700 if path.is_dir() or path.name == "run.sh" else 0o600)
        other, _ = hello({}, "two")
        built = build_bundle(other, spec, store=Store(tmp_path / "other"))
    finally:
        os.umask(before)
    assert built.entry.digest == first.entry.digest


def test_two_processes_with_other_hash_seeds_and_zones_agree(hello: Hello, tmp_path: Path) -> None:
    project, _ = hello({"a.txt": "", "b.txt": ""})
    code = (
        "import sys; from pathlib import Path;"
        "from modelpack.archive import build_bundle; from modelpack.config.settings import Project;"
        "from modelpack.sdk.loading import load_import_string; from modelpack.store import Store;"
        "root = Path(sys.argv[1]);"
        "spec = load_import_string('service:Hello', root);"
        "built = build_bundle(Project(root=root), spec, store=Store(Path(sys.argv[2])));"
        "print(built.entry.digest)"
    )
    digests = set()
    for number, (seed, zone) in enumerate((("1", "Asia/Tokyo"), ("2", "UTC"))):
        done = subprocess.run(
            [sys.executable, "-c", code, str(project.root), str(tmp_path / f"store-{number}")],
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_version_is_that_of_the_call_then_the_project_then_the_content(
    hello: Hello, store: Store
) -> None:
    project, spec = hello(version="1.0", name="greeter")
    assert str(build_bundle(project, spec, store=store).entry.tag) == "greeter:1.0"
    assert str(build_bundle(project, spec, store=store, version="2").entry.tag) == "greeter:2"
    own = build_bundle(replace(project, version=None), spec, store=store).entry
    assert own.tag.version == (own.content or "").removeprefix("sha256:")[:12]
    with pytest.raises(TagError):
        build_bundle(project, spec, store=store, version="../x")


def test_other_content_under_the_same_version_is_a_conflict(hello: Hello, store: Store) -> None:
    project, spec = hello(version="1.0")
    build_bundle(project, spec, store=store)
    (project.root / "more.py").write_text("")
    with pytest.raises(ConflictError, match=r"'hello:1\.0' already exists"):
        build_bundle(project, spec, store=store)


def test_models_are_pinned_by_digest_and_shared(
    hello: Hello, store: Store, save_model: SaveModel
) -> None:
    project, spec = hello()
    old, new = save_model("clf", b"old"), save_model("clf", b"newer")
    built = build_bundle(project, with_models(spec, "clf:latest"), store=store)
    (pinned,) = store.bundle_manifest(built.entry).models
    assert pinned == {
        "name": "clf",
        "version": new.tag.version,
        "digest": new.digest,
        "framework": "onnx",
        "carries_code": False,
    }
    assert set(new.layers) < set(built.entry.layers)
    assert "onnxruntime==99.0" in store.lock_text(built.entry)
    again = build_bundle(project, with_models(spec, f"clf:{old.tag.version}"), store=store)
    assert again.entry.tag != built.entry.tag


def test_a_bundle_holds_one_version_of_a_model(
    hello: Hello, store: Store, save_model: SaveModel
) -> None:
    project, spec = hello()
    save_model("clf", b"old", "1")
    save_model("clf", b"newer", "2")
    both = build_bundle(project, with_models(spec, "clf:2", "clf:latest"), store=store)
    assert len(store.bundle_manifest(both.entry).models) == 1
    with pytest.raises(BuildError, match="two versions of one model"):
        build_bundle(project, with_models(spec, "clf:1", "clf:2"), store=store)


def test_a_model_that_is_not_there_stops_the_build(hello: Hello, store: Store) -> None:
    project, spec = hello()
    with pytest.raises(ModelNotFoundError):
        build_bundle(project, with_models(spec, "clf"), store=store)


def test_a_model_alone_is_a_service(
    hello: Hello, store: Store, save_model: SaveModel, tmp_path: Path
) -> None:
    _, spec = hello()
    model = save_model("iris")
    zero = Project(root=tmp_path / "anywhere", name="iris")
    built = build_bundle(zero, spec, store=store, zero_model=model)
    manifest = store.bundle_manifest(built.entry)
    assert (manifest.model, manifest.service, manifest.files) == ("iris", None, ())
    assert (built.file_count, built.lock_reused) == (0, False)
    assert not (tmp_path / "anywhere").exists()
    again = build_bundle(zero, spec, store=store, zero_model=model)
    assert (again.is_unchanged, again.lock_reused) == (True, True)
    folder = store.unpack(built.entry, tmp_path / "out")
    assert json.loads((folder / "models/iris/model.json").read_bytes())["name"] == "iris"


def test_the_module_of_the_service_must_be_packed(hello: Hello, store: Store) -> None:
    project, spec = hello(exclude=("service.py",))
    with pytest.raises(BuildError, match=r"'service\.py', is not among the packed files"):
        build_bundle(project, spec, store=store)


def test_a_service_named_by_its_module_alone_is_pinned_by_its_class(hello: Hello) -> None:
    project, spec = hello()
    assert import_string(replace(project, service="service"), spec) == "service:Hello"
    assert import_string(replace(project, service="pkg:Other"), spec) == "pkg:Other"


def test_a_bad_requirement_of_the_project_is_a_mistake_in_its_file(
    hello: Hello, store: Store
) -> None:
    project, spec = hello(requirements=("--index-url http://evil.example",))
    with pytest.raises(ConfigError, match=r"^modelpack\.yaml: requirements\[0\]"):
        build_bundle(project, spec, store=store)


def test_a_build_that_fails_leaves_nothing_in_the_store(hello: Hello, store: Store) -> None:
    project, spec = hello({"leak.py": "-----BEGIN " + "PRIVATE KEY-----"})
    with pytest.raises(SecretFoundError):
        build_bundle(project, spec, store=store)
    assert store.list(Kind.BUNDLE) == []


def test_a_key_among_the_settings_is_refused(hello: Hello, store: Store) -> None:
    """Settings are in the bundle and its images for everybody to read."""
    project, spec = hello(image=ImageSettings(env={"AWS_KEY": "AKIA" + "IOSFODNN7EXAMPLE"}))
    with pytest.raises(SecretFoundError, match=r"'image\.env' holds what looks like an AWS"):
        build_bundle(project, spec, store=store)


def test_where_and_what_of_the_deployment_does_not_count(hello: Hello, store: Store) -> None:
    """The project file is left out: another target or port is the same bundle."""
    project, spec = hello()
    first = build_bundle(project, spec, store=store)
    (project.root / "modelpack.yaml").write_text("deploy:\n  target: docker\n")
    assert build_bundle(project, spec, store=store).entry == first.entry


def test_a_project_with_its_lock_is_built_without_a_network(
    hello: Hello, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, spec = hello()
    first = build_bundle(project, spec, store=store)
    monkeypatch.setattr(
        "modelpack.archive.compiling.run_uv", lambda *_, **__: pytest.fail("uv ran")
    )
    built = build_bundle(project, spec, store=Store(tmp_path / "another"))
    assert (built.lock_reused, built.entry.digest) == (True, first.entry.digest)


def test_the_statement_beside_a_bundle_names_what_no_commit_has(hello: Hello, store: Store) -> None:
    """The lock is a part of the bundle: while it is not committed, the commit does not give it."""
    project, spec = hello()

    def git(*words: str) -> None:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        subprocess.run(["git", *who, *words], cwd=project.root, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--message=first")
    built = build_bundle(project, spec, store=store)
    said = read_provenance(store, built.entry)
    assert said is not None
    assert said.source is not None
    assert said.source.changes == ("requirements.lock",)
    git("add", "requirements.lock")
    git("commit", "--message=lock")
    again = build_bundle(project, spec, store=store)
    said = read_provenance(store, again.entry)
    assert again.is_unchanged
    assert said is not None
    assert said.source is not None
    assert not said.source.is_dirty
