"""Shared memory is used again only when nobody looks at it any more."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable

import numpy as np
import pytest

from modelpack.server.runners.process.arena import (
    LEAST_BYTES,
    MOST_FREE,
    MOST_LENT,
    ArenaError,
    Borrower,
    Lender,
    Segment,
)


class Pair:
    """A lender and a borrower of the same segments."""

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.lender = Lender()
        self.borrower = Borrower(self.freed.append, is_writable=True)

    def send(self, data: bytes) -> tuple[Segment, np.ndarray]:
        segment, dropped = self.lender.lend(len(data))
        segment.memory[: len(data)] = data
        for one in dropped:
            self.borrower.drop(one)
        if segment.descriptor >= 0:
            self.borrower.accept(segment.id, segment.descriptor)
            os.close(segment.descriptor)
            segment.descriptor = -1
        return segment, self.borrower.borrow(segment.id, len(data))

    def settle(self) -> None:
        while self.freed:
            for one in self.lender.take_back(self.freed.pop(0)):
                self.borrower.drop(one)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_segment_is_used_again_when_its_arrays_are_gone(pair: Pair) -> None:
    first, array = pair.send(b"abcd")
    assert array.tobytes() == b"abcd"
    del array
    pair.settle()

    again, array = pair.send(b"efgh")

    assert again is first
    assert array.tobytes() == b"efgh"


@pytest.mark.parametrize(
    "keep",
    [
        lambda a: a,
        lambda a: a[1:2],
        lambda a: a.view(np.uint16).reshape(1, 2),
        lambda a: memoryview(a),
    ],
)
def test_what_somebody_keeps_stays_as_it_is(
    pair: Pair, keep: Callable[[np.ndarray], object]
) -> None:
    first, array = pair.send(b"abcd")
    kept = keep(array)
    before = bytes(memoryview(kept))  # type: ignore[call-overload]
    del array
    pair.settle()

    again, other = pair.send(b"zzzz")

    assert again is not first
    assert other.tobytes() == b"zzzz"
    assert bytes(memoryview(kept)) == before  # type: ignore[call-overload]


def test_it_grows_by_replacing(pair: Pair) -> None:
    small, array = pair.send(b"a" * 10)
    del array
    pair.settle()

    large, _ = pair.send(b"b" * (LEAST_BYTES + 1))

    assert (small.size, large.size) == (LEAST_BYTES, 2 * LEAST_BYTES)
    with pytest.raises(ArenaError):
        pair.borrower.borrow(small.id, 10)
    with pytest.raises(ValueError, match="closed"):
        small.memory[:1]


def test_what_is_not_used_is_bounded(pair: Pair) -> None:
    arrays = [pair.send(b"a" * 10)[1] for _ in range(MOST_FREE + 3)]
    arrays.clear()
    pair.settle()

    assert len(pair.borrower._mapped) == MOST_FREE


def test_a_user_that_keeps_everything_takes_it_along(pair: Pair) -> None:
    arrays = [pair.send(bytes([n]) * 10)[1] for n in range(MOST_LENT + 20)]

    assert [array[0] for array in arrays] == list(range(MOST_LENT + 20))
    arrays.clear()
    pair.settle()
    assert pair.send(b"abcd")[1].tobytes() == b"abcd"


def test_everything_is_given_back_at_the_end(pair: Pair, descriptors: Callable[[], int]) -> None:
    before = descriptors()
    arrays = [pair.send(b"a" * 10)[1] for _ in range(5)]
    assert descriptors() > before
    arrays.clear()

    pair.lender.close()
    pair.borrower.close()

    assert descriptors() == before


def test_memory_that_could_shrink_is_refused(pair: Pair) -> None:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    with pytest.raises(ArenaError, match="shrink"):
        pair.borrower.accept(1, descriptor)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    pair.borrower.accept(1, descriptor)
    with pytest.raises(ArenaError):
        pair.borrower.borrow(1, 4097)
    with pytest.raises(ArenaError):
        pair.borrower.borrow(2, 1)
    os.close(descriptor)
    pair.borrower.close()


def test_a_lender_survives_what_the_borrower_does(pair: Pair) -> None:
    segment, _ = pair.lender.lend(100)
    with pytest.raises(PermissionError):
        os.ftruncate(segment.descriptor, 0)
    with mmap.mmap(segment.descriptor, segment.size) as other:
        other[:4] = b"lies"
    assert pair.lender.take_back(12345) == []
    pair.lender.close()
