"""One thread waits for many: what is called, and what is not any more."""

from __future__ import annotations

import selectors
import socket

from modelpack.deploy.watching import Watch


def test_what_a_call_removes_is_not_called_in_the_same_turn() -> None:
    watch, called = Watch(), []
    pairs = [socket.socketpair() for _ in range(2)]

    def call(number: int) -> None:
        called.append(number)
        watch.remove(pairs[1 - number][0])

    for number, (end, other) in enumerate(pairs):
        watch.add(end, lambda number=number: call(number))
        other.send(b"x")
    watch.wait(10)

    assert len(called) == 1
    watch.close()
    for pair in pairs:
        for one in pair:
            one.close()


def test_another_selector_can_be_waited_for() -> None:
    watch, called = Watch(), []
    here, there = socket.socketpair()
    with here, there, selectors.DefaultSelector() as inner:
        inner.register(here, selectors.EVENT_READ)
        watch.add(inner, lambda: called.append(here.recv(1)))
        watch.wait(0)
        assert called == []
        there.send(b"x")
        watch.wait(10)
        assert called == [b"x"]
        watch.remove(inner)
        watch.remove(inner)
        watch.close()
