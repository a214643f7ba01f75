"""Models come back as they were saved, by the adapter that recognises them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelpack.errors import NotFoundError, RefusedError, StoreError, UserCodeError
from modelpack.frameworks.catalog import framework, framework_of, load_model
from modelpack.manifest import ModelRecord, canonical_json


@pytest.mark.parametrize(
    ("model", "name", "carries_code"),
    [
        ("digits.onnx", "onnx", False),
        (LogisticRegression(), "sklearn", True),
        (make_pipeline(StandardScaler()), "sklearn", True),
        ({"any": "thing"}, "pickled", True),
        (len, "pickled", True),
    ],
)
def test_the_most_specific_adapter_takes_a_model(model: Any, name: str, carries_code: bool) -> None:
    adapter = framework_of(model)
    assert adapter.name == name
    assert adapter.carries_code is carries_code


def test_an_estimator_predicts_the_same_after_loading(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    saved = framework("sklearn").save(model, tmp_path)
    np.testing.assert_array_equal(framework("sklearn").load(tmp_path).predict(x), model.predict(x))
    assert saved.inputs[0]["shape"] == [None, 4]
    assert any(one.startswith("scikit-learn==") for one in saved.requirements)


def test_any_object_comes_back(tmp_path: Path) -> None:
    framework("pickled").save({"threshold": 0.5, "f": lambda x: x + 1}, tmp_path)
    loaded = framework("pickled").load(tmp_path)
    assert loaded["threshold"] == 0.5
    assert loaded["f"](1) == 2


def test_an_unknown_framework_is_suggested() -> None:
    with pytest.raises(NotFoundError) as caught:
        framework("onx")
    assert caught.value.hint == "did you mean 'onnx'?"


def write_record(folder: Path, name: str) -> None:
    record = ModelRecord(
        name="m", framework=name, files=(), carries_code=name == "pickled", requirements=("lib==1",)
    )
    (folder / "model.json").write_bytes(canonical_json(record.to_json()))


def test_a_record_that_denies_the_code_of_its_model_is_refused(tmp_path: Path) -> None:
    """Else it would pass where only models without code may (threat model S2)."""
    framework("pickled").save({"any": "thing"}, tmp_path)
    record = ModelRecord(name="m", framework="pickled", files=(), carries_code=False)
    (tmp_path / "model.json").write_bytes(canonical_json(record.to_json()))
    with pytest.raises(RefusedError):
        load_model(tmp_path)


def test_libraries_of_a_pickled_object_are_pinned(tmp_path: Path) -> None:
    saved = framework("pickled").save({"weights": np.zeros(3), "f": len}, tmp_path)
    names = [line.partition("==")[0] for line in saved.requirements]
    assert names == ["cloudpickle", "numpy"]


def test_nothing_of_a_framework_is_imported_to_recognise_a_model() -> None:
    code = (
        "import sys\n"
        "from modelpack.frameworks.catalog import framework_of\n"
        "assert framework_of({}).name == 'pickled'\n"
        "heavy = {'xgboost', 'lightgbm', 'onnxruntime', 'sklearn', 'numpy', 'joblib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_that_does_not_load_names_what_it_needs(tmp_path: Path) -> None:
    write_record(tmp_path, "pickled")
    (tmp_path / "model.pkl").write_bytes(b"garbage")
    with pytest.raises(UserCodeError) as caught:
        load_model(tmp_path)
    assert "lib==1" in str(caught.value.hint)


@pytest.mark.parametrize("text", [None, "", "{", json.dumps({"name": "m"})])
def test_a_damaged_record_is_said(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "model.json").write_text(text)
    with pytest.raises(StoreError):
        load_model(tmp_path)
