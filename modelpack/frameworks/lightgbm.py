"""LightGBM, kept in its own text form: no pickle, no code, no scikit-learn to load it.

    Booster                     ──► model.txt                   ──► Booster
    LGBMClassifier and the like ──► model.txt + wrapper.json    ──► LightgbmModel

The text form has no place for the labels of a classifier; they stand in ``wrapper.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays, Saved, signature_of, tensor
from modelpack.frameworks.estimators import INPUT, answers, signature
from modelpack.frameworks.origin import is_a, library, pinned
from modelpack.manifest import canonical_json

FILE = "model.txt"
WRAPPER_FILE = "wrapper.json"


class LightgbmModel:
    """A loaded LGBMClassifier, LGBMRegressor or LGBMRanker: it predicts, and is not fitted again."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        """The ``lightgbm.Booster`` that does the work."""

    def predict(self, x: Any, **options: Any) -> Any:
        """Return one number a row; ``options`` are those of ``Booster.predict``."""
        return self.booster.predict(x, **options)


class LightgbmClassifier(LightgbmModel):
    """A loaded LGBMClassifier."""

    def __init__(self, booster: Any, classes: Any) -> None:
        super().__init__(booster)
        self.classes_ = classes
        """The labels, in the order of the columns of ``predict_proba``."""

    def predict(self, x: Any, **options: Any) -> Any:
        """Return the label of each row."""
        return self.classes_[self.predict_proba(x, **options).argmax(axis=1)]

    def predict_proba(self, x: Any, **options: Any) -> Any:
        """Return the probability of each label, one row for each of ``x``."""
        import numpy

        found = self.booster.predict(x, **options)
        return found if found.ndim == 2 else numpy.vstack((1.0 - found, found)).T


class LightgbmFramework:
    """Saves and loads boosters and their wrappers."""

    name: ClassVar[str] = "lightgbm"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a Booster or one of its wrappers."""
        return is_a(model, "lightgbm", "Booster", "LGBMModel")

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.txt``; raises UsageError for a classifier with an objective of its own."""
        needs = pinned("lightgbm", "numpy", "scipy")
        if is_a(model, "lightgbm", "Booster"):
            model.save_model(str(folder / FILE))
            inputs, outputs = _signature(model)
            return Saved(requirements=needs, inputs=inputs, outputs=outputs)
        wrapper: dict[str, Any] = {}
        if is_a(model, "lightgbm", "LGBMClassifier"):
            if callable(model.objective):
                raise UsageError(
                    "the classifier has an objective of its own, which LightGBM's text form loses",
                    hint="save it with framework='sklearn', which keeps code",
                )
            classes = model.classes_
            wrapper = {"classes": classes.tolist(), "dtype": str(classes.dtype)}
        model.booster_.save_model(str(folder / FILE))
        (folder / WRAPPER_FILE).write_bytes(canonical_json(wrapper))
        inputs, outputs = signature(self.load(folder), model.n_features_in_)
        return Saved(requirements=needs, inputs=inputs, outputs=outputs)

    def load(self, folder: Path) -> Any:
        """Return the Booster, or what stands for its wrapper."""
        import numpy

        booster = library("lightgbm").Booster(model_file=str(folder / FILE))
        if not (folder / WRAPPER_FILE).is_file():
            return booster
        wrapper = json.loads((folder / WRAPPER_FILE).read_bytes())
        if "classes" not in wrapper:
            return LightgbmModel(booster)
        return LightgbmClassifier(booster, numpy.array(wrapper["classes"], wrapper["dtype"]))

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return label and probabilities, or one number a row."""
        return answers(model, inputs)


def _signature(booster: Any) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    import numpy

    width = int(booster.num_feature())
    found = booster.predict(numpy.zeros((1, width)))
    return (tensor(INPUT, "float64", [None, width]),), signature_of({"variable": found})
