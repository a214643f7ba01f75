"""The quick way to read a body and the careful one have one verdict, and read the same numbers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import orjson
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.errors import InputError
from modelpack.sdk.service import spec_of
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.oip.cut import cut
from modelpack.server.faces.oip.infer import Reader
from modelpack.server.faces.oip.plan import Planner
from modelpack.server.faces.oip.write import AnswerWriter
from modelpack.server.http.front import Front
from modelpack.server.problems import BadJson
from modelpack.server.web.ready import Ready


@modelpack.service
class Any2:
    @modelpack.api
    def predict(
        self,
        f: modelpack.Tensor["float32"],
        i: modelpack.Tensor["int16"] | None = None,
        b: modelpack.Tensor["bool"] | None = None,
        t: modelpack.Tensor["str"] | None = None,
    ) -> float:
        return 0.0


@cache
def reader() -> Reader:
    spec, settings = spec_of(Any2), ServerSettings()
    endpoints = [Endpoint(api, settings) for api in spec.apis]
    ready = Ready(Front(settings, ServerState()), endpoints)
    served = Catalog(spec, endpoints, ready, settings, tag="", number=1).default
    return Reader(served.endpoint, Planner(served, AnswerWriter(served, "1")))


def outcome(read: Any, *arguments: Any) -> Any:
    """Return what came of it in a form that can be compared."""
    try:
        found = read(*arguments)
    except (InputError, BadJson) as error:
        return type(error).__name__
    arrays = {
        name: (str(value.dtype), value.shape, value.tolist())
        for name, value in found.values.items()
        if isinstance(value, np.ndarray)
    }
    return arrays, found.write(0.5)


def both_ways(body: bytes) -> None:
    quick = outcome(reader().read, None, body)
    again = outcome(reader().read, None, body)  # by now its frame may be known
    careful = outcome(reader()._read_whole, body, memoryview(b""))

    assert quick == again == careful


NUMBERS = st.one_of(
    st.integers(-(2**40), 2**66),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-5, 300),
)
ODD = st.sampled_from([True, False, None, "1", "]", '"data":[1]', [1], [[]], {}, {"data": [1]}])
FLAT = st.lists(st.one_of(NUMBERS, NUMBERS, NUMBERS, ODD), max_size=6)
TEXTS = st.lists(st.text(max_size=4) | st.sampled_from(["]", "[", '"', '"data":[']), max_size=4)
DATA = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=70),
    FLAT,
    TEXTS,
    st.lists(st.booleans(), max_size=4),
    st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), max_size=4)
    ),
    st.lists(FLAT, max_size=3),
    ODD,
)
MORE: list[dict[str, Any]] = [
    {},
    {"id": "7f3a"},
    {"id": 'é "\\'},
    {"id": ""},
    {"id": "@id"},
    {"id": 7},
    {"parameters": {"id": "x"}},
    {"parameters": {"id": "x"}, "id": "@id"},
    {"parameters": {"data": [9]}, "id": "7"},
    {"note": "@0", "id": "7"},
]
DATATYPES = {"f": "FP32", "i": "INT16", "b": "BOOL", "t": "BYTES"}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a request that is right, or nearly so."""
    inputs = []
    for name in draw(st.lists(st.sampled_from("fibt"), min_size=1, max_size=3, unique=True)):
        data = draw(DATA)
        shape = draw(st.one_of(st.just(_shape(data)), st.lists(st.integers(0, 4), max_size=3)))
        one = {"name": name, "datatype": DATATYPES[name], "shape": shape, "data": data}
        if draw(st.integers(0, 9)) == 0:
            one["datatype"] = draw(st.sampled_from(["FP64", "INT8", "BYTES", "x"]))
        keys = draw(st.permutations(sorted(one)))
        inputs.append({key: one[key] for key in keys})
    option = draw(st.sampled_from([0, orjson.OPT_INDENT_2]))
    more = draw(st.sampled_from(MORE))
    body = {"inputs": inputs, **more} if draw(st.booleans()) else {**more, "inputs": inputs}
    return orjson.dumps(body, None, option) if _fits(inputs) else b"{}"


def _fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits
        return False
    return True


def _shape(data: Any) -> list[int]:
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


HOLE = b'{"inputs":[{"name":"f","shape":[1],"datatype":"FP32",'


@given(bodies())
@example(b'{"p":{"data":[9]},' + HOLE[1:] + b'"d\\u0061ta":["@0"]}]}')
@example(b'{"p":{"data":[9]},' + HOLE[1:] + b'"d\\u0061ta":[0]}]}')
@example(HOLE + b'"data":[1]}],"p":{"id":"a"},"id":"@id"}')
@example(HOLE + b'"data":[1]}],"id":"\xff"}')
@example(HOLE + b'"data":[1]}],"id":"a","id":"b"}')
@example(b'{"inputs":[{"name":"f","shape":[1],"datatype":"FP32","data":[1e999]}]}')
@example(b'{"inputs":[{"name":"f","shape":[1],"datatype":"FP32","data":[01]}]}')
@example(b'{"inputs":[{"name":"f","shape":[2],"datatype":"FP32","data":[1,2,]}]}')
@example(b'{"inputs":[{"name":"f","shape":[],"datatype":"FP32","data":[1]}]}')
@example(b'{"inputs":[{"name":"i","shape":[1],"datatype":"INT16","data":[32768]}]}')
def test_whatever_a_request_holds_both_ways_agree(body: bytes) -> None:
    both_ways(body)


@given(bodies(), st.integers(0, 400), st.binary(max_size=2), st.integers(0, 2))
def test_however_a_request_is_broken_both_ways_agree(
    body: bytes, at: int, junk: bytes, gone: int
) -> None:
    both_ways(body[:at] + junk + body[at + gone :])


SIZES = st.one_of(st.integers(0, 40), st.integers(-2, 2**70), st.sampled_from([None, True, 8.0]))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from("fibt"),
                "datatype": st.sampled_from([*DATATYPES.values(), "FP64"]),
                "shape": st.lists(st.integers(0, 4) | st.sampled_from([2**62, -1]), max_size=3),
                "parameters": st.fixed_dictionaries({"binary_data_size": SIZES}),
            }
        ),
        max_size=3,
    ),
    st.binary(max_size=60),
    st.integers(-3, 3) | st.integers(0, 10**18),
)
def test_whatever_stands_behind_the_json_is_read_or_refused(
    inputs: Any, behind: bytes, off: int
) -> None:
    """Sizes that overflow, lengths that do not agree: an error of the request, and of nothing else."""
    text = json.dumps({"inputs": inputs}).encode()

    found = outcome(reader().read, max(0, len(text) + off), text + behind)

    assert found in ("InputError", "BadJson") or sum(
        one["parameters"]["binary_data_size"] or 0 for one in inputs
    ) == len(behind)


def test_long_arrays_are_read_in_parts() -> None:
    numbers = (np.arange(200_000) / 8).astype(np.float32)
    for data in (numbers.tolist(), numbers.reshape(-1, 4).tolist()):
        one = {"name": "f", "shape": _shape(data), "datatype": "FP32", "data": data}
        body = orjson.dumps({"inputs": [one]})

        found = reader().read(None, body).values["f"]

        assert len(body) > 1_000_000
        assert np.array_equal(found.reshape(-1), numbers)
        broken = body[:-10] + b"x" + body[-9:]
        assert outcome(reader().read, None, broken) == "BadJson"


def test_a_cut_puts_a_place_for_each_array() -> None:
    body = b'{"inputs":[{"data":[1,[2]]},{"data" : [[3],[4]]}]}'

    assert cut(b"{}") == (b"{}", [], None)
    assert cut(b'{"data":[1,2]}') == (b'{"data":["@0"]}', [b"[1,2]"], None)
    assert cut(b'{"data":[1],"id": "x"}') == (b'{"data":["@0"],"id": "@id"}', [b"[1]"], b"x")
    assert cut(body[28:]) == (b'{"data" : ["@0"]}]}', [b"[[3],[4]]"], None)
