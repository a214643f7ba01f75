"""Arrays of every dtype there and back, in every form: equal bit by bit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.client.conftest import serving

pytest.importorskip("grpc")

Asks = Any
DTYPES = ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
          "uint8", "uint16", "uint32", "uint64")  # fmt: skip

HEAD = """
from dataclasses import dataclass
from typing import Any

import modelpack
from modelpack import Tensor

"""
RECORD = """
@dataclass
class Both_{0}:
    first: Tensor["{0}", "n", "m"]
    second: Tensor["{0}", "k"]
"""
API = """
    @modelpack.api
    def one_{0}(self, x: Tensor["{0}", "n", "m"]) -> Tensor["{0}", "n", "m"]:
        return x

    @modelpack.api
    def two_{0}(self, x: Tensor["{0}", "n", "m"], y: Tensor["{0}", "k"]) -> Both_{0}:
        return Both_{0}(x, y)
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of a server that gives back what it is sent."""
    folder = tmp_path_factory.mktemp("echo")
    records = "".join(map(RECORD.format, DTYPES))
    apis = "".join(map(API.format, DTYPES))
    code = f"{HEAD}{records}\n\n@modelpack.service\nclass Echo:{apis}"
    (folder / "service.py").write_text(code)
    with serving(folder, "--grpc-port", "0") as url:
        found = re.search(r'"grpc":"([^"]+)"', (folder / "log").read_text())
        assert found is not None
        yield url, f"grpc://{found[1]}"


def arrays_of(dtype: str) -> list[np.ndarray[Any, Any]]:
    """Return arrays with the ends of the range in them, one without elements, and odd layouts."""
    if dtype == "bool":
        edges = np.array([[True, False, True], [False, False, True]])
    elif dtype.startswith("f"):
        info = np.finfo(dtype)
        edges = np.array([[info.max, info.min, info.tiny], [-0.0, 1 / 3, info.eps]], dtype)
    else:
        ends = np.iinfo(dtype)
        edges = np.array([[ends.max, ends.min, 0], [1, 2, 3]], dtype)
    swapped = edges.astype(edges.dtype.newbyteorder(">"))
    return [edges, edges[:0], np.asfortranarray(edges), edges[:, ::-1], swapped]


def same(have: Any, want: np.ndarray[Any, Any]) -> bool:
    """Say whether two arrays have one dtype, one shape, and the same bits."""
    plain = np.ascontiguousarray(want.astype(want.dtype.newbyteorder("=")))
    equal = (have.dtype, have.shape) == (plain.dtype, plain.shape)
    return equal and have.tobytes() == plain.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_comes_back_bit_by_bit(asks: Asks, places: tuple[str, str], dtype: str) -> None:
    for url in places:
        client = asks(url)
        for one in arrays_of(dtype):
            assert same(client.value(f"one_{dtype}", x=one), one), (url, one)


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_arrays_come_back_bit_by_bit_under_their_names(
    asks: Asks, places: tuple[str, str], dtype: str
) -> None:
    for url in places:
        client = asks(url)
        for one in arrays_of(dtype):
            other = one.reshape(-1)
            value = client.value(f"two_{dtype}", x=one, y=other)
            assert list(value) == ["first", "second"]
            assert same(value["first"], one), (url, one)
            assert same(value["second"], other), (url, one)


@pytest.mark.parametrize("dtype", [one for one in DTYPES if one != "float16"])
def test_json_loses_nothing_either(asks: Asks, places: tuple[str, str], dtype: str) -> None:
    client = asks(places[0], form="json")

    for one in arrays_of(dtype):
        if one.size:
            assert same(client.value(f"one_{dtype}", x=one), one), one


def test_nan_and_infinities_travel_in_bytes(asks: Asks, places: tuple[str, str]) -> None:
    odd = np.array([[np.nan, np.inf, -np.inf]], np.float32)

    for url in places:
        client = asks(url)
        assert same(client.value("one_float32", x=odd), odd)
        value = client.value("two_float32", x=odd, y=odd[0])
        assert same(value["second"], odd[0])
