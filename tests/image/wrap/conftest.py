"""A model that somebody else's program wrote, and packages to lock it with, without a network."""

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


class Mark:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file with a model that doubles rows of two numbers."""
    import onnx
    from onnx import TensorProto, helper

    def row(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g", [row("x")], [row("y")]
    )
    opsets = [helper.make_opsetid("", 17)]
    file = tmp_path / "doubler.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
    return file


@pytest.fixture
def mlflow(tmp_path: Path, model: Path) -> Pack:
    """Return what makes the folder of an MLflow model of some flavors."""

    def pack(flavors: dict[str, Any], inputs: list[dict[str, Any]] | None = None) -> Path:
        folder = tmp_path / "from-mlflow"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model.read_bytes())
        (folder / "model.pkl").write_bytes(pickle.dumps(Mark(tmp_path / "ran")))
        (folder / "requirements.txt").write_text("scikit-learn\n")
        described: dict[str, Any] = {"flavors": flavors}
        if inputs is not None:
            outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
            described["signature"] = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}
        (folder / "MLmodel").write_text(json.dumps(described))  # JSON is YAML
        return folder

    return pack


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip's settings name one folder of empty wheels, so that locking needs no network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for line in [*RUNTIME_REQUIREMENTS, "scikit-learn", "joblib", "mlflow"]:
        requirement = Requirement(line)
        fits = next(one for one in ("99.0", "0.99") if one in requirement.specifier)
        _write_wheel(folder, requirement.name, fits)
    for name in ("numpy", "onnxruntime"):  # a saved model pins them
        _write_wheel(folder, name, version(name))
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
