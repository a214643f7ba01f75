"""A model that was turned into ONNX answers as it did, or it is refused; the original stays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from modelpack import models
from modelpack.convert import CONVERSION_TYPE, convert, exporters, read_conversion
from modelpack.errors import RefusedError, ToolMissingError, UsageError
from modelpack.store import Kind, Store

# One thread: several would spin against each other on a busy machine.
FEW: dict[str, Any] = {"n_estimators": 10, "n_jobs": 1}
QUIET: dict[str, Any] = {"n_estimators": 10, "verbose": -1, "n_jobs": 1}

MODELS = {
    "linear": lambda iris: LogisticRegression(max_iter=500).fit(iris.x, iris.words),
    "forest": lambda iris: RandomForestRegressor(**FEW).fit(iris.x, iris.y),
    "boosting": lambda iris: GradientBoostingClassifier(n_estimators=10).fit(iris.x, iris.y),
    "pipe-xgb": lambda iris: make_pipeline(StandardScaler(), xgboost.XGBClassifier(**FEW)).fit(
        iris.x, iris.y
    ),
    "pipe-lgb": lambda iris: make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(**QUIET)).fit(
        iris.x, iris.y
    ),
    "xgb": lambda iris: xgboost.XGBClassifier(**FEW).fit(iris.x, iris.y),
    "xgb-large": lambda iris: xgboost.XGBRegressor(**FEW).fit(iris.x, iris.x[:, 0] * 1e4),
    "xgb-booster": lambda iris: xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        xgboost.DMatrix(iris.x[:100], iris.y[:100]),
        5,
    ),
    "lgb-words": lambda iris: lightgbm.LGBMClassifier(**QUIET).fit(iris.x, iris.words),
    "lgb-two": lambda iris: lightgbm.LGBMClassifier(**QUIET).fit(iris.x[:100], iris.y[:100]),
    "lgb-booster": lambda iris: lightgbm.train(
        {"verbose": -1, "num_threads": 1}, lightgbm.Dataset(iris.x, iris.y), 5
    ),
}

# What the converters warn about is theirs: old names of numpy, XGBoost and each other.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")


@pytest.mark.parametrize("kind", MODELS)
def test_the_new_model_answers_as_the_old_one(kind: str, iris: Any) -> None:
    tag = models.save(kind, MODELS[kind](iris))
    made = convert(tag, allow_code=True)

    assert made.tag.name == f"{kind}-onnx"
    assert made.difference.largest < 1e-5
    assert made.rows == 256
    store = Store()
    new = store.find(made.tag, Kind.MODEL)
    record = store.model_record(new)
    assert (record.framework, record.carries_code) == ("onnx", False)
    assert record.inputs[0]["shape"][1:] == [4]
    assert record.labels["converted-from"] == store.find(tag, Kind.MODEL).digest
    assert models.load(tag) is not None


def test_labels_of_words_come_through(iris: Any) -> None:
    tag = models.save("words", MODELS["lgb-words"](iris))
    found = models.load(convert(tag).tag)(iris.x.astype("float32"))
    assert (found["label"] == models.load(tag).predict(iris.x)).all()


def test_converting_twice_makes_one_model(iris: Any) -> None:
    tag = models.save("a", MODELS["xgb"](iris))
    assert convert(tag).tag == convert(tag).tag
    assert len(models.list("a-onnx")) == 1
    new = Store().find(convert(tag).tag, Kind.MODEL)
    assert len(Store().referrers(new, CONVERSION_TYPE)) == 1


def test_what_was_converted_stands_beside_it(iris: Any) -> None:
    tag = models.save("a", MODELS["xgb"](iris))
    made = convert(tag, rows=64, tolerance=1e-3)
    store = Store()
    said = read_conversion(store, store.find(made.tag, Kind.MODEL))
    assert said is not None
    assert said["source"] == {"tag": str(tag), "digest": store.find(tag, Kind.MODEL).digest}
    assert said["check"]["rows"] == 64
    assert said["check"]["tolerance"] == 1e-3
    assert said["check"]["largest_difference"] == made.difference.largest
    assert "onnxmltools" in said["tools"]
    assert read_conversion(store, store.find(tag, Kind.MODEL)) is None


def test_a_difference_above_the_tolerance_is_refused_with_its_size(iris: Any) -> None:
    tag = models.save("a", MODELS["linear"](iris))
    with pytest.raises(RefusedError) as caught:
        convert(tag, allow_code=True, tolerance=0.0)
    assert "in 'probabilities', 0 is allowed" in caught.value.message
    assert models.list("a-onnx") == []


def test_another_answer_is_refused(iris: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a converter with a bug would give: here that of a model fitted on other labels."""
    other = exporters.from_xgboost
    wrong = xgboost.XGBClassifier(**FEW).fit(iris.x, iris.y[::-1])
    monkeypatch.setattr(
        "modelpack.convert.conversion.EXPORTERS",
        {"xgboost": lambda folder, model, samples: other(folder, wrong, samples)},
    )
    with pytest.raises(RefusedError) as caught:
        convert(models.save("a", MODELS["xgb"](iris)))
    assert "'label' in" in caught.value.message


def test_code_runs_only_when_that_is_allowed(iris: Any, tmp_path: Path) -> None:
    tag = models.save(
        "a", make_pipeline(FunctionTransformer(), LogisticRegression()).fit(iris.x, iris.y)
    )
    with pytest.raises(RefusedError) as caught:
        convert(tag)
    assert "--allow-code" in str(caught.value.hint)
    assert convert(tag, allow_code=True).tag.name == "a-onnx"


def test_other_frameworks_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        convert(models.save("a", {"x": 1}))
    assert "'pickled'" in caught.value.message


def test_what_the_converter_does_not_know_is_said(iris: Any) -> None:
    model = make_pipeline(FunctionTransformer(np.abs), LogisticRegression()).fit(iris.x, iris.y)
    with pytest.raises(UsageError) as caught:
        convert(models.save("a", model), allow_code=True)
    assert "cannot be converted" in caught.value.message


def test_a_missing_converter_is_named(iris: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'onnxmltools'", name="onnxmltools")

    monkeypatch.setattr("modelpack.convert.conversion.EXPORTERS", {"xgboost": missing})
    with pytest.raises(ToolMissingError) as caught:
        convert(models.save("a", MODELS["xgb"](iris)))
    assert "'onnxmltools'" in caught.value.message
    assert caught.value.hint == "pip install 'modelpack-cli[convert]'"


def test_rows_of_a_file_are_what_both_are_asked(iris: Any, tmp_path: Path) -> None:
    tag = models.save("a", MODELS["xgb"](iris))
    np.save(tmp_path / "x.npy", iris.x)
    np.savez(tmp_path / "x.npz", x=iris.x)
    lines = [json.dumps({"x": row}) for row in iris.x.tolist()]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("x.npy", "x.npz", "x.jsonl"):
        made = convert(tag, samples=tmp_path / name)
        assert made.rows == 150
        assert made.samples.startswith("sha256:")
        assert not math.isinf(made.difference.largest)
