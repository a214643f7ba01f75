"""What models with scikit-learn's interface have in common: rows of numbers in, by ``predict``.

    classifier:  x ──► {"label", "probabilities"}          regressor and others:  x ──► {"variable"}

The names are those that converters to ONNX give, so that both sides of a conversion can be compared.
"""

from __future__ import annotations

import warnings
from typing import Any

from modelpack.frameworks.base import Arrays, signature_of, tensor

INPUT = "x"


def answers(model: Any, inputs: Arrays) -> Arrays:
    """Return what the model says of the one array in ``inputs``."""
    import numpy

    (x,) = inputs.values()
    with warnings.catch_warnings():
        # Rows without names for a model that was fitted on a table: right, and known.
        warnings.filterwarnings("ignore", message=".*feature names")
        found = numpy.asarray(model.predict(x))
        if not hasattr(model, "predict_proba"):
            return {"variable": found}
        labels = found.reshape(len(x), -1).squeeze(axis=1) if found.size == len(x) else found
        return {
            "label": labels.astype(str) if labels.dtype == object else labels,
            "probabilities": numpy.asarray(model.predict_proba(x)),
        }


def signature(
    model: Any, width: int | None, dtype: str = "float64"
) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    """Return inputs and outputs of a model that takes ``width`` numbers a row.

    The outputs are seen by asking the model about one row of zeros; where it does not take one (a
    pipeline that begins with text), nothing is said of them.
    """
    import numpy

    if not width:
        return (), ()
    inputs = (tensor(INPUT, dtype, [None, int(width)]),)
    try:
        found = answers(model, {INPUT: numpy.zeros((1, int(width)), dtype)})
    except Exception:  # whatever the user's own steps raise
        return inputs, ()
    return inputs, signature_of(found)
