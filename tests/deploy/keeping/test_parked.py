"""What waits while nobody takes it: queues of the kernel, connections of clients."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from modelpack.deploy.keeping import parked as module
from modelpack.deploy.keeping.members import Member
from modelpack.deploy.keeping.parked import Parked, queue_length


class World:
    """A listening socket, and connections that a server has given back."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        self.selector = stack.enter_context(selectors.DefaultSelector())
        self.knocks = 0
        self.parked = Parked(self.listener, self.selector, self._knock)
        stack.callback(self._clear)

    def connect(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(self.listener.getsockname()))

    def park(self) -> socket.socket:
        """Return the client's end of a connection that was given back."""
        client = self.connect()
        served, _ = self.listener.accept()
        self.parked.add(served.detach())
        return client

    def wait(self, seconds: float = 0.0) -> None:
        for key, _ in self.selector.select(seconds):
            key.data()

    def taker(self) -> tuple[Member, socket.socket]:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (near, far):
            self._stack.enter_context(one).setblocking(False)
        return Member(near, "a", "1", 0), far

    def _knock(self) -> None:
        self.knocks += 1

    def _clear(self) -> None:
        self.parked.watch(False)
        member, far = self.taker()
        with self.listener:
            while len(self.parked):
                self.parked.pass_on([member])
                for one in taken(far):
                    one.close()


def taken(far: socket.socket) -> list[socket.socket]:
    """Return the connections that somebody was given."""
    found: list[socket.socket] = []
    while True:
        try:
            said, descriptors, _, _ = socket.recv_fds(far, 100, 1)
        except BlockingIOError:
            return found
        assert said == b"adopt"
        found += [socket.socket(fileno=one) for one in descriptors]


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def test_the_queue_of_the_kernel_is_counted(world: World) -> None:
    assert queue_length(world.listener) == 0
    for _ in range(5):
        world.connect()

    assert queue_length(world.listener) == 5
    assert world.parked.asking == 5


def test_what_has_no_queue_counts_as_none() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert queue_length(near) == 0


def test_somebody_who_connects_knocks_only_while_it_is_watched(world: World) -> None:
    world.connect()
    world.wait()
    assert world.knocks == 0
    world.parked.watch(True)
    world.wait(10)
    assert world.knocks == 1
    world.parked.watch(False)
    world.wait()
    assert world.knocks == 1


def test_the_first_byte_on_an_open_connection_knocks(world: World) -> None:
    world.parked.watch(True)
    quiet, asking = world.park(), world.park()
    world.wait()
    assert (world.knocks, world.parked.asking) == (0, 0)

    asking.sendall(b"P")
    world.wait(10)

    assert (world.knocks, world.parked.asking, len(world.parked)) == (1, 1, 2)
    assert quiet.fileno() >= 0


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_client_that_leaves_wakes_nobody_and_is_forgotten(world: World, is_watched) -> None:
    world.parked.watch(is_watched)
    client = world.park()
    client.close()
    world.wait(10 if is_watched else 0)

    assert (world.parked.asking, len(world.parked), world.knocks) == (0, 0, 0)
    world.parked.watch(not is_watched)
    world.wait()


def test_connections_go_to_those_who_accept_in_turns_with_what_was_sent(world: World) -> None:
    clients = [world.park() for _ in range(4)]
    for number, one in enumerate(clients):
        one.sendall(b"%d" % number)
    takers = [world.taker(), world.taker()]

    world.parked.pass_on([member for member, _ in takers])

    shares = [taken(far) for _, far in takers]
    assert [len(share) for share in shares] == [2, 2]
    assert sorted(one.recv(10) for share in shares for one in share) == [b"0", b"1", b"2", b"3"]
    for one in (one for share in shares for one in share):
        one.close()
    assert len(world.parked) == 0


def test_one_whose_taker_is_gone_waits_on(world: World) -> None:
    world.park()
    member, _ = world.taker()
    member.line.close()

    world.parked.pass_on([member])

    assert len(world.parked) == 1


def test_more_than_there_is_room_for_are_closed(world: World, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    world.park()
    second = world.park()
    second.settimeout(10)

    assert second.recv(1) == b""
    assert len(world.parked) == 1


def test_what_is_no_connection_is_closed(world: World) -> None:
    read_end, write_end = os.pipe()
    world.parked.add(read_end)
    os.close(write_end)

    assert len(world.parked) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_end)
