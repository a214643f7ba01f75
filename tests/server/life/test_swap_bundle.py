"""A newer bundle, or a newer file of a bare model, in the place of the one that is served."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.frameworks.catalog import framework
from modelpack.manifest import BundleManifest, ModelRecord, canonical_json

Launch = Callable[..., Any]
Load = Callable[..., Any]
Until = Callable[..., None]

SERVICE = """
import modelpack
from words import VERSION

@modelpack.service
class Lookup:
    table = modelpack.Model("table:v1")

    @modelpack.api
    def get(self) -> list[int | str]:
        return [VERSION, self.table["number"]]

    @modelpack.api
    def where(self) -> str:
        return str(type(self).table.path)
"""


def bundle(folder: Path, version: int, lock: str = "0") -> Path:
    """Write an unpacked bundle with a model and two modules."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "service.py").write_text(SERVICE)
    (folder / "code" / "words.py").write_text(f"VERSION = 'v{version}'\n")
    model = folder / "models" / "table"
    model.mkdir(parents=True)
    saved = framework("pickled").save({"number": version}, model)
    record = ModelRecord(
        name="table",
        framework="pickled",
        files=(),
        carries_code=True,
        requirements=saved.requirements,
    )
    (model / "model.json").write_bytes(canonical_json(record.to_json()))
    manifest = BundleManifest(
        service="service:Lookup",
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256=lock * 64,
        apis=(),
    )
    (folder / "bundle.json").write_bytes(canonical_json(manifest.to_json()))
    return folder


@pytest.mark.parametrize(
    "settings",
    [{}, {"workers": 2}, {"runner": "process"}, {"workers": 2, "runner": "process"}],
    ids=lambda one: "-".join(one) or "alone",
)
def test_code_modules_and_models_are_those_of_the_new_bundle(
    launch: Launch, load: Load, tmp_path: Path, until: Until, settings: dict[str, Any]
) -> None:
    first, second = bundle(tmp_path / "one", 1), bundle(tmp_path / "two", 2)
    server = launch(
        first,
        source=("bundle", "", str(first)),
        env={"MODELPACK_BUNDLE": str(first)},
        **settings,
    )
    until(lambda: len(server.workers()) == settings.get("workers", 1))
    assert server.post("/get", {}) == ["v1", 1]
    asked = load(server, "/get", "{}", clients=4)
    asked.wait_for(5)

    order = {"bundle": str(second), "tag": "lookup:2"}
    status, said = server.admin("POST", "/swap", order)
    asked.wait_for(5)

    assert (status, said["tag"]) == (200, "lookup:2")
    assert {body for _, body in asked.stop()} == {b'["v1",1]', b'["v2",2]'}
    assert server.post("/get", {}) == ["v2", 2]
    assert server.post("/where", {}) == str(second / "models" / "table")
    assert server.metric('modelpack_info{service="lookup",tag="lookup:2"}') == 1


def test_a_bundle_with_other_packages_is_refused(launch: Launch, tmp_path: Path) -> None:
    first, second = bundle(tmp_path / "one", 1), bundle(tmp_path / "two", 2, lock="1")
    server = launch(first, source=("bundle", "", str(first)))

    status, said = server.admin("POST", "/swap", {"bundle": str(second)})

    assert (status, said["code"]) == (409, "conflict")
    assert "locked with other packages" in said["detail"]
    assert server.post("/get", {}) == ["v1", 1]


def test_a_bare_model_is_read_again(launch: Launch, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    file = tmp_path / "net.onnx"
    write_model(onnx, tmp_path / "first.onnx", "Add")
    write_model(onnx, tmp_path / "second.onnx", "Mul")
    shutil.copy(tmp_path / "first.onnx", file)
    server = launch(tmp_path, source=("model", "net.onnx", str(tmp_path)))
    assert server.post("/predict", {"x": [[3]]}) == {"y": [[6.0]]}

    (tmp_path / "second.onnx").replace(file)
    assert server.admin("POST", "/swap", {})[0] == 200
    assert server.post("/predict", {"x": [[3]]}) == {"y": [[9.0]]}

    other = {"model": str(tmp_path / "first.onnx")}
    assert server.admin("POST", "/swap", other)[0] == 200
    assert server.post("/predict", {"x": [[3]]}) == {"y": [[6.0]]}


def write_model(onnx: Any, file: Path, operator: str) -> None:
    shape = ["n", 1]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"
    ]
    node = onnx.helper.make_node(operator, ["x", "x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, file)
