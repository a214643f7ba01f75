"""scikit-learn estimators and pipelines, kept by joblib.

Loading runs code that the file brings, as every pickle does: the record says so.  The versions that
saved it are pinned, since scikit-learn does not promise that others can load it; so are the libraries
of foreign steps, such as an XGBClassifier in a pipeline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.estimators import answers, signature
from modelpack.frameworks.origin import pinned, pins_of

FILE = "model.joblib"


class SklearnFramework:
    """Saves and loads whatever scikit-learn calls an estimator."""

    name: ClassVar[str] = "sklearn"
    carries_code: ClassVar[bool] = True

    def recognises(self, model: object) -> bool:
        """Take instances of ``sklearn.base.BaseEstimator``, by name, without importing it."""
        return any(
            base.__name__ == "BaseEstimator" and base.__module__ == "sklearn.base"
            for base in type(model).__mro__
        )

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.joblib``; the width of the input is taken from the fitted model."""
        import joblib

        joblib.dump(model, folder / FILE)
        needs = {*pinned("sklearn", "joblib", "numpy", "scipy"), *pins_of(model)}
        inputs, outputs = signature(model, getattr(model, "n_features_in_", None))
        return Saved(requirements=tuple(sorted(needs)), inputs=inputs, outputs=outputs)

    def load(self, folder: Path) -> Any:
        """Return the estimator."""
        import joblib

        return joblib.load(folder / FILE)

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return label and probabilities, or one number a row."""
        return answers(model, inputs)
