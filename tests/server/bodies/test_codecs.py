"""JSON in and out: one verdict whichever decoder ran, and nothing odd ever becomes a 500."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import spec_of
from modelpack.server.bodies.codecs import MAX_DEPTH, dump, parse
from modelpack.server.bodies.decoders import json_decoder as decoder
from modelpack.server.problems import BadJson, BadOutput


@dataclasses.dataclass
class Point:
    x: float
    label: str = "none"


@modelpack.service
class Apis:
    @modelpack.api(batch=True)
    def floats(self, x: modelpack.Tensor["float32", "batch", 3]) -> list[float]:
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api
    def matrix(self, x: modelpack.Tensor["int64", "n", "n"]) -> int:
        return int(x.sum())

    @modelpack.api
    def any_shape(self, x: modelpack.Tensor["float64"]) -> int:
        return x.ndim

    @modelpack.api
    def flags(self, x: modelpack.Tensor["bool", 2]) -> int:
        return int(x.sum())

    @modelpack.api
    def words(self, text: str, points: list[Point] | None = None) -> str:
        return text

    @modelpack.api
    def anything(self, value: Any) -> Any:
        return value


APIS = {api.name: api for api in spec_of(Apis).apis}


def verdict(api: ApiSpec, body: bytes) -> Any:
    """What ``ApiSpec.decode`` says of a body, as plain values."""
    try:
        return plain(api.decode(orjson.loads(body)))
    except InputError as error:
        return [(i.pointer, i.expected, i.got) for i in error.issues]


def fast_verdict(api: ApiSpec, body: bytes) -> Any:
    try:
        return plain(decoder(api)(body))
    except InputError as error:
        return [(i.pointer, i.expected, i.got) for i in error.issues]


def plain(arguments: Any) -> Any:
    values = {
        name: (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value
        for name, value in arguments.values.items()
    }
    return values, arguments.rows


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e39, 3.5e38, 2**53 + 1, 16777217]),
)
LEAVES = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=3))
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
ROWS = st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=4)
BODIES = st.one_of(
    st.builds(lambda x: {"x": x}, st.one_of(ROWS, NESTED)),
    st.builds(lambda x, y: {"x": x, "y": y}, ROWS, LEAVES),
    st.builds(lambda key, x: {key: x}, st.text(max_size=2), ROWS),
    NESTED,
)


@given(body=BODIES, name=st.sampled_from(["floats", "matrix", "any_shape", "flags"]))
def test_the_decoder_of_arrays_gives_the_verdict_of_the_signature(body: Any, name: str) -> None:
    data = orjson.dumps(body)

    assert fast_verdict(APIS[name], data) == verdict(APIS[name], data)


@pytest.mark.parametrize("api", APIS)
def test_odd_json_is_refused_as_bad_json_or_bad_input(odd_json: bytes, api: str) -> None:
    with pytest.raises((BadJson, InputError)):
        decoder(APIS[api])(odd_json)


def test_odd_json_is_bad_json_where_any_value_may_stand(odd_json: bytes) -> None:
    body = odd_json.replace(b'"x"', b'"value"').replace(b"u0078", b"u0076alue")

    with pytest.raises(BadJson):
        decoder(APIS["anything"])(body)


@pytest.mark.parametrize("api", ["anything", "floats", "words"])
def test_nesting_is_refused_beyond_the_limit_for_every_api(api: str) -> None:
    for depth in (MAX_DEPTH + 1, 200, 1000, 1024, 5000):
        nested = b"[" * (depth - 1) + b"]" * (depth - 1)
        key = APIS[api].parameters[0].name.encode()
        with pytest.raises(BadJson):
            decoder(APIS[api])(b'{"%b":%b}' % (key, nested))


def test_nesting_up_to_the_limit_is_taken() -> None:
    nested = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)

    assert decoder(APIS["anything"])(b'{"value":%b}' % nested).rows == 1


def test_bad_json_says_where() -> None:
    with pytest.raises(BadJson, match="line 2 column 5"):
        parse(b'{"a":1,\n"b":x}')


def test_texts_and_brackets_inside_of_texts_are_no_keys_and_no_nesting() -> None:
    body = orjson.dumps({"value": ['"', '\\"', "[" * 200, {"a": "b:,"}, {"a": "a"}]})

    assert decoder(APIS["anything"])(body).values["value"][2] == "[" * 200


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(value=JSON)
def test_every_ordinary_json_value_is_read_as_the_standard_library_does(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (np.array([[1.5, 2]], "float32"), "[[1.5,2.0]]"),
        (np.array([0.1], "float32"), "[0.1]"),
        (np.array([math.nan, math.inf, -math.inf]), "[null,null,null]"),
        ([math.nan, 1.0], "[null,1.0]"),
        (np.float32("nan"), "null"),
        (np.array([[1, 2], [3, 4]])[:, ::-1], "[[2,1],[4,3]]"),
        (np.array([[1, 2], [3, 4]]).T, "[[1,3],[2,4]]"),
        (np.array([1, 2], ">i4"), "[1,2]"),
        (np.array(3.0), "3.0"),
        (np.array(["a", "ü"]), '["a","ü"]'),
        (np.array(["a", None], object), '["a",null]'),
        (np.array([True, False]), "[true,false]"),
        (np.zeros((0, 3)), "[]"),
        (np.zeros((2, 0)), "[[],[]]"),
        (np.array([2**64 - 1], "uint64"), "[18446744073709551615]"),
        (np.int8(3), "3"),
        (np.bool_(True), "true"),
        ({1: "a", "b": np.array([1])}, '{"1":"a","b":[1]}'),
        ((1, [2, (3,)]), "[1,[2,[3]]]"),
        (None, "null"),
        ({"deep": {"x": np.arange(4).reshape(2, 2)[:, 1]}}, '{"deep":{"x":[1,3]}}'),
    ],
)
def test_answers_are_written_as_strict_json(answer: Any, text: str) -> None:
    assert dump(answer).decode() == text


@pytest.mark.parametrize(
    "answer",
    [object(), {1, 2}, b"bytes", np.array([1j]), 2**70, [lambda: 0], np.array([object()])],
)
def test_what_has_no_json_form_is_bad_output(answer: Any) -> None:
    with pytest.raises(BadOutput):
        dump(answer)


def test_an_answer_that_holds_itself_is_bad_output() -> None:
    answer: list[Any] = []
    answer.append(answer)

    with pytest.raises(BadOutput):
        dump(answer)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
)
def test_numbers_survive_the_way_out_and_in(numbers: list[float]) -> None:
    array = np.array(numbers, "float32")

    assert np.array(orjson.loads(dump(array)), "float32").tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", [np.longlong, np.ulonglong, np.intc, np.int64, np.uint8])
def test_whole_numbers_of_every_type_are_written(kind: type) -> None:
    assert dump({"rows": [{"label": kind(3)}]}) == b'{"rows":[{"label":3}]}'
