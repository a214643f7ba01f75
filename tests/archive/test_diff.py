from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive import build_bundle
from modelpack.archive.described import describe
from modelpack.archive.diff import compare, summary, text_of
from modelpack.archive.history import history_of
from modelpack.config.settings import Project, ServerSettings
from modelpack.errors import BundleNotFoundError, StoreError
from modelpack.provenance import Resource, Training, record_training
from modelpack.sdk.loading import load_import_string
from modelpack.sdk.model import Model
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Kind, Store

pytestmark = pytest.mark.usefixtures("index")

Hello = Callable[..., tuple[Project, ServiceSpec]]
SaveModel = Callable[..., Entry]


@pytest.fixture
def build(hello: Hello, store: Store) -> Callable[..., Entry]:
    """Build a version of one project, with files and settings changed."""

    def make(version: str, files: dict[str, str | bytes] | None = None, **settings: Any) -> Entry:
        models = settings.pop("models", ())
        project, spec = hello(files, **settings)
        spec = replace(spec, models={f"m{n}": Model(tag) for n, tag in enumerate(models)})
        return build_bundle(project, spec, store=store, version=version).entry

    return make


def test_two_builds_of_the_same_differ_in_nothing_but_the_name(
    build: Callable[..., Entry], store: Store
) -> None:
    a, b = build("1"), build("2")
    found = compare(store, a, b)
    assert a.digest != b.digest
    assert not found
    assert summary(found) == "nothing but the name"
    assert list(text_of(store, a, b, found)) == []


def test_files_that_came_went_and_changed(
    build: Callable[..., Entry], store: Store, tmp_path: Path
) -> None:
    a = build("1", {"gone.py": "", "same.py": "x", "data.bin": b"\0a", "README.md": "# a"})
    (tmp_path / "project" / "gone.py").unlink()
    b = build("2", {"new.py": "new = 1\n", "data.bin": b"\0b", "README.md": "# b"})
    found = compare(store, a, b)
    assert [(one.sign, one.name) for one in found.files] == [
        ("~", "code/data.bin"),
        ("-", "code/gone.py"),
        ("+", "code/new.py"),
        ("~", "doc/README.md"),
    ]
    assert summary(found) == "4 files"
    lines = list(text_of(store, a, b, found))
    assert "data.bin: no text, or too long to compare" in lines
    assert "+new = 1" in lines


def test_dependencies_by_version(build: Callable[..., Entry], store: Store) -> None:
    a = build("1", requirements=("tiny==1.0",))
    b = build("2", requirements=("tiny",))
    found = compare(store, a, b)
    assert [(one.sign, one.name, one.old, one.new) for one in found.packages] == [
        ("~", "tiny", "1.0", "1.1"),
        ("+", "tiny-helper", None, "2.5"),
    ]
    assert summary(found) == "tiny 1.0 → 1.1, tiny-helper new → 2.5"


def test_settings_of_the_service(build: Callable[..., Entry], store: Store) -> None:
    a, b = build("1"), build("2", server=ServerSettings(max_queue_rows=7))
    (change,) = compare(store, a, b).settings
    assert (change.name, change.old, change.new) == ("server.max_queue_rows", None, 7)


def test_models_with_what_is_said_of_them(
    build: Callable[..., Entry], store: Store, save_model: SaveModel
) -> None:
    old, new = save_model("clf", b"old", "1"), save_model("clf", b"newer", "2")
    record_training(store, old, Training({"accuracy": 0.5, "rows": 9}))
    record_training(store, new, Training({"accuracy": 0.75, "rows": 9}, (Resource("d", "a" * 64),)))
    a, b = build("1", models=("clf:1",)), build("2", models=("clf:2",))
    found = compare(store, a, b)
    (model,) = found.models
    assert (model.name, model.old, model.new) == ("clf", "1", "2")
    (metric,) = model.metrics
    assert (metric.name, metric.old, metric.new) == ("accuracy", 0.5, 0.75)
    assert [(one.sign, one.name) for one in model.data] == [("+", "d")]
    assert [one.name for one in found.files] == ["models/clf/model.onnx"]
    assert summary(found) == "1 file, model clf (accuracy 0.5 → 0.75)"
    gone = compare(store, b, build("3"))
    assert [(one.old, one.new) for one in gone.models] == [("2", None)]


def test_a_model_that_runs_code_from_now_on_is_seen(
    build: Callable[..., Entry], store: Store, save_model: SaveModel, tmp_path: Path
) -> None:
    old = save_model("clf", b"old", "1")
    record = store.model_record(old)
    tensor = {"name": "x", "dtype": "float32", "shape": ["batch", None]}
    pickled = replace(record, framework="pickled", carries_code=True, inputs=(tensor,))
    store.add_model(pickled, tmp_path / "model-clf-3", version="2")
    a, b = build("1", models=("clf:1",)), build("2", models=("clf:2",))
    (model,) = compare(store, a, b).models
    assert [(one.name, one.old, one.new) for one in model.facts] == [
        ("carries code", False, True),
        ("framework", "onnx", "pickled"),
        ("inputs", "", "x: float32[batch, ?]"),
    ]


def test_metrics_travel_with_the_bundle(
    build: Callable[..., Entry], store: Store, save_model: SaveModel, tmp_path: Path
) -> None:
    """A bundle on another machine comes without the models' own entries."""
    record_training(store, save_model("clf", b"old", "1"), Training({"accuracy": 0.5}))
    a, b = build("1", models=("clf:1",)), build("2")
    there = Store(tmp_path / "there")
    for entry in (a, b):
        there.import_(store.export(entry, tmp_path / f"{entry.tag.version}.modelpack"))
    (model,) = compare(there, *there.list(Kind.BUNDLE)).models
    assert [(one.name, one.old) for one in model.metrics] == [("accuracy", 0.5)]


def test_history_is_oldest_first_and_says_what_changed(
    build: Callable[..., Entry], store: Store
) -> None:
    first = build("1", requirements=("tiny==1.0",))
    second = build("2", {"more.py": ""}, requirements=("tiny",))
    store.tag(first, "stable")
    found = history_of(store, "hello")
    assert [str(one.entry.tag) for one in found] == ["hello:1", "hello:2"]
    assert [one.also for one in found] == [("stable",), ()]
    assert found[0].changed == "first"
    assert found[1].changed == "1 file, tiny 1.0 → 1.1, tiny-helper new → 2.5"
    assert found[1].entry.digest == second.digest


def test_a_damaged_version_does_not_hide_the_others(
    build: Callable[..., Entry], store: Store
) -> None:
    build("1")
    bad = build("2", {"a.py": ""})
    build("3", {"b.py": ""})
    blob = store.root / "blobs" / "sha256" / bad.layers[-1].digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    assert [one.changed for one in history_of(store, "hello")] == ["first", "damaged", "2 files"]


def test_history_of_a_model_has_its_metrics(store: Store, save_model: SaveModel) -> None:
    for version, data, accuracy in (("1", b"old", 0.5), ("2", b"newer", 0.75)):
        record_training(store, save_model("clf", data, version), Training({"accuracy": accuracy}))
    found = [one.changed for one in history_of(store, "clf")]
    assert found == ["accuracy 0.5", "1 file, accuracy 0.75"]


def test_history_of_nothing_is_not_found(store: Store) -> None:
    with pytest.raises(BundleNotFoundError, match="no bundle 'hello:latest' in the store"):
        history_of(store, "hello")


def test_an_api_that_needs_more_is_marked(lay_out: Callable[..., Path], store: Store) -> None:
    source = (
        "import modelpack\n\n\n@modelpack.service(name='hello')\nclass {name}:\n"
        "    @modelpack.api\n    def greet(self, name: str{more}) -> str:\n        return name\n"
    )
    entries = []
    for version, name, more in (("1", "One", ""), ("2", "Two", ", times: int")):
        root = lay_out({f"{name.lower()}_service.py": source.format(name=name, more=more)}, name)
        spec = load_import_string(f"{name.lower()}_service:{name}", root)
        entries.append(build_bundle(Project(root=root), spec, store=store, version=version).entry)
    found = compare(store, *entries)
    assert found.is_breaking
    assert [str(one) for one in found.apis] == ["/greet input/times: added, required (breaking)"]
    assert "/greet breaking" in summary(found)


@pytest.mark.parametrize(
    "change",
    [
        {"apis": (5,)},
        {"apis": ({"name": "a", "route": "/a", "input": {}, "output": 5},)},
        {"apis": ({"name": "a", "route": 5, "input": {}, "output": {}},)},
        {"apis": ({"name": "a", "route": "/a", "input": {"properties": [1]}, "output": {}},)},
        {"apis": ({"name": "a", "route": "/a", "input": {}, "output": {}, "batch": 3},)},
        {"models": ({"name": "clf", "framework": "onnx"},)},
        {"settings": {"server": 5}},
    ],
)
def test_a_record_that_nobody_checked_is_refused_as_that(
    build: Callable[..., Entry], store: Store, tmp_path: Path, change: dict[str, Any]
) -> None:
    """A bundle of a stranger may say anything in its record; that is an error of the bundle."""
    good = build("1")
    manifest = replace(store.bundle_manifest(good), files=(), docs=(), **change)
    lock = store.lock_text(good)
    bad = store.add_bundle("bad", manifest, root=tmp_path, lock=lock, version="1").entry
    for what in (lambda: compare(store, good, bad), lambda: describe(store, bad)):
        with pytest.raises(StoreError, match="the record of 'bad:1' is not of the form"):
            what()


def test_schemas_that_are_none_cannot_be_compared(
    build: Callable[..., Entry], store: Store, tmp_path: Path
) -> None:
    good = build("1")
    (api,) = store.bundle_manifest(good).apis
    odd = {**api, "input": {"type": "object", "required": 5, "properties": {"name": {"enum": 5}}}}
    manifest = replace(store.bundle_manifest(good), files=(), docs=(), apis=(odd,))
    lock = store.lock_text(good)
    bad = store.add_bundle("bad", manifest, root=tmp_path, lock=lock, version="1").entry
    assert describe(store, bad).manifest.apis == (odd,)
    with pytest.raises(StoreError, match="no JSON Schema"):
        compare(store, good, bad)
