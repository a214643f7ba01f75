"""Three decoders, one verdict: the quick ones take nothing that the plain one would not."""

from __future__ import annotations

import json
import threading
from typing import Any, Literal

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import modelpack
from modelpack.errors import InputError
from modelpack.sdk.api import Arguments
from modelpack.sdk.service import spec_of
from modelpack.server.bodies import simd
from modelpack.server.bodies.codecs import plain_decoder
from modelpack.server.bodies.decoders import SHORT_BYTES, json_decoder
from modelpack.server.bodies.simd import array_decoder
from modelpack.server.problems import BadJson


@modelpack.service
class Apis:
    @modelpack.api(batch=True)
    def float32(self, x: modelpack.Tensor["float32", "batch", 3]) -> list[float]: ...

    @modelpack.api(batch=True)
    def float16(self, x: modelpack.Tensor["float16", "batch", 3]) -> list[float]: ...

    @modelpack.api(batch=True)
    def float64(self, x: modelpack.Tensor["float64", "batch", 3]) -> list[float]: ...

    @modelpack.api(batch=True)
    def int8(self, x: modelpack.Tensor["int8", "batch", 3]) -> list[float]: ...

    @modelpack.api
    def int64(self, x: modelpack.Tensor["int64", "n", "m"]) -> float: ...

    @modelpack.api(batch=True)
    def uint64(self, x: modelpack.Tensor["uint64", "batch", 3]) -> list[float]: ...

    @modelpack.api
    def vector(self, x: modelpack.Tensor["float32", "n"]) -> float: ...

    @modelpack.api
    def square(self, x: modelpack.Tensor["float32", 2, "n", "n"]) -> float: ...

    @modelpack.api
    def any_shape(self, x: modelpack.Tensor["float32"]) -> float: ...

    @modelpack.api(batch=True)
    def two(
        self,
        x: modelpack.Tensor["float32", "batch", 3],
        y: modelpack.Tensor["int32", "batch"] | None = None,
        k: int = 3,
        kind: Literal["a", "[b"] = "a",
        names: list[str] | None = None,
    ) -> list[float]: ...

    @modelpack.api(batch=True)
    def pair(
        self, x: modelpack.Tensor["float32", "batch", 3], y: modelpack.Tensor["int32", "batch"]
    ) -> list[float]: ...


APIS = {api.name: api for api in spec_of(Apis).apis}
PLAIN = {name: plain_decoder(api) for name, api in APIS.items()}
WHOLE = {name: json_decoder(api) for name, api in APIS.items()}
SIMD = {name: array_decoder(api, PLAIN[name]) for name, api in APIS.items()}
NAMES = st.sampled_from(list(APIS))


def verdict(decode: Any, body: bytes) -> Any:
    """The arguments bit by bit, or every word of the error."""
    try:
        return flat(decode(body))
    except InputError as error:
        return error.message, [(i.pointer, i.expected, i.got) for i in error.issues]
    except BadJson as error:
        return str(error)


def flat(arguments: Arguments) -> Any:
    values = {
        name: (value.dtype.str, value.shape, value.tobytes(), value.flags.writeable)
        if isinstance(value, np.ndarray)
        else repr(value)
        for name, value in arguments.values.items()
    }
    return values, arguments.rows


def agree(name: str, body: bytes) -> None:
    expected = verdict(PLAIN[name], body)
    assert verdict(SIMD[name], body) == expected
    assert verdict(WHOLE[name], body) == expected


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-130, 130),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e39, 3.4028235e38, 3.4028236e38, 65504, 65519, 65520, 2**53 + 1,
                     16777217, 2**24 + 2**60, 5e-324, 127, 128, -128, -129, 2**63, 2**64 - 1]),
)  # fmt: skip
LEAVES = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=3))
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
ROWS = st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=4)
MIXED_ROWS = st.lists(st.lists(NUMBERS, min_size=2, max_size=3), max_size=3)
BODIES = st.one_of(
    st.builds(lambda x: {"x": x}, st.one_of(ROWS, MIXED_ROWS, NESTED)),
    st.builds(lambda x, y: {"x": x, "y": y}, ROWS, st.one_of(LEAVES, st.lists(NUMBERS))),
    st.builds(
        lambda x, k, kind: {"kind": kind, "k": k, "x": x},
        ROWS,
        LEAVES,
        st.sampled_from(["a", "[b", "c", '"', 1]),
    ),
    st.builds(lambda x, names: {"x": x, "names": names}, ROWS, st.lists(st.text(max_size=2))),
    st.builds(lambda key, x: {key: x}, st.text(max_size=2), ROWS),
    NESTED,
)


@given(body=BODIES, name=NAMES, is_spaced=st.booleans())
def test_all_decoders_give_one_verdict(body: Any, name: str, is_spaced: bool) -> None:
    agree(name, json.dumps(body, indent=1).encode() if is_spaced else orjson.dumps(body))


PIECES = [b"[", b"]", b",", b"{", b"}", b":", b'"', b"1", b"-0", b"-0.0", b"1.5", b"1e400", b"1e39",
          b"1e-400", b"true", b"false", b"null", b'"2"', b"NaN", b"Infinity", b"-", b".", b"01",
          b"123456789012345678901234567890", b"18446744073709551615", b"9223372036854775808",
          b" ", b"\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"[1,2,3]", b"[[1,2,3]]", b",[4]", b'"x":',
          b'"\\u0078":', b'"x":[[1,2,3]]', b',"y":[1]', b',"k":1', b"[]", b"[[]]", b"{}"]  # fmt: skip
GOOD = [b'{"x":[[1,2,3]]}', b'{"x":[[1.5,2,-3e2],[4,5,6]]}', b'{"x":[1,2,3]}',
        b'{"x":[[[1,2],[3,4]],[[5,6],[7,8]]]}', b'{"x":[[1,2,3]],"y":[7],"k":5,"kind":"a"}',
        b'{"y":[7,8],"x":[[1,2,3],[4,5,6]]}', b'{"x":[[1,2,3]],"names":["a","["]}']  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        stop = min(len(body), start + draw(st.integers(0, 4)))
        body = body[:start] + draw(st.sampled_from([b"", *PIECES])) + body[stop:]
    return body


@settings(max_examples=600)
@given(body=mutated(), name=NAMES)
@example(b'{"x":[[1,2,3],[4]]}', "any_shape")
@example(b'{"x":[[1,2,3],4]}', "float32")
@example(b'{"x":[[1,2,[3]]]}', "float32")
@example(b'{"x":[[1,[2,3]]]}', "int64")
@example(b'{"x":[[1,2],[[3,4]]]}', "square")
@example(b'{"x":["abc","abc"]}', "float32")
@example(b'{"x":["a"]}', "any_shape")
@example(b'{"x":"a"}', "any_shape")
@example(b'{"x":{"a":1}}', "any_shape")
@example(b'{"x":[{"a":1,"b":2,"c":3}]}', "float32")
@example(b'{"x":[[1,2,3]],"x":[[1,2,3]]}', "float32")
@example(b'{"x":[[1,2,3]],"k":1,"k":2}', "two")
@example(b'\xef\xbb\xbf{"x":[[1,2,3]]}', "float32")
@example(b'[{"x":[[1,2,3]]}]', "float32")
def test_all_decoders_give_one_verdict_on_broken_bodies(body: bytes, name: str) -> None:
    agree(name, body)


def refuse(_body: bytes) -> Arguments:
    raise AssertionError("the quick decoder was not sure")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("float32", b'{"x":[[1,2.5,3],[4,5,6]]}'),
        ("float16", b'{ "x" : [ [1, 2.5, -65504] ] }'),
        ("float64", b'{"x":[[1e308,2,3]]}'),
        ("int8", b'{"x":[[1,-128,127]]}'),
        ("int64", b'{"x":[[1],[2]]}'),
        ("uint64", b'{"x":[[1,2,18446744073709551615]]}'),
        ("vector", b'{"x":[1,2,3,4]}'),
        ("square", b'{"x":[[[1,2],[3,4]],[[5,6],[7,8]]]}'),
        ("any_shape", b'{"x":[[[[1,2]]]]}'),
        ("two", b'{"x":[[1,2,3]]}'),
        ("two", b'{"k":5,"x":[[1,2,3]],"kind":"a"}'),
        ("pair", b'{"x":[[1,2,3],[4,5,6]],"y":[1,2]}'),
    ],
)
def test_ordinary_arrays_need_no_plain_decoder(name: str, body: bytes) -> None:
    decode = array_decoder(APIS[name], refuse)

    assert decode is not None
    assert flat(decode(body)) == flat(PLAIN[name](body))


def test_apis_without_number_arrays_have_the_plain_decoder_alone() -> None:
    @modelpack.service
    class Others:
        @modelpack.api
        def flags(self, x: modelpack.Tensor["bool", "n"]) -> int: ...

        @modelpack.api
        def words(self, x: modelpack.Tensor["str", "n"]) -> int: ...

        @modelpack.api
        def scalar(self, x: float) -> int: ...

    for api in spec_of(Others).apis:
        assert array_decoder(api, plain_decoder(api)) is None


@pytest.mark.parametrize("rows", [1, 3, 40, 400])
def test_rows_on_both_sides_of_every_limit_are_read_alike(rows: int) -> None:
    body = orjson.dumps({"x": np.random.default_rng(rows).random((rows, 3)).tolist()})

    assert (len(body) <= SHORT_BYTES) == (rows < 10)
    agree("float32", body)
    agree("any_shape", body)


def test_a_number_means_the_same_whatever_stands_beside_it() -> None:
    """Not rounded once as an integer here and twice through a double there."""
    large = 2**60 + 2**36 + 1
    alone = PLAIN["float32"](b'{"x":[[%d,1,1]]}' % large).values["x"]
    mixed = PLAIN["float32"](b'{"x":[[%d,1,1.5]]}' % large).values["x"]

    assert alone[0, 0] == mixed[0, 0]


def test_arrays_outlive_the_next_body() -> None:
    """What was decoded holds no memory of the parser, which is used again."""
    for name in ("float32", "float64", "uint64", "int64"):
        decode = SIMD[name]
        assert decode is not None
        first = decode(b'{"x":[[1,2,3]]}').values["x"]
        decode(b'{"x":[[7,8,9]]}')
        assert first.tolist() == [[1, 2, 3]]


def test_large_bodies_leave_no_large_parser_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    new = simd._new_parser
    monkeypatch.setattr(simd, "_new_parser", lambda: made.append(1) or new())
    decode = array_decoder(APIS["float32"], refuse)
    assert decode is not None
    small, large = b'{"x":[[1,2,3]]}', b'{"x":[[1,2,3]%s]}' % (b",[1,2,3]" * 40_000)

    for body in (small, small, large, small, small):
        decode(body)

    assert len(made) == 2


@pytest.mark.parametrize("name", ["float32", "two"])
def test_a_key_that_stands_there_often_is_not_read_as_often(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    measure = simd._measure
    monkeypatch.setattr(simd, "_measure", lambda *args: measured.append(1) or measure(*args))
    body = b'{"x":[[1,2,3]]%b}' % (b',"x":[[1,2,3]]' * 1000)

    agree(name, body)

    assert len(measured) <= 2


def test_threads_may_decode_at_the_same_time() -> None:
    decode = SIMD["float32"]
    assert decode is not None
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rows = np.random.default_rng(seed).random((500, 3)).astype("float32")
        body = orjson.dumps({"x": rows.tolist()})
        for _ in range(30):
            got = decode(body).values["x"]
            if not np.array_equal(got, rows):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
