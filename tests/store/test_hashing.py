from __future__ import annotations

import hashlib
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.store.hashing import AHEAD, LONG, StreamHash

SIZES = [0, 1, LONG - 1, LONG, LONG + 1]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(SIZES), max_size=AHEAD + 4), st.integers(0, 255))
def test_the_digest_is_that_of_hashlib_whatever_the_pieces(sizes: list[int], first: int) -> None:
    pieces = [bytes([(first + number) % 256]) * size for number, size in enumerate(sizes)]
    ours, theirs = StreamHash(), hashlib.sha256()
    for piece in pieces:
        ours.update(piece)
        theirs.update(piece)
    assert ours.hexdigest() == theirs.hexdigest()
    assert ours.hexdigest() == theirs.hexdigest()  # asked again, the same


@pytest.mark.parametrize("ended_by", ["hexdigest", "close"])
def test_no_thread_is_left(ended_by: str) -> None:
    digest = StreamHash()
    for _ in range(AHEAD + 2):
        digest.update(bytes(LONG))
    started = [one for one in threading.enumerate() if one.name.startswith("modelpack-sha256")]
    assert started
    getattr(digest, ended_by)()
    for one in started:
        one.join(10)
        assert not one.is_alive()


def test_short_streams_start_no_thread() -> None:
    digest, before = StreamHash(), set(threading.enumerate())
    for _ in range(100):
        digest.update(b"short")
    assert set(threading.enumerate()) <= before
    assert digest.hexdigest() == hashlib.sha256(b"short" * 100).hexdigest()
