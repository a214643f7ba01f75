"""How far two answers are apart is one number, and it says where."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from modelpack.errors import UsageError
from modelpack.frameworks.compare import as_inputs, difference


@given(arrays("float64", array_shapes(max_dims=2)))
def test_nothing_differs_from_itself(one: Any) -> None:
    found = difference({"x": one}, {"x": one.copy()})
    assert (found.largest, found.where, str(found)) == (0.0, "", "none")


def test_the_largest_is_named() -> None:
    found = difference(
        {"a": np.array([0.0, 1.0]), "b": np.array([0.5])},
        {"a": np.array([0.0, 1.0]), "b": np.array([0.25])},
    )
    assert (found.largest, found.where) == (0.25, "'b'")
    assert found.exceeds(0.2)
    assert not found.exceeds(0.25)


def test_above_one_it_is_relative() -> None:
    found = difference({"x": np.array([1000.0])}, {"x": np.array([1001.0])})
    assert found.largest == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        (np.array(["a", "b"]), np.array(["a", "c"]), "'x' in 1 of 2"),
        (np.array([1, 2]), np.array([2, 1]), "'x' in 2 of 2"),
        (np.zeros((2, 1)), np.zeros(2), "the shape of 'x', (2, 1) and (2,)"),
        (np.array([np.nan]), np.array([1.0]), "'x', where one is no number"),
    ],
)
def test_what_is_no_matter_of_degree_is_infinite(one: Any, other: Any, where: str) -> None:
    found = difference({"x": one}, {"x": other})
    assert math.isinf(found.largest)
    assert found.where == where
    assert found.exceeds(1e300)


def test_an_answer_that_only_one_gives_is_a_difference() -> None:
    assert math.isinf(difference({"x": np.zeros(1)}, {}).largest)


def test_labels_as_objects_and_as_words_are_the_same() -> None:
    words = np.array(["a", "b"])
    assert difference({"x": words}, {"x": words.astype(object)}).largest == 0.0


def test_a_sample_without_a_name_is_x() -> None:
    assert list(as_inputs([[1.0, 2.0]])) == ["x"]
    assert list(as_inputs({"a": [1], "b": ["w"]})) == ["a", "b"]
    for wrong in (3, [[1], [2, "x", {}]]):
        with pytest.raises((UsageError, ValueError)):
            as_inputs(wrong)
