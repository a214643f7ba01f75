"""A bare model is a service: its own input and output names are the keys."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelpack.errors import InputError
from modelpack.frameworks.onnx import OnnxModel, open_onnx
from modelpack.frameworks.zero import ModelService, service_from_model
from modelpack.sdk.placement import Placement, placed


@pytest.fixture(scope="module")
def iris() -> tuple[Any, Any, Any]:
    x, y = load_iris(return_X_y=True)
    x = x.astype("float32")
    return x, y, LogisticRegression(max_iter=1000).fit(x, y)


def write(folder: Path, iris: tuple[Any, Any, Any], **options: Any) -> Path:
    x, _, model = iris
    file = folder / "Iris v1.onnx"
    file.write_bytes(to_onnx(model, x[:1], options=options or None).SerializeToString())
    return file


def test_keys_are_the_names_of_the_model(tmp_path: Path, iris: tuple[Any, Any, Any]) -> None:
    spec = service_from_model(write(tmp_path, iris, zipmap=False))
    api = spec.apis[0]
    assert spec.name == "iris-v1"
    assert [p.name for p in api.parameters] == ["X"]
    assert api.batch is not None
    x, _, model = iris
    arguments = api.decode({"X": x.tolist()})
    answer = api.encode(spec.create().predict(**arguments.values))
    assert arguments.rows == 150
    np.testing.assert_array_equal(answer["label"], model.predict(x))
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(x), atol=1e-5)


def test_zipmap_becomes_objects(tmp_path: Path, iris: tuple[Any, Any, Any]) -> None:
    spec = service_from_model(write(tmp_path, iris))
    api = spec.apis[0]
    arguments = api.decode({"X": iris[0][:2].tolist()})
    answer = api.encode(spec.create().predict(**arguments.values))
    assert len(answer["output_probability"]) == 2
    assert set(answer["output_probability"][0]) == {"0", "1", "2"}


def test_the_width_is_checked(tmp_path: Path, iris: tuple[Any, Any, Any]) -> None:
    api = service_from_model(write(tmp_path, iris)).apis[0]
    with pytest.raises(InputError):
        api.decode({"X": [[1, 2, 3]]})
    assert api.decode(api.sample()).rows == 1


def test_the_first_replica_has_the_model_that_was_described_the_next_one_its_own(
    tmp_path: Path, iris: tuple[Any, Any, Any]
) -> None:
    spec = service_from_model(write(tmp_path, iris))
    first, second = spec.create(), spec.create()

    assert first.model is not second.model


def test_a_replica_with_other_threads_loads_the_model_anew(
    tmp_path: Path, iris: tuple[Any, Any, Any]
) -> None:
    spec = service_from_model(write(tmp_path, iris))
    with placed(Placement(threads=3)):
        model = spec.create().model

    assert model.session.get_session_options().intra_op_num_threads == 3


def test_the_model_that_described_the_service_can_be_let_go(
    tmp_path: Path, iris: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []

    def remember(file: Path) -> OnnxModel:
        model = open_onnx(file)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("modelpack.frameworks.zero.open_onnx", remember)
    spec = service_from_model(write(tmp_path, iris, zipmap=False))
    assert loaded[0]() is not None  # kept for the first instance

    assert issubclass(spec.cls, ModelService)
    spec.cls.forget_model()
    gc.collect()

    assert loaded[0]() is None
    assert spec.create().model.inputs[0].name == "X"
