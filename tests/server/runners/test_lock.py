"""Whether a call keeps others from running Python is measured, and a busy machine is not blamed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from statistics import median

import pytest

from modelpack.server.runners.lock import watching_lock


def computing(seconds: float) -> None:
    """Hold the lock: plain Python."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


def hashing(seconds: float) -> None:
    """Compute as much, and release the lock: OpenSSL."""
    data = b"x" * 1_000_000
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(data)


def one_long_call(seconds: float) -> None:
    """Hold the lock in native code that never looks up."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sorted(range(300_000, 0, -1), key=str)


def share(function: Callable[[float], None]) -> float:
    """Return the middle one of some shares."""
    shares = []
    for _ in range(5):
        thread = threading.Thread(target=function, args=(0.03,))
        with watching_lock() as probe:
            thread.start()
            thread.join()
        shares.append(probe.share)
    return median(shares)


@pytest.mark.parametrize("function", [computing, one_long_call])
def test_code_that_holds_the_lock_is_found(function: Callable[[float], None]) -> None:
    assert share(function) > 0.5


@pytest.mark.flaky(reruns=3, reruns_delay=2)  # on a machine that has no time for it
@pytest.mark.parametrize("function", [hashing, time.sleep])
def test_code_that_releases_it_is_not_blamed(function: Callable[[float], None]) -> None:
    assert share(function) < 0.3


def test_nothing_watched_is_nothing_held() -> None:
    with watching_lock() as probe:
        pass

    assert 0.0 <= probe.share <= 1.0
