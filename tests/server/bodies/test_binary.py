"""Arrays as bytes: what is claimed of them is checked before anything is made."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from modelpack.errors import InputError
from modelpack.sdk.tensor import TensorSpec, TensorValue
from modelpack.server.bodies.binary import BINARY_DTYPES, Told, shape_text, to_array, told

ROWS = TensorValue(TensorSpec("float32", ("batch", 3)))
ANY = TensorValue(TensorSpec("float32", None))


def value(dtype: str) -> TensorValue:
    return TensorValue(TensorSpec(dtype, None))


def issue(call: Any, *arguments: Any, **more: Any) -> tuple[str, str, str]:
    with pytest.raises(InputError) as refused:
        call(*arguments, **more)
    (one,) = refused.value.issues
    return one.pointer, one.expected, one.got


def head(dtype: bytes = b"float32", shape: bytes = b"2,3") -> dict[bytes, bytes]:
    return {b"modelpack-dtype": dtype, b"modelpack-shape": shape}


@given(
    array=st.sampled_from(BINARY_DTYPES).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4))
    )
)
def test_every_array_comes_back_bit_by_bit(array: np.ndarray[Any, Any]) -> None:
    fields = head(array.dtype.name.encode(), shape_text(array.shape))
    wanted = value(array.dtype.name)

    got = to_array(wanted, "/x", told(fields, wanted, "/x"), array.tobytes())

    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert got.flags.writeable
    assert got.flags.c_contiguous


@pytest.mark.parametrize(("is_fortran", "is_swapped"), [(True, False), (False, True), (True, True)])
def test_other_orders_of_bytes_and_axes_become_ordinary(is_fortran: bool, is_swapped: bool) -> None:
    array = np.arange(24, dtype=">f4" if is_swapped else "<f4").reshape(2, 3, 4)
    data = array.tobytes("F" if is_fortran else "C")

    got = to_array(ANY, "/x", Told("float32", (2, 3, 4), is_fortran, is_swapped), data)

    assert got.dtype == np.dtype("float32")
    assert got.flags.c_contiguous
    assert np.array_equal(got, array)


def test_what_was_received_is_not_shared_with_the_array() -> None:
    data = np.ones((1, 3), "float32").tobytes()
    got = to_array(ROWS, "/x", Told("float32", (1, 3)), data)
    got += 1

    assert data == np.ones((1, 3), "float32").tobytes()


@pytest.mark.parametrize(
    ("fields", "expected", "got"),
    [
        ({}, "the header Modelpack-Dtype: float32", "none"),
        ({b"modelpack-dtype": b"float32"}, "the header Modelpack-Shape", "none"),
        (head(shape=b"-1,3"), "a Modelpack-Shape", "'-1,3'"),
        (head(shape=b"2;3"), "a Modelpack-Shape", "'2;3'"),
        (head(shape=b"2,,3"), "a Modelpack-Shape", "'2,,3'"),
        (head(shape=b"2,3,"), "a Modelpack-Shape", "'2,3,'"),
        (head(shape=b"(2,3)"), "a Modelpack-Shape", "'(2,3)'"),
        (head(shape=b"2.0,3"), "a Modelpack-Shape", "'2.0,3'"),
        (head(shape=b"0x2,3"), "a Modelpack-Shape", "'0x2,3'"),
        (head(shape=b"\xb2,3"), "a Modelpack-Shape", "'²,3'"),
        (head(shape=b"1" * 19), "a Modelpack-Shape", "'1111"),
        (head(shape=b",".join([b"1"] * 33)), "a Modelpack-Shape", "'1,1,"),
    ],
)
def test_header_fields_that_say_nothing_clear_are_refused(
    fields: dict[bytes, bytes], expected: str, got: str
) -> None:
    pointer, said, had = issue(told, fields, ROWS, "/x")

    assert pointer == "/x"
    assert said.startswith(expected)
    assert had.startswith(got)


LIES = {
    "another dtype": (Told("float64", (2, 3)), 24, "dtype float32", "dtype float64"),
    "a dtype that casts safely": (Told("float16", (2, 3)), 12, "dtype float32", "dtype float16"),
    "an object dtype": (Told("object", (2, 3)), 48, "dtype float32", "dtype object"),
    "a pickled dtype": (Told("O", (2, 3)), 48, "dtype float32", "dtype O"),
    "too few bytes": (Told("float32", (2, 3)), 23, "24 bytes for float32[2, 3]", "23 bytes"),
    "too many bytes": (Told("float32", (2, 3)), 25, "24 bytes for float32[2, 3]", "25 bytes"),
    "no bytes": (Told("float32", (2, 3)), 0, "24 bytes for float32[2, 3]", "0 bytes"),
    "another width": (Told("float32", (2, 4)), 32, "array float32", "4 instead of 3 on axis 1"),
    "too few axes": (Told("float32", (6,)), 24, "array float32", "1 axes instead of 2"),
    "no axes": (Told("float32", ()), 4, "array float32", "0 axes instead of 2"),
    "rows beyond memory": (Told("float32", (2**50, 3)), 0, "bytes for", "0 bytes"),
    "rows that wrap to 0 in 64 bits": (Told("float32", (2**62, 3)), 0, "fits into memory", "3]"),
    "rows that wrap to a few": (Told("float32", (2**63 + 2, 3)), 24, "fits into memory", "3]"),
    "negative rows": (Told("float32", (-2, 3)), 24, "up to 32 axes", "[-2, 3]"),
    "both negative": (Told("float32", (-2, -3)), 24, "up to 32 axes", "[-2, -3]"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named_and_nothing_is_allocated(lie: str) -> None:
    claim, size, expected, got = LIES[lie]
    data = b"\0" * size

    tracemalloc.start()
    try:
        pointer, said, had = issue(to_array, ROWS, "/x", claim, data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()

    assert pointer == "/x"
    assert expected in said
    assert got in had


@pytest.mark.parametrize(
    "shape", [(1,) * 33, (0, 2**62), (2**40, 2**40, 0, 2**40), (2**62, 2**62), (10**18,) * 32]
)
def test_huge_shapes_are_refused_or_empty_whatever_their_product(shape: tuple[int, ...]) -> None:
    claim = Told("float32", shape)
    data = b"" if 0 in shape else b"\0" * (math.prod(shape) % 2**64 % 1000)

    with pytest.raises(InputError):
        to_array(ANY, "/x", claim, data)


def test_bytes_that_are_no_bool_are_refused_where_they_stand() -> None:
    flags = value("bool")
    claim = Told("bool", (2, 2))

    assert to_array(flags, "/x", claim, b"\0\1\1\0").tolist() == [[False, True], [True, False]]
    assert issue(to_array, flags, "/x", claim, b"\0\1\2\0") == ("/x/1/0", "0 or 1 (bool)", "2")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_nan_is_a_number_unless_the_api_refuses_it(dtype: str, odd: float) -> None:
    array = np.array([[1, 2], [3, odd]], dtype)
    claim = Told(dtype, (2, 2))

    taken = to_array(value(dtype), "/x", claim, array.tobytes())
    refused = issue(to_array, value(dtype), "/x", claim, array.tobytes(), refuses_nan=True)

    assert taken.tobytes() == array.tobytes()
    assert refused == ("/x/1/1", f"a finite {dtype}", str(odd))


def test_strings_have_no_binary_form() -> None:
    words = TensorValue(TensorSpec("str", ("n",)))

    assert issue(to_array, words, "/x", Told("str", (1,)), b"a")[1:] == ("dtype str", "dtype str")
