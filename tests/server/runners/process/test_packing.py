"""Plain values survive the way through bytes, and bytes that lie are refused."""

from __future__ import annotations

import math
import pickle
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelpack.server.runners.process.codes import ABSENT, MAX_DEPTH, PackingError
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.unpacking import unpack


def through(value: Any, **options: Any) -> Any:
    packed = pack(value, **options)
    place = bytearray(packed.size)
    packed.write(place)
    return unpack(place)


def bytes_of(value: Any) -> bytearray:
    packed = pack(value)
    place = bytearray(packed.size)
    packed.write(place)
    return place


def assert_same(got: Any, expected: Any) -> None:
    """Equal, and of the same types all the way down."""
    assert type(got) is type(expected)
    if isinstance(expected, np.ndarray | np.generic):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, one in expected.items():
            assert_same(got[key], one)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(got)
    else:
        assert got == expected
        assert math.copysign(1, got) == math.copysign(1, expected) if got == 0.0 else True


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    hnp.unicode_string_dtypes(max_len=8),
    hnp.byte_string_dtypes(max_len=8),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=3000)
    | arrays
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_every_plain_value_comes_back_as_it_was(value: Any) -> None:
    assert_same(through(value), value)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        2**5000,
        -0.0,
        math.inf,
        "\ud800 alone",
        [1, (2, 3)],
        {"a": {"b": (1,)}},
        [math.nan, None],
        np.float32(0.1),
        np.array(["a", "bc"], object).reshape(2, 1),
        np.array([], object),
        np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array("2024-05-17", "datetime64[D]"),
        np.zeros((0, 5), np.float32),
        ABSENT,
        {"deep": [[[[(1, b"x" * 5000)]]]]},
    ],
    ids=lambda value: repr(value)[:30],
)
def test_unusual_values_come_back_too(value: Any) -> None:
    assert_same(through(value), value)


def test_a_tree_that_json_holds_is_one_json_text() -> None:
    value = {"rows": [{"label": "a", "score": 0.5}] * 3, "n": None}

    assert b'{"rows":[{"label":"a"' in bytes_of(value)
    assert through(value) == value


def test_arrays_are_views_and_may_be_changed() -> None:
    place = bytes_of({"x": np.ones((2, 3), np.float32)})

    array = unpack(place)["x"]
    array += 1

    assert np.shares_memory(array, np.frombuffer(place, np.uint8))
    assert unpack(place)["x"].tolist() == [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]


def test_arrays_begin_at_multiples_of_64_bytes() -> None:
    place = bytes_of([np.arange(3, dtype=np.int8), np.arange(5.0), b"y" * 2000])
    start = np.frombuffer(place, np.uint8).ctypes.data

    first, second, text = unpack(place)

    assert [(a.ctypes.data - start) % 64 for a in (first, second)] == [0, 0]
    assert text == b"y" * 2000


def test_what_is_no_plain_value_is_refused_unless_it_can_be_made_one() -> None:
    with pytest.raises(PackingError, match="'object' is not a plain value"):
        pack({"a": object()})
    with pytest.raises(PackingError, match="dtype"):
        pack(np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]))

    assert through([1, {2}], plain=lambda value: sorted(value)) == [1, [2]]


def test_nesting_has_a_limit_on_both_sides() -> None:
    value: Any = (1,)
    for _ in range(MAX_DEPTH):
        value = (value,)

    with pytest.raises(PackingError, match="nested deeper"):
        pack(value)
    meta = b"\x0a\x01\x00\x00\x00" * (MAX_DEPTH + 5) + b"\x00"
    with pytest.raises(PackingError, match="nested deeper"):
        unpack(bytearray(struct.pack("<I", len(meta)) + meta))


def array_meta(shape: tuple[int, ...], dtype: bytes, offset: int, size: int) -> bytearray:
    """An array's head with claims of one's own, and 64 bytes of data."""
    meta = bytes([13, len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape)
    meta += bytes([len(dtype)]) + dtype + struct.pack("<QQ", offset, size)
    place = bytearray(128)
    place[: 4 + len(meta)] = struct.pack("<I", len(meta)) + meta
    return place


@pytest.mark.parametrize(
    ("shape", "dtype", "offset", "size"),
    [
        ((16,), b"<f4", 0, 65),  # more bytes than elements
        ((17,), b"<f4", 0, 68),  # more than there are
        ((16,), b"<f4", 64, 64),  # behind the end
        ((4,), b"<f4", 8, 16),  # not aligned
        ((2**62, 4), b"<f4", 0, 0),  # a product that wraps around in 64 bits
        ((2**63, 2**63), b"<f4", 0, 0),
        ((8,), b"|O", 0, 64),  # objects
        ((1,), b"|V64", 0, 64),
        ((1,), b"<f3", 0, 3),
        ((1,), b"<U99999999999", 0, 64),
        ((8,), b"<f8,", 0, 64),
        ((8,), b"i8,i8", 0, 64),
        ((0,), b"<U0", 0, 0),
    ],
)
def test_an_array_that_lies_is_refused(
    shape: tuple[int, ...], dtype: bytes, offset: int, size: int
) -> None:
    assert unpack(array_meta((16,), b"<f4", 0, 64)).shape == (16,)  # the honest one

    with pytest.raises(PackingError):
        unpack(array_meta(shape, dtype, offset, size))


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"\x63",
        b"\x06\xff\xff\xff\xff",  # a text of four gigabytes
        b"\x09\xff\xff\xff\xff\x00",  # four thousand million elements
        b"\x0b\x01\x00\x00\x00\x09\x00\x00\x00\x00\x00",  # a list for a key
        b"\x0c\x04\x00\x00\x00nope",
        b"\x06\x01\x00\x00\x00\xff",  # not UTF-8
        b"\x00\x00",  # two values
    ],
)
def test_meta_data_that_lies_is_refused(meta: bytes) -> None:
    with pytest.raises(PackingError):
        unpack(bytearray(struct.pack("<I", len(meta)) + meta))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    for place in (bytearray(data), bytearray(struct.pack("<I", len(data)) + data)):
        with suppress(PackingError):
            unpack(place)


@given(values, st.data())
def test_a_changed_byte_gives_a_value_or_is_refused(value: Any, data: st.DataObject) -> None:
    place = bytes_of(value)
    at = data.draw(st.integers(0, len(place) - 1))
    place[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(place)))

    for changed in (place, place[:cut]):
        with suppress(PackingError):
            unpack(changed)


def test_a_pickle_is_not_a_value(tmp_path: Any) -> None:
    canary = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return open, (str(canary), "w")

    data = pickle.dumps(Bomb())
    for place in (data, struct.pack("<I", len(data)) + data):
        with pytest.raises(PackingError):
            unpack(bytearray(place))
    assert not canary.exists()
