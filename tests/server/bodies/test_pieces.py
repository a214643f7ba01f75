"""A long body is read in pieces, and means what the whole does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.errors import InputError
from modelpack.sdk.service import spec_of
from modelpack.server.bodies import pieces, simd
from modelpack.server.bodies.codecs import plain_decoder
from modelpack.server.bodies.pieces import Cutter
from modelpack.server.problems import BadJson


@modelpack.service
class Apis:
    @modelpack.api
    def vector(self, x: modelpack.Tensor["float64", "n"]) -> int: ...

    @modelpack.api(batch=True)
    def rows(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[int]: ...

    @modelpack.api
    def cube(self, x: modelpack.Tensor["int64", 3, "n", 2]) -> int: ...


APIS = {api.name: api for api in spec_of(Apis).apis}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every body is a long one, and every element a piece."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    monkeypatch.setattr(simd, "LONG_BYTES", 0)


@pytest.mark.parametrize(
    ("rank", "middle", "expected"),
    [
        (1, b"1,2,3", [b"[1]", b"[2]", b"[3]"]),
        (2, b"[1,2],[3,4],[5,6]", [b"[[1,2]]", b"[[3,4]]", b"[[5,6]]"]),
        (2, b"[1,2] ,[3,4]", [b"[[1,2] ,[3,4]]"]),
        (3, b"[[1],[2]],[[3]]", [b"[[[1],[2]]]", b"[[[3]]]"]),
        (2, b"", [b"[]"]),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_the_cut_is_between_two_elements_of_the_first_axis(
    rank: int, middle: bytes, expected: list[bytes]
) -> None:
    for body in (b'{"x":[%b]}' % middle, b' {\n"x" : [%b\t]\n}\r ' % middle):
        cut = [piece.replace(b"\t", b"") for piece in Cutter("x", rank).cut(body)]
        assert cut == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"y":[1]}', b'{"x":1}', b'{"x":[1]', b'{"x":[1]}}', b'{"x":[1],"y":2}',
     b'\xef\xbb\xbf{"x":[1]}', b'{"x":\x0b[1]}', b'{"x":[1]}\0', b'["x":[1]}'],
)  # fmt: skip
def test_other_bodies_are_not_cut(body: bytes) -> None:
    with pytest.raises(ValueError):
        list(Cutter("x", 1).cut(body))


def verdict(decode: Any, body: bytes) -> Any:
    try:
        values, rows = (arguments := decode(body)).values, arguments.rows
        return values["x"].dtype, values["x"].shape, values["x"].tobytes(), rows
    except InputError as error:
        return error.message, [(i.pointer, i.expected, i.got) for i in error.issues]
    except BadJson as error:
        return str(error)


def check(name: str, body: bytes) -> None:
    plain = plain_decoder(APIS[name])
    decode = simd.array_decoder(APIS[name], plain)
    assert verdict(decode, body) == verdict(plain, body)


NUMBERS = st.one_of(st.integers(-5, 5), st.floats(allow_nan=False), st.none(), st.text(max_size=1))
NESTED = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4), max_leaves=15)
GOOD = [b'{"x":[1,2,3,4]}', b'{"x":[[1,2],[3,4],[5,6]]}',
        b'{"x":[[[1,2],[3,4]],[[5,6],[7,8]],[[9,10],[11,12]]]}']  # fmt: skip
BITS = [b"[", b"]", b",", b"],[", b"]]", b",,", b'"', b"null", b" ", b"{", b"}", b"", b"[]", b"e",
        b'],"x":[', b'"y":1']  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        stop = min(len(body), start + draw(st.integers(0, 3)))
        body = body[:start] + draw(st.sampled_from(BITS)) + body[stop:]
    return body


@given(
    body=st.one_of(mutated(), st.builds(lambda x: orjson.dumps({"x": x}), NESTED)),
    name=st.sampled_from(list(APIS)),
)
def test_pieces_have_the_verdict_of_the_whole(body: bytes, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 1)
        patch.setattr(simd, "LONG_BYTES", 0)
        check(name, body)


def test_a_long_body_is_read_in_pieces() -> None:
    x = np.random.default_rng(1).random((40_000, 2), dtype="float32")
    body = json.dumps({"x": x.astype(float).tolist()}).encode()
    assert len(list(Cutter("x", 2).cut(body))) > 3

    def refuse(_body: bytes) -> Any:
        raise AssertionError("the pieces did not fit")

    decode = simd.array_decoder(APIS["rows"], refuse)
    assert decode is not None
    arguments = decode(body)

    assert np.array_equal(arguments.values["x"], x)
    assert arguments.rows == 40_000


@pytest.mark.parametrize("wrong", [b"null", b"true", b"[1]", b"1e39", b"1,2"])
def test_a_mistake_in_a_late_piece_is_found(wrong: bytes) -> None:
    body = b'{"x":[' + b"[1.25,2.5]," * 60_000 + b"[1,%b]]}" % wrong
    assert len(body) > simd.LONG_BYTES

    check("rows", body)
