"""MLflow models: which flavor is taken, and what its signature says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import RefusedError
from modelpack.importers.mlflow import MlflowImporter

Pack = Callable[..., Path]

ONNX = {"data": "model.onnx"}
PICKLED = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
SKOPS = {"pickled_model": "model.pkl", "serialization_format": "skops"}
PYFUNC: dict[str, Any] = {"loader_module": "x"}


@pytest.mark.parametrize(
    ("flavors", "framework", "place"),
    [
        ({"onnx": ONNX, "python_function": PYFUNC}, "onnx", "model.onnx"),
        ({"sklearn": PICKLED, "onnx": ONNX}, "onnx", "model.onnx"),
        ({"sklearn": PICKLED, "python_function": PYFUNC}, "sklearn", "model.pkl"),
        ({"sklearn": SKOPS, "python_function": PYFUNC}, "mlflow", "mlflow-model"),
        ({"python_function": PYFUNC}, "mlflow", "mlflow-model"),
    ],
)
def test_the_most_direct_flavor_is_taken(
    mlflow: Pack, tmp_path: Path, flavors: Any, framework: str, place: str
) -> None:
    (model,) = MlflowImporter().read(mlflow(flavors), tmp_path).models

    assert (model.framework, model.place.name) == (framework, place)


def test_flavors_that_are_not_taken_are_told(mlflow: Pack, tmp_path: Path) -> None:
    flavors = {"sklearn": PICKLED, "onnx": ONNX, "python_function": PYFUNC}
    (model,) = MlflowImporter().read(mlflow(flavors), tmp_path).models

    assert [one.what for one in model.left] == ["flavor 'sklearn'"]


def test_tensors_and_columns_of_a_signature_are_read(mlflow: Pack, tmp_path: Path) -> None:
    inputs = [
        {"type": "tensor", "name": "img", "tensor-spec": {"dtype": "uint8", "shape": [-1, 8, 8]}},
        {"type": "double", "name": "age"},
        {"type": "string", "name": "job"},
    ]
    (model,) = MlflowImporter().read(mlflow({"onnx": ONNX}, inputs), tmp_path).models

    assert model.inputs == (
        {"name": "img", "dtype": "uint8", "shape": [None, 8, 8]},
        {"name": "age", "dtype": "float64", "shape": [None]},
        {"name": "job", "dtype": "str", "shape": [None]},
    )
    assert model.outputs == ({"name": "output", "dtype": "int64", "shape": [None]},)


def test_requirements_go_along_without_hashes_and_comments(mlflow: Pack, tmp_path: Path) -> None:
    (model,) = MlflowImporter().read(mlflow({"onnx": ONNX}), tmp_path).models

    assert model.requirements == ("numpy", "scikit-learn>=1")


@pytest.mark.parametrize("flavors", [{}, {"onnx": {"data": "../x.onnx"}}, {"onnx": {"data": "no"}}])
def test_what_names_no_model_is_refused(mlflow: Pack, tmp_path: Path, flavors: Any) -> None:
    with pytest.raises(RefusedError):
        MlflowImporter().read(mlflow(flavors), tmp_path)


def test_yaml_that_would_make_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: !!python/object/apply:os.mkdir ['ran']")

    with pytest.raises(RefusedError, match="cannot be read"):
        MlflowImporter().read(tmp_path, tmp_path)
    assert not Path("ran").exists()
