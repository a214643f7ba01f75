"""Says how far two answers to the same arrays are apart.

    sample ──as_inputs──► {name: array}          answers of one, answers of the other ──► Difference

Numbers are compared as numbers (NaN equals NaN); words, labels and truth values are equal or not, and
then the difference is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays
from modelpack.frameworks.estimators import INPUT


@dataclass(frozen=True, slots=True)
class Difference:
    """The place at which two answers differ most."""

    largest: float
    """Absolute; infinite where words, labels or shapes differ."""
    where: str
    """What differs there, such as ``'probabilities'``; empty when nothing does."""

    def exceeds(self, tolerance: float) -> bool:
        """Say whether it is more than that."""
        return not self.largest <= tolerance


def as_inputs(sample: Any) -> dict[str, Any]:
    """Return a sample as arrays by name: a mapping as it is, anything else as ``x``.

    Raises UsageError for what makes no array.
    """
    import numpy

    given = sample if isinstance(sample, Mapping) else {INPUT: sample}
    arrays = {str(name): numpy.asarray(value) for name, value in given.items()}
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype == object:
            raise UsageError(
                f"the sample '{name}' is no array of rows", hint="give rows of numbers or of words"
            )
    return arrays


def difference(one: Arrays, other: Arrays) -> Difference:
    """Return where two answers differ most; names that only one of them has count too."""
    worst = Difference(0.0, "")
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            return Difference(math.inf, f"'{name}', which only one of them answers")
        found = _apart(one[name], other[name])
        if not found <= worst.largest:
            worst = Difference(found, f"'{name}'")
    return worst


def _apart(one: Any, other: Any) -> float:
    import numpy

    if one.shape != other.shape:
        return math.inf
    if one.size == 0:
        return 0.0
    if one.dtype.kind != "f" and other.dtype.kind != "f":
        is_same = bool((one.astype(str) == other.astype(str)).all())
        return 0.0 if is_same else math.inf
    left, right = one.astype("float64"), other.astype("float64")
    is_equal = (left == right) | (numpy.isnan(left) & numpy.isnan(right))
    with numpy.errstate(invalid="ignore"):
        apart = numpy.where(is_equal, 0.0, numpy.abs(left - right))
    largest = float(apart.max())
    return math.inf if math.isnan(largest) else largest
