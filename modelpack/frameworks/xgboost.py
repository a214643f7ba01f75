"""XGBoost, kept in its own binary JSON (UBJSON): no pickle, no code.

    Booster                    ──► model.ubj                     ──► Booster
    XGBClassifier and the like ──► model.ubj + wrapper.json      ──► the same class

The file is the one that ``save_model`` of any XGBoost writes and reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from modelpack.frameworks.base import Arrays, Saved, signature_of, tensor
from modelpack.frameworks.estimators import INPUT, answers, signature
from modelpack.frameworks.folders import read_class, write_class
from modelpack.frameworks.origin import base_of, is_a, library, pinned

FILE = "model.ubj"
WRAPPERS = (
    "XGBClassifier",
    "XGBRegressor",
    "XGBRanker",
    "XGBRFClassifier",
    "XGBRFRegressor",
)
"""Classes with scikit-learn's interface; a subclass of the user's own comes back as one of them."""


class XgboostFramework:
    """Saves and loads boosters and their wrappers."""

    name: ClassVar[str] = "xgboost"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a Booster or one of its wrappers."""
        return is_a(model, "xgboost", "Booster", *WRAPPERS)

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.ubj``; the width of the input is the number of features."""
        wrapper = base_of(model, "xgboost", *WRAPPERS)
        model.save_model(folder / FILE)
        if wrapper is None:
            inputs, outputs = _signature(model)
            return Saved(requirements=pinned("xgboost", "numpy"), inputs=inputs, outputs=outputs)
        write_class(folder, wrapper.__name__)
        inputs, outputs = signature(model, model.n_features_in_, "float32")
        # XGBoost asks for scikit-learn when a wrapper is made, without listing it.
        needs = pinned("xgboost", "numpy", "sklearn")
        return Saved(requirements=needs, inputs=inputs, outputs=outputs)

    def load(self, folder: Path) -> Any:
        """Return the Booster, or its wrapper."""
        xgboost = library("xgboost")
        model = getattr(xgboost, read_class(folder, WRAPPERS) or "Booster")()
        model.load_model(folder / FILE)
        return model

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return label and probabilities, or the plain answer of a Booster or regressor."""
        if not is_a(model, "xgboost", "Booster"):
            return answers(model, inputs)
        (x,) = inputs.values()
        return {"variable": model.inplace_predict(x)}


def _signature(booster: Any) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    import numpy

    width = int(booster.num_features())
    inputs = (tensor(INPUT, "float32", [None, width]),)
    try:
        found = booster.inplace_predict(numpy.zeros((1, width), "float32"), validate_features=False)
    except Exception:  # a booster over categories, whose columns are no numbers
        return inputs, ()
    return inputs, signature_of({"variable": found})
