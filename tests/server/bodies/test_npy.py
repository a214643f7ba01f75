"""The .npy form: what numpy writes is read, and nothing else is believed."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from modelpack.errors import InputError
from modelpack.sdk.tensor import TensorSpec, TensorValue
from modelpack.server.bodies import npy
from modelpack.server.bodies.binary import BINARY_DTYPES, to_array

ARRAYS = st.sampled_from(BINARY_DTYPES).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
)


def read(data: bytes) -> np.ndarray[Any, Any]:
    claim, rest = npy.read(data, "/x")
    spec = TensorSpec(claim.dtype, tuple(None for _ in claim.shape) if claim.shape else ())
    return to_array(TensorValue(spec), "/x", claim, rest)


def saved(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def file_with(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = 2 if version == b"\x01\x00" else 4
    return npy.MAGIC + version + len(header).to_bytes(size, "little") + header.encode() + data


@given(array=ARRAYS, version=st.sampled_from([(1, 0), (2, 0), (3, 0)]))
@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_what_numpy_writes_is_read_bit_by_bit(
    array: np.ndarray[Any, Any], version: tuple[int, int]
) -> None:
    got = read(saved(array, version))

    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(array=ARRAYS)
def test_what_is_written_numpy_reads(array: np.ndarray[Any, Any]) -> None:
    data = npy.write(array)
    got = np.load(io.BytesIO(data), allow_pickle=False)

    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert data.index(b"\n") % 64 == 63


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i8", "<u2", "|u1", ">f2", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_orders_of_bytes_and_axes_are_understood(dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 2, dtype, order=order)

    got = read(saved(array))

    assert np.array_equal(got, array)
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert np.array_equal(np.load(io.BytesIO(npy.write(array))), array)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
        '{"shape": (1,), "fortran_order": False, "descr": "<f4"}',
        "{'descr':'<f4','fortran_order':False,'shape':(1,)}",
        "  {'fortran_order': False , 'descr' : '=f4' , 'shape' : ( 1 , ) }   \n",
    ],
)
def test_headers_of_other_writers_are_read(header: str) -> None:
    assert read(file_with(header, b"\0\0\x80?")).tolist() == [1.0]


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}], dtype=object), allow_pickle=True)
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
BAD = {
    "empty": b"",
    "only magic": npy.MAGIC,
    "cut in the length": npy.MAGIC + b"\x01\x00\x10",
    "cut in the header": file_with(GOOD)[:30],
    "other magic": b"\x93NUMPX" + file_with(GOOD)[6:],
    "a pickle": pickle.dumps([1, 2]),
    "version 0": file_with(GOOD, version=b"\x00\x01"),
    "version 4": file_with(GOOD, version=b"\x04\x00"),
    "a long header": npy.MAGIC + b"\x02\x00\xff\xff\xff\x7f" + b"{" * 5000,
    "objects": OBJECTS.getvalue(),
    "records": saved(np.zeros(1, [("a", "<f4")])),
    "complex": saved(np.zeros(1, "c8")),
    "text": saved(np.array(["a"])),
    "bytes": saved(np.array([b"a"])),
    "dates": saved(np.zeros(1, "M8[s]")),
    "void": saved(np.zeros(1, "V4")),
    "longdouble": saved(np.zeros(1, "g")),
    "no shape": file_with("{'descr': '<f4', 'fortran_order': False, }"),
    "a key twice": file_with(GOOD[:-1] + "'shape': (1,), }"),
    "another key": file_with(GOOD[:-1] + "'x': (1,), }"),
    "negative": file_with(GOOD.replace("(1,)", "(-1,)")),
    "no tuple": file_with(GOOD.replace("(1,)", "(1)")),
    "a list": file_with(GOOD.replace("(1,)", "[1]")),
    "a product": file_with(GOOD.replace("(1,)", "(1*1,)")),
    "a huge number": file_with(GOOD.replace("(1,)", f"({'9' * 400},)")),
    "33 axes": file_with(GOOD.replace("(1,)", f"({'1, ' * 33})")),
    "a call": file_with("__import__('os').system('true')"),
    "no dict": file_with("[1, 2]"),
    "order as a number": file_with(GOOD.replace("False", "0")),
    "behind the dict": file_with(GOOD + "x"),
    "nested": file_with("(" * 4000),
}


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError) as refused:
        read(BAD[name])

    (issue,) = refused.value.issues
    assert issue.pointer == "/x"
    assert issue.expected
    assert len(issue.got) < 200


def test_objects_and_records_are_named_in_the_refusal() -> None:
    for name, got in (("objects", "dtype '|O'"), ("records", "an array of records")):
        with pytest.raises(InputError) as refused:
            read(BAD[name])
        assert refused.value.issues[0].got == got


@given(data=st.binary(max_size=200), start=st.integers(0, 100))
def test_any_bytes_are_an_array_or_refused(data: bytes, start: int) -> None:
    good = saved(np.arange(6, dtype="float32").reshape(2, 3))
    for one in (data, npy.MAGIC + data, good[:start] + data + good[start + len(data) :]):
        with suppress(InputError):
            read(one)
