"""Servers of their own at one port that somebody else keeps: the real keeper, real servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.server.life.kept import PROGRAM, Keeper, Member


@pytest.fixture
def replica(launch, project, doubler, keeper: Keeper) -> Callable[..., Any]:
    """Start a server that belongs to a group of the keeper."""

    def start(group: str, *, factor: int = 2, **settings: Any) -> Any:
        folder = project(doubler(factor), name=f"factor-{factor}")
        env = {
            "MODELPACK_PORT_KEEPER": str(keeper.path),
            "MODELPACK_PORT_GROUP": group,
        }
        return launch(folder, env=env, **settings)

    return start


def joined(keeper: Keeper, group: str, count: int) -> Callable[[], bool]:
    return lambda: keeper.ask("status")["joined"].get(group) == count


def factors(answers: list[tuple[int, bytes]]) -> list[int]:
    """Return what one was multiplied with, in the order of the answers."""
    assert {status for status, _ in answers} == {200}
    return [json.loads(body)[0] for _, body in answers]


def test_a_switch_from_one_group_to_another_loses_nothing(keeper, replica, load, until) -> None:
    keeper.ask("hold", "a")
    old = [replica("a/1"), replica("a/2", workers=2)]
    until(joined(keeper, "a", 2))
    asked = load(keeper, clients=8)
    asked.wait_for(20)
    new = [replica("b/1", factor=3), replica("b/2", factor=3)]
    until(joined(keeper, "b", 2))
    assert keeper.ask("status")["accepting"] == {"a": 2, "b": 0}, "nobody takes what is not his"

    said = keeper.ask("switch", "b", 2, 10)
    for one in old:
        one.signal(signal.SIGTERM)
    asked.wait_for(20)
    assert [one.wait() for one in old] == [0, 0]
    asked.wait_for(20)

    assert (said["done"], said["allowed"]) == (True, ["b"])
    seen = factors(asked.stop())
    assert set(seen) == {2, 3}
    for one in new:
        assert one.metric("modelpack_connections_accepted_total") > 1


def test_an_open_connection_goes_on_with_the_new_group(keeper, replica, until, wire) -> None:
    """Its client is never told to close, and never finds it closed."""
    post, read_answer = wire
    keeper.ask("hold", "a")
    old = replica("a/1")
    until(lambda: keeper.ask("status")["accepting"] == {"a": 1})
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(keeper.address, timeout=10))
            for _ in range(40)
        ]
        fresh = stack.enter_context(socket.create_connection(keeper.address, timeout=10))
        for one in connections:
            one.sendall(post("/double", '{"x":[1]}'))
        assert {read_answer(one) for one in connections} == {(200, b"[2]", False)}
        busy, *idle = connections
        busy.sendall(post("/wait", '{"s":1.0}'))
        idle[0].sendall(b"POST /double HTTP/1.1\r\nHost: t\r\n")
        new = replica("b/1", factor=3)
        until(joined(keeper, "b", 1))

        keeper.ask("switch", "b", 1, 10)
        assert read_answer(busy) == (200, b"1.0", False)
        idle[0].sendall(
            b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n" + b'{"x":[1]}'
        )
        assert read_answer(idle[0]) == (200, b"[2]", False), "it had begun with the old one"
        until(lambda: old.metric("modelpack_connections ") == 1)  # that of the question
        for one in (busy, *idle[1:], fresh):
            one.sendall(post("/double", '{"x":[1]}'))
        assert {read_answer(one) for one in (busy, *idle[1:], fresh)} == {(200, b"[3]", False)}

        old.signal(signal.SIGTERM)
        assert old.wait() == 0
        for one in (*idle, fresh):
            one.sendall(post("/double", '{"x":[1]}'))
            assert read_answer(one) == (200, b"[3]", False)
        assert new.metric("modelpack_connections ") > len(connections)


def test_open_connections_wait_for_the_next_replica(keeper, replica, until, wire) -> None:
    post, read_answer = wire
    only = replica("a/1")
    until(lambda: keeper.ask("status")["accepting"] == {"a": 1})
    with socket.create_connection(keeper.address, timeout=10) as connection:
        connection.sendall(post("/double", '{"x":[1]}'))
        assert read_answer(connection) == (200, b"[2]", False)

        only.signal(signal.SIGTERM)
        assert only.wait() == 0
        connection.sendall(post("/double", '{"x":[1]}'))
        replica("a/2", factor=3)

        assert read_answer(connection) == (200, b"[3]", False)


def test_a_replica_that_is_killed_leaves_the_queue_to_the_others(
    keeper, replica, load, until
) -> None:
    keeper.ask("hold", "a")
    first, _ = replica("a/1"), replica("a/2")
    until(joined(keeper, "a", 2))
    until(lambda: keeper.ask("status")["accepting"]["a"] == 2)
    first.signal(signal.SIGKILL, group=True)
    until(joined(keeper, "a", 1))

    asked = load(keeper, clients=4)
    asked.wait_for(5)

    assert set(factors(asked.stop())) == {2}


@pytest.mark.long
def test_who_comes_while_nobody_accepts_waits(keeper, replica, load, until) -> None:
    keeper.ask("hold")
    asked = load(keeper, clients=3)
    replica("a/1")
    until(joined(keeper, "a", 1))
    assert [client.answers for client in asked.clients] == [[], [], []]

    keeper.ask("switch", "a", 1, 10)

    asked.wait_for(1)
    assert set(factors(asked.stop())) == {2}


@pytest.mark.long
def test_a_switch_to_a_group_that_does_not_come_is_given_up(keeper, replica, until) -> None:
    keeper.ask("hold", "a")
    replica("a/1")
    until(lambda: keeper.ask("status")["accepting"] == {"a": 1})

    said = keeper.ask("switch", "b", 1, 0.3)

    assert (said["done"], said["allowed"], said["accepting"]) == (False, ["a"], {"a": 1})


@pytest.mark.long
def test_who_gives_up_waiting_takes_the_order_back(keeper, replica, until) -> None:
    """kill -9 of the one who deploys, between the order and its answer."""
    keeper.ask("hold", "a")
    asking = subprocess.Popen([*PROGRAM, "ask", "switch", "b", "2", "60"], env=keeper.env)
    replica("b/1")
    until(lambda: keeper.ask("status")["accepting"] == {"b": 1})

    asking.kill()
    asking.wait()

    until(lambda: keeper.ask("status")["accepting"] == {"b": 0})


def test_a_keeper_that_starts_again_knows_what_was_ordered(keeper, replica, load, until) -> None:
    keeper.ask("hold", "a")
    replica("a/1")
    replica("b/1", factor=3)
    until(joined(keeper, "b", 1))

    assert keeper.stop(signal.SIGKILL) == -signal.SIGKILL
    keeper.start()

    until(joined(keeper, "b", 1))
    until(lambda: keeper.ask("status")["accepting"] == {"a": 1, "b": 0})
    asked = load(keeper, clients=2)
    asked.wait_for(3)
    assert set(factors(asked.stop())) == {2}


@pytest.mark.long
def test_without_any_order_everybody_accepts(keeper, replica, until) -> None:
    """After a restart of the machine nobody has ordered anything yet."""
    replica("a/1")
    replica("b/1", factor=3)
    until(lambda: keeper.ask("status")["accepting"] == {"a": 1, "b": 1})
    assert keeper.ask("status")["allowed"] is None


@pytest.mark.long
def test_a_server_that_waits_for_its_keeper_works_at_its_own_port(
    keeper, replica, until, tmp_path
) -> None:
    keeper.stop()
    server = replica("a/1")
    assert server.post("/double", {"x": [2]}) == [4]

    keeper.start()
    until(joined(keeper, "a", 1))

    assert len(server.events("port-keeper-away")) == 1, "one line, however often it looks"


@pytest.mark.parametrize(
    "words", [[""], ["nonsense"], ["join"], ["switch", "a"], ["switch", "a", "x", "1"]]
)
def test_what_makes_no_sense_ends_one_line_and_nothing_else(keeper, words) -> None:
    subprocess.run([*PROGRAM, "ask", *words], env=keeper.env, capture_output=True, check=False)

    assert keeper.ask("status")["accepting"] == {}
    assert keeper.stop() == 0


def test_a_keeper_uses_no_processor_time_while_nothing_happens(keeper) -> None:
    def used() -> float:
        fields = Path(f"/proc/{keeper.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    keeper.ask("status")
    before = used()
    time.sleep(0.5)

    assert used() - before <= 0.01


@pytest.fixture
def member(keeper: Keeper) -> Iterator[Callable[[str], Member]]:
    with ExitStack() as stack:

        def begin(group: str) -> Member:
            made = Member(keeper, group)
            stack.enter_context(made.line)
            return made

        yield begin


def test_who_is_not_ready_gives_way_to_those_who_are(keeper, member, until) -> None:
    first, second = member("a 1"), member("a 2")
    assert (first.hear(), second.hear()) == ("accept", "accept")

    first.say("unready")
    assert first.hear() == "pause"
    second.say("unready")
    assert first.hear() == "accept", "nobody is ready: then all say so to whoever asks"
    second.say("ready")
    assert first.hear() == "pause"
    first.say("ready")
    assert first.hear() == "accept"


def test_connections_that_wait_are_shared_out(keeper, member, until) -> None:
    """They were given back by one who left, and go to the others in turns."""
    first, second, leaving = member("a 1"), member("a 2"), member("a 3")
    assert {one.hear() for one in (first, second, leaving)} == {"accept"}
    until(lambda: keeper.ask("status")["accepting"] == {"a": 3})
    leaving.say("leaving")
    assert leaving.hear() == "pause"
    with ExitStack() as stack:
        for _ in range(6):
            near, far = (stack.enter_context(one) for one in socket.socketpair())
            assert near
            leaving.say("adopt", far.fileno())
        words = [one.hear() for one in (first, second) for _ in range(3)]

    assert words == ["adopt"] * 6
