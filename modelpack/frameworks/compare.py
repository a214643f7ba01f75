"""Says how far two answers to the same arrays are apart.

    sample ──as_inputs──► {name: array}          answers of one, answers of the other ──► Difference

Numbers are compared as numbers (NaN equals NaN): absolutely where an answer is at most 1, in relation to
it where it is greater.  Words, labels and truth values are equal or not; then the difference is infinite.
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
    """Relative above 1; infinite where words, labels or shapes differ."""
    where: str
    """What differs there, such as ``'probabilities'``; empty when nothing does."""

    def __str__(self) -> str:
        if not self.where:
            return "none"
        return self.where if math.isinf(self.largest) else f"{self.largest:.2g} in {self.where}"

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
    worst = _SAME
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            return Difference(math.inf, f"'{name}', which only one of them answers")
        found = _apart(name, one[name], other[name])
        if found.exceeds(worst.largest):
            worst = found
    return worst


def _apart(name: str, one: Any, other: Any) -> Difference:
    import numpy

    if one.shape != other.shape:
        return Difference(math.inf, f"the shape of '{name}', {one.shape} and {other.shape}")
    if one.size == 0:
        return _SAME
    if one.dtype.kind != "f" and other.dtype.kind != "f":
        wrong = int((one.astype(str) != other.astype(str)).sum())
        return Difference(math.inf, f"'{name}' in {wrong} of {one.size}") if wrong else _SAME
    left, right = one.astype("float64"), other.astype("float64")
    is_equal = (left == right) | (numpy.isnan(left) & numpy.isnan(right))
    with numpy.errstate(invalid="ignore"):
        apart = numpy.abs(left - right) / numpy.maximum(1.0, numpy.abs(left))
    largest = float(numpy.where(is_equal, 0.0, apart).max())
    if math.isnan(largest):
        return Difference(math.inf, f"'{name}', where one is no number")
    return Difference(largest, f"'{name}'") if largest else _SAME


_SAME = Difference(0.0, "")
