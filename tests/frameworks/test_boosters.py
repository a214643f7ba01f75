"""Models of gradient boosting libraries come back from their own formats, with equal answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from modelpack.errors import StoreError, UsageError
from modelpack.frameworks.catalog import brings_code, framework, framework_of

# One thread: several would spin against each other on a busy machine.
FEW: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1}
QUIET: dict[str, Any] = {"n_estimators": 5, "verbose": -1, "n_jobs": 1}


def xgb_booster(x: Any, y: Any) -> Any:
    settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(x, y), 5)


MODELS = {
    "xgb-booster": lambda iris: xgb_booster(iris.x, iris.y),
    "xgb-classifier": lambda iris: xgboost.XGBClassifier(**FEW).fit(iris.x, iris.y),
    "xgb-regressor": lambda iris: xgboost.XGBRegressor(**FEW).fit(iris.x, iris.y),
    "xgb-forest": lambda iris: xgboost.XGBRFClassifier(**FEW).fit(iris.x, iris.y),
    "lgb-booster": lambda iris: lightgbm.train(
        {"verbose": -1, "num_threads": 1}, lightgbm.Dataset(iris.x, iris.y), 5
    ),
    "lgb-words": lambda iris: lightgbm.LGBMClassifier(**QUIET).fit(iris.x, iris.words),
    "lgb-two": lambda iris: lightgbm.LGBMClassifier(**QUIET).fit(iris.x[:100], iris.y[:100]),
    "lgb-regressor": lambda iris: lightgbm.LGBMRegressor(**QUIET).fit(iris.x, iris.y),
}


@pytest.mark.parametrize("kind", MODELS)
def test_answers_are_equal_after_loading(kind: str, iris: Any, tmp_path: Path) -> None:
    model = MODELS[kind](iris)
    adapter = framework_of(model)
    assert adapter.name == {"xgb": "xgboost", "lgb": "lightgbm"}[kind[:3]]
    saved = adapter.save(model, tmp_path)

    before = adapter.predict(model, {"x": iris.x})
    after = adapter.predict(adapter.load(tmp_path), {"x": iris.x})
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    assert [one["shape"] for one in saved.inputs] == [[None, 4]]
    assert [one["name"] for one in saved.outputs] == list(after)
    assert [one["shape"][1:] for one in saved.outputs] == [
        list(a.shape[1:]) for a in after.values()
    ]
    assert not brings_code(adapter, tmp_path)


@pytest.mark.parametrize("kind", MODELS)
def test_saving_twice_writes_the_same_bytes(kind: str, iris: Any, tmp_path: Path) -> None:
    model = MODELS[kind](iris)
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        framework_of(model).save(model, tmp_path / name)
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_what_is_installed_is_what_is_pinned(iris: Any, tmp_path: Path) -> None:
    from importlib.metadata import packages_distributions

    name = packages_distributions()["xgboost"][0]
    saved = framework("xgboost").save(xgb_booster(iris.x, iris.y), tmp_path)
    assert f"{name}=={xgboost.__version__}" in saved.requirements


def test_a_wrapper_of_xgboost_needs_scikit_learn_and_a_booster_does_not(
    iris: Any, tmp_path: Path
) -> None:
    needs = {}
    for kind in ("xgb-booster", "xgb-classifier"):
        (tmp_path / kind).mkdir()
        saved = framework("xgboost").save(MODELS[kind](iris), tmp_path / kind)
        needs[kind] = {line.partition("==")[0] for line in saved.requirements}
    assert needs["xgb-classifier"] - needs["xgb-booster"] == {"scikit-learn"}


def test_a_class_of_the_users_own_comes_back_as_the_one_it_derives_from(
    iris: Any, tmp_path: Path
) -> None:
    class Mine(xgboost.XGBClassifier):  # type: ignore[misc]
        pass

    framework("xgboost").save(Mine(**FEW).fit(iris.x, iris.y), tmp_path)
    assert type(framework("xgboost").load(tmp_path)) is xgboost.XGBClassifier


@pytest.mark.parametrize("name", ["XGBModel", "DMatrix", "__import__", None])
def test_a_class_that_is_no_wrapper_is_not_made(
    name: str | None, iris: Any, tmp_path: Path
) -> None:
    framework("xgboost").save(MODELS["xgb-classifier"](iris), tmp_path)
    (tmp_path / "wrapper.json").write_text(json.dumps({"class": name}))
    with pytest.raises(StoreError):
        framework("xgboost").load(tmp_path)


def test_an_objective_that_the_text_form_would_lose_is_refused(iris: Any, tmp_path: Path) -> None:
    def objective(y: Any, raw: Any) -> Any:
        chance = 1 / (1 + np.exp(-raw))
        return chance - y, chance * (1 - chance)

    model = lightgbm.LGBMClassifier(objective=objective, **QUIET).fit(iris.x[:100], iris.y[:100])
    with pytest.raises(UsageError) as caught:
        framework("lightgbm").save(model, tmp_path)
    assert "sklearn" in str(caught.value.hint)


def test_a_pipeline_pins_the_library_of_its_foreign_step(iris: Any, tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**QUIET)).fit(iris.x, iris.y)
    adapter = framework_of(model)
    assert adapter.name == "sklearn"
    saved = adapter.save(model, tmp_path)
    assert f"lightgbm=={lightgbm.__version__}" in saved.requirements
    assert brings_code(adapter, tmp_path)
