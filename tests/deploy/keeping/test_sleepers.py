"""Who is told to start and to end, of those whose process 1 is there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from modelpack.deploy.keeping.sleepers import MOST_RETIRING_S, SETTLE_S, Sleepers


class Line:
    """Both ends of a line to one process 1."""

    def __init__(self, stack: ExitStack) -> None:
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (self.near, self.far):
            stack.enter_context(one)
            one.setblocking(False)

    @property
    def heard(self) -> list[str]:
        """What process 1 was told since the last time."""
        words = []
        while True:
            try:
                words.append(self.far.recv(100).decode())
            except BlockingIOError:
                return words


class World:
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.now = 10.0
        self.said: list[dict[str, Any]] = []
        self.sleepers = Sleepers(self.said.append, lambda: self.now)

    def add(self, name: str, state: str = "asleep") -> Line:
        line = Line(self._stack)
        self.sleepers.add(line.near, "a", name, state)
        self.sleepers.arrange("a")
        return line

    def settle(self) -> None:
        self.now += SETTLE_S
        self.sleepers.settle()

    def end_retired(self, *, busy: tuple[str, ...] = ()) -> bool:
        return self.sleepers.end_retired(lambda _, name: name not in busy)

    def hear(self, line: Line, word: str, *rest: str) -> None:
        sleeper = self.sleepers.of(line.near)
        assert sleeper is not None
        self.sleepers.hear(sleeper, word, list(rest))


@pytest.fixture
def begin() -> Iterator[Callable[[], World]]:
    with ExitStack() as stack:
        yield lambda: World(stack)


@pytest.fixture
def world(begin: Callable[[], World]) -> World:
    """A keeper that has been there for a while."""
    made = begin()
    made.settle()
    return made


def test_the_first_of_a_group_are_woken_and_the_last_put_to_sleep(world: World) -> None:
    lines = [world.add(name) for name in ("10", "2", "1")]
    world.sleepers.want("a", 2)
    assert [one.heard for one in lines] == [[], ["start"], ["start"]]

    world.sleepers.want("a", 3)
    world.sleepers.want("a", 1)
    world.end_retired()
    assert [one.heard for one in lines] == [["start", "stop"], ["stop"], []]


def test_one_that_takes_requests_stays_and_one_that_starts_goes(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    world.sleepers.want("a", 2)
    for one in (first, second):
        world.hear(one, "awake")
    world.sleepers.joined("a", "2")

    world.sleepers.want("a", 1)
    world.end_retired()

    assert (first.heard, second.heard) == (["start", "stop"], ["start", "ready"])


def test_one_that_has_something_to_do_ends_after_that(world: World) -> None:
    line = world.add("1")
    world.sleepers.want("a", 1)
    world.sleepers.want("a", 0)
    assert world.sleepers.is_retiring("a", "1"), "it accepts nobody"
    assert world.end_retired(busy=("1",))
    assert line.heard == ["start"]

    assert not world.end_retired()
    assert line.heard == ["stop"]


def test_one_that_retires_is_wanted_again_before_another_is_woken(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    world.sleepers.want("a", 2)
    for one in (first, second):
        world.hear(one, "awake")
    world.sleepers.want("a", 0)
    world.add("0")
    assert first.heard == second.heard == ["start"]

    world.sleepers.want("a", 2)

    assert not world.end_retired()
    assert first.heard == second.heard == []
    assert not world.sleepers.is_retiring("a", "1")


def test_one_that_is_never_done_ends_all_the_same(world: World) -> None:
    line = world.add("1")
    world.sleepers.want("a", 1)
    world.sleepers.want("a", 0)
    world.now += MOST_RETIRING_S

    assert not world.end_retired(busy=("1",))
    assert line.heard == ["start", "stop"]


def test_one_that_is_lost_has_another_in_its_place(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    world.sleepers.want("a", 1)
    world.sleepers.lose(first.near)

    assert (first.heard, second.heard) == (["start"], ["start"])


def test_one_that_comes_back_is_not_needed_twice(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    world.sleepers.want("a", 1)
    world.sleepers.lose(first.near)
    again = world.add("1")

    assert (second.heard, again.heard) == (["start"], [])


def test_one_that_still_ends_is_woken_last(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    world.sleepers.want("a", 1)
    world.hear(first, "awake")
    world.sleepers.want("a", 0)
    world.end_retired()
    world.hear(first, "ending")

    world.sleepers.want("a", 1)

    assert (first.heard, second.heard) == (["start", "stop"], ["start"])


def test_a_group_that_is_on_trial_sleeps_until_it_is_wanted(world: World) -> None:
    line = world.add("1")
    assert line.heard == []
    assert (world.sleepers.awake("a"), world.sleepers.places("a")) == (0, 1)


def test_a_crash_is_said_and_nobody_is_told_anything(world: World) -> None:
    """Process 1 starts the server again by itself."""
    line = world.add("1")
    world.sleepers.want("a", 1)
    world.hear(line, "awake")
    world.hear(line, "crashed", "137")

    assert line.heard == ["start"]
    assert world.said == [{"event": "server-crashed", "group": "a", "replica": "1", "status": 137}]


def test_a_keeper_that_has_just_started_lets_those_who_are_awake_speak_first(begin) -> None:
    world = begin()
    world.sleepers.want("a", 1)
    asleep, awake = world.add("1"), world.add("2", "awake")
    left_s = world.sleepers.settle()
    assert left_s is not None
    assert left_s > 0

    world.settle()

    assert (asleep.heard, awake.heard) == ([], [])
    assert world.sleepers.settle() is None


def test_the_last_one_of_a_group_tells_that_the_group_is_gone(world: World) -> None:
    first, second = world.add("1"), world.add("2")
    assert world.sleepers.lose(first.near) is None
    assert world.sleepers.lose(second.near) == "a"
    assert world.sleepers.lose(second.near) is None


def test_a_state_that_there_is_not_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="dreaming"):
        world.add("1", "dreaming")
