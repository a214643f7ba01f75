"""Compressed bodies: whole, bounded, or refused."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InputError
from modelpack.server.bodies.inflate import MAX_MEMBERS, inflate
from modelpack.server.problems import RefusedRequest


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


FORMS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a head": ("deflate", raw_deflate),
}


@pytest.mark.parametrize("form", FORMS)
@given(data=st.binary(max_size=500))
def test_a_body_comes_out_as_it_was(form: str, data: bytes) -> None:
    coding, compress = FORMS[form]

    assert inflate(compress(data), coding, 500) == data


@pytest.mark.parametrize("form", FORMS)
def test_the_limit_is_that_of_the_inflated_body(form: str) -> None:
    coding, compress = FORMS[form]
    body = compress(b"x" * 1000)

    assert len(inflate(body, coding, 1000)) == 1000
    with pytest.raises(RefusedRequest) as refused:
        inflate(body, coding, 999)
    assert refused.value.problem.status == 413
    assert not refused.value.problem.closes
    assert "999 bytes once it is decompressed" in refused.value.problem.detail


@pytest.mark.parametrize("form", FORMS)
def test_a_bomb_takes_no_more_memory_than_the_limit(form: str) -> None:
    coding, compress = FORMS[form]
    bomb = compress(b"\0" * 50_000_000)
    assert len(bomb) < 60_000

    tracemalloc.start()
    try:
        with pytest.raises(RefusedRequest):
            inflate(bomb, coding, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_is_that_of_all_members_together() -> None:
    body = gzip.compress(b"x" * 600) * 2

    assert inflate(body, "gzip", 1200) == b"x" * 1200
    with pytest.raises(RefusedRequest):
        inflate(body, "gzip", 1199)


def test_members_without_end_are_refused() -> None:
    assert inflate(gzip.compress(b"") * MAX_MEMBERS, "gzip", 10) == b""
    with pytest.raises(InputError, match="more behind its end"):
        inflate(gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip", 10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_body_that_is_cut_short_is_refused(form: str, cut: int) -> None:
    coding, compress = FORMS[form]

    with pytest.raises(InputError, match="does not inflate"):
        inflate(compress(bytes(range(200)))[:cut], coding, 1000)


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_behind_the_end_is_refused(form: str) -> None:
    coding, compress = FORMS[form]

    with pytest.raises(InputError):
        inflate(compress(b"abc") + b"xyz", coding, 1000)


@given(body=st.binary(max_size=200), coding=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_inflate_within_the_limit_or_are_refused(body: bytes, coding: str) -> None:
    with suppress(InputError, RefusedRequest):
        assert len(inflate(body, coding, 100)) <= 100
