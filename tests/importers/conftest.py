"""What other systems pack, made by hand, and a package index so that bundles can be locked."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from modelpack.manifest import RUNTIME_REQUIREMENTS

Pack = Callable[..., Path]

TRITON = """\
name: "digits"
platform: "onnxruntime_onnx"  # by a comment
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output { name: "y", data_type: TYPE_FP32, dims: 2 }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
"""


class Canary:
    """Leaves a mark when somebody loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def onnx() -> bytes:
    """A model that doubles rows of two numbers."""
    from onnx import TensorProto, helper

    def row(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g", [row("x")], [row("y")]
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Where a mark appears when a pickle of these tests is loaded."""
    return tmp_path / "ran"


@pytest.fixture
def triton(tmp_path: Path, onnx: bytes) -> Pack:
    """Return what makes a model repository."""

    def pack(config: str | None = TRITON, file: str = "model.onnx") -> Path:
        root = tmp_path / "repository"
        for number in ("1", "2", "10"):
            place = root / "digits" / number / file
            place.parent.mkdir(parents=True)
            place.write_bytes(onnx)
        if config is not None:
            (root / "digits" / "config.pbtxt").write_text(config)
        return root

    return pack


@pytest.fixture
def mar(tmp_path: Path, onnx: bytes) -> Pack:
    """Return what makes a TorchServe archive; ``model`` adds to its manifest."""

    def pack(files: dict[str, bytes] | None = None, **model: str) -> Path:
        described = {"modelName": "digits", "modelVersion": "1.0", "serializedFile": "model.onnx",
                     "handler": "handler.py", **model}  # fmt: skip
        members = {"model.onnx": onnx, "handler.py": b"raise SystemExit", **(files or {})}
        path = tmp_path / "digits.mar"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": described}))
        return path

    return pack


@pytest.fixture
def mlflow(tmp_path: Path, onnx: bytes, canary: Path) -> Pack:
    """Return what makes an MLflow model of some flavors."""

    def pack(flavors: dict[str, Any], inputs: list[dict[str, Any]] | None = None) -> Path:
        folder = tmp_path / "mlflow-model"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(onnx)
        (folder / "model.pkl").write_bytes(pickle.dumps(Canary(canary)))
        (folder / "requirements.txt").write_text("numpy\n--hash=sha256:00\nscikit-learn>=1 # why\n")
        described: dict[str, Any] = {"flavors": flavors}
        if inputs is not None:
            outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
            signature = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}
            described["signature"] = signature
        (folder / "MLmodel").write_text(json.dumps(described))  # JSON is YAML
        return folder

    return pack


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip's settings name one folder of tiny wheels, so that locking needs no network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    lines = [*RUNTIME_REQUIREMENTS, "onnxruntime", "scikit-learn", "joblib", "torch"]
    for line in lines:
        requirement = Requirement(line)
        fits = next(one for one in ("99.0", "0.99") if one in requirement.specifier)
        _write_wheel(folder, requirement.name, fits)
    _write_wheel(folder, "onnxruntime", version("onnxruntime"))  # a saved model pins it
    _write_wheel(folder, "numpy", version("numpy"))
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _write_wheel(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{stem}.dist-info/WHEEL", wheel)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
