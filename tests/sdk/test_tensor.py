"""Arrays come in strictly and go out without a loss."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelpack.errors import Issue, SignatureError
from modelpack.sdk.tensor import DTYPES, Tensor, TensorSpec, TensorValue


def decode(raw: Any, dtype: str, *shape: Any) -> tuple[Any, list[Issue]]:
    issues: list[Issue] = []
    value = TensorValue(TensorSpec(dtype, shape or None)).decode(raw, "/x", issues)
    return value, issues


@given(
    st.sampled_from([d for d in DTYPES if d != "str"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
            elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
        )
    )
)
def test_an_array_survives_the_way_through_json(array: np.ndarray[Any, Any]) -> None:
    spec = TensorValue(TensorSpec(array.dtype.name, array.shape))
    issues: list[Issue] = []
    back = spec.decode(json.loads(json.dumps(spec.encode(array).tolist())), "/x", issues)
    assert issues == []
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("raw", "pointer", "got"),
    [
        ([[1, 2, 3]], "/x", "shape [1, 3]: 3 instead of 4 on axis 1"),
        ([1, 2, 3, 4], "/x", "shape [4]: 1 axes instead of 2"),
        ([], "/x", "shape [0]: 1 axes instead of 2"),
        ([[]], "/x", "shape [1, 0]: 0 instead of 4 on axis 1"),
        ([[1, 2, 3, 4], [1, 2, 3]], "/x/1", "a list of 3"),
        ([[1, 2, 3, 4], 5], "/x/1", "the integer 5"),
        ([[1, 2, 3, [4]]], "/x/0/3", "a list of 1"),
        ([[1, 2, None, 4]], "/x/0/2", "null"),
        ([[1, 2, "3", 4]], "/x/0/2", "the string '3'"),
        ([[1, True, 3, 4]], "/x/0/1", "true"),
        ([[1.5, False, 3, 4]], "/x/0/1", "false"),
        ([[1, 2, 3, 1e39]], "/x/0/3", "the number 1e+39"),
        (5, "/x", "the integer 5"),
        ("abc", "/x", "the string 'abc'"),
        ({}, "/x", "an object"),
        (None, "/x", "null"),
    ],
)
def test_a_wrong_element_is_named(raw: Any, pointer: str, got: str) -> None:
    _, issues = decode(raw, "float32", "batch", 4)
    assert [(issue.pointer, issue.got) for issue in issues] == [(pointer, got)]


@pytest.mark.parametrize(
    ("raw", "dtype"),
    [([1.0], "int64"), ([300], "int8"), ([-1], "uint8"), ([2**63], "int64"), ([2**64], "uint64"),
     ([2**63, -1], "int64"), ([2**63, -1], "uint64"), ([2**63, 0.5], "uint64"), ([1], "bool"), ([True, 1], "bool"), ([1], "str"), (["a", 1], "str"),
     ([["a"], "b"], "str"), ([70000.0], "float16")],
)  # fmt: skip
def test_what_a_dtype_cannot_hold_is_refused(raw: Any, dtype: str) -> None:
    _, issues = decode(raw, dtype)
    assert len(issues) == 1


def test_large_finite_numbers_are_taken() -> None:
    """Their squares overflow, they themselves do not."""
    array, issues = decode([[3e38] * 4] * 2, "float32", "batch", 4)
    assert issues == []
    assert np.isfinite(array).all()


@pytest.mark.parametrize("raw", [[0, 2**63], [2**64 - 1, 1], [2**63]])
def test_the_upper_half_of_uint64_is_taken(raw: list[int]) -> None:
    array, issues = decode(raw, "uint64", None)
    assert issues == []
    assert array.tolist() == raw


def test_strings_become_an_object_array() -> None:
    array, issues = decode([["a", "bc"]], "str", "batch", 2)
    assert issues == []
    assert array.tolist() == [["a", "bc"]]


def test_axes_of_one_name_have_one_length() -> None:
    assert decode([[1, 2], [3, 4]], "float32", "n", "n")[1] == []
    assert decode([[1, 2, 3], [4, 5, 6]], "float32", "n", "n")[1] != []


def test_an_answer_of_another_shape_or_dtype_is_refused() -> None:
    value = TensorValue(TensorSpec("int64", ("batch",)))
    assert value.encode(np.array([1, 2], dtype="int32")).dtype == "int64"
    assert value.encode([1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="axes"):
        value.encode(np.zeros((1, 1), dtype="int64"))
    with pytest.raises(TypeError, match="dtype"):
        value.encode(np.zeros(1))


def test_an_answer_is_contiguous() -> None:
    value = TensorValue(TensorSpec("float32"))
    assert value.encode(np.zeros((4, 4), dtype="float32")[:, ::2]).flags.c_contiguous


@pytest.mark.parametrize(
    "item", ["float33", ("float32", -1), ("float32", 1.5), ("float32", True), "object"]
)
def test_a_wrong_tensor_is_refused_as_it_is_spelled(item: Any) -> None:
    with pytest.raises(SignatureError):
        Tensor[item]


def test_the_schema_tells_fixed_axes() -> None:
    schema = TensorValue(TensorSpec("float32", ("batch", 4))).schema()
    assert schema["items"]["minItems"] == schema["items"]["maxItems"] == 4
    assert "minItems" not in schema
    assert schema["items"]["items"] == {"type": "number"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_example_is_valid(dtype: str) -> None:
    value = TensorValue(TensorSpec(dtype, ("batch", 2, None)))
    issues: list[Issue] = []
    value.decode(value.example(), "/x", issues)
    assert issues == []
