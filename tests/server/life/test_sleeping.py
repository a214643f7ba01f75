"""Servers that are there only while they are wanted: the real keeper, process 1, real servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelpack.deploy.autoscale.asked import policy_words
from modelpack.deploy.autoscale.policy import Policy
from tests.server.life.kept import QUICK, Keeper, Place, begin_place, child_of
from tests.server.life.test_init import NAMESPACE, needs_namespaces

WAIT_S = 60.0

NAPPING = Policy(min_replicas=0, max_replicas=1, in_flight=4, **QUICK)
GROWING = Policy(min_replicas=1, max_replicas=3, in_flight=2, **QUICK)
TWO = Policy(min_replicas=2, max_replicas=2, in_flight=2, **QUICK)

ONE = Policy(min_replicas=1, max_replicas=1, in_flight=2, **QUICK)

DIES = """
import os
from pathlib import Path
deaths = Path({folder!r}) / "deaths"
count = len(deaths.read_text()) if deaths.exists() else 0
if count < {times}:
    deaths.write_text("x" * (count + 1))
    os._exit(7)
"""


@pytest.fixture
def place(keeper: Keeper, project, doubler, tmp_path) -> Iterator[Callable[..., Place]]:
    """Start process 1 of a container, ``place("a/1")``, whose server ``dies`` so often as it starts."""
    places: list[Place] = []

    def begin(group: str, policy: Policy = NAPPING, *, dies: int = 0, **how: Any) -> Place:
        folder = project(DIES.format(folder=str(tmp_path), times=dies) + doubler(2))
        log = tmp_path / f"place-{len(places)}.log"
        places.append(begin_place(keeper, group, folder, log, policy, **how))
        return places[-1]

    yield begin
    for one in places:
        one.end()


@pytest.fixture
def client(keeper: Keeper) -> Iterator[Callable[[], socket.socket]]:
    """Connect to the port that is kept."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(keeper.address, timeout=WAIT_S))


def is_known(keeper: Keeper, group: str = "a", places: int = 1) -> Callable[[], bool]:
    return lambda: keeper.scaled(group).get("places") == places


def accepting(keeper: Keeper, count: int) -> Callable[[], bool]:
    return lambda: keeper.ask("status")["accepting"].get("a") == count


def test_nobody_runs_until_somebody_asks(keeper, place, client, until, wire) -> None:
    """Twenty ask at once; their connections stay open, and the one that asks again wakes it."""
    post, read_answer = wire
    only = place("a/1")
    until(is_known(keeper), WAIT_S)
    said = keeper.scaled("a")
    assert (said["wanted"], said["awake"], only.server) == (0, 0, None)
    assert said["asleep_since"] is not None

    clients = [client() for _ in range(20)]
    for one in clients:
        one.sendall(post("/double", '{"x":[1]}'))
    assert {read_answer(one) for one in clients} == {(200, b"[2]", False)}

    until(lambda: keeper.scaled("a")["awake"] == 0, WAIT_S)
    assert only.server is None
    clients[7].sendall(post("/double", '{"x":[4]}'))
    assert read_answer(clients[7]) == (200, b"[8]", False)
    assert [one["to"] for one in keeper.events("waking")] == [1, 1]
    assert [one["from"] for one in keeper.events("asleep")] == [1]
    assert only.process.poll() is None, "process 1 has been there all the time"


def test_a_client_that_says_nothing_does_not_keep_it_awake(
    keeper, place, client, until, wire
) -> None:
    """It is accepted as any other, and its connection outlives the server."""
    post, read_answer = wire
    only = place("a/1")
    until(is_known(keeper), WAIT_S)
    slow = client()
    until(lambda: keeper.events("asleep"), WAIT_S)
    until(lambda: only.server is None, WAIT_S)

    slow.sendall(post("/double", '{"x":[1]}')[:30])
    until(lambda: keeper.scaled("a")["awake"] == 1, WAIT_S)
    slow.sendall(post("/double", '{"x":[1]}')[30:])

    assert read_answer(slow) == (200, b"[2]", False)


def test_a_server_that_dies_while_it_wakes_is_started_again(
    keeper, place, client, until, wire
) -> None:
    post, read_answer = wire
    place("a/1", dies=2)
    until(is_known(keeper), WAIT_S)
    waiting = client()
    waiting.sendall(post("/double", '{"x":[1]}'))

    assert read_answer(waiting) == (200, b"[2]", False)

    crashes = keeper.events("server-crashed")
    assert [(one["replica"], one["status"]) for one in crashes] == [("1", 7), ("1", 7)]


def test_three_deaths_in_a_row_end_the_container(keeper, place, client, until, tmp_path) -> None:
    """With the status of the server, so that the engine sees it; who waits goes on waiting."""
    only = place("a/1", dies=99)
    until(is_known(keeper), WAIT_S)
    waiting = client()

    assert only.process.wait(WAIT_S) == 7

    assert (tmp_path / "deaths").read_text() == "xxx"
    until(is_known(keeper, places=0), WAIT_S)
    waiting.settimeout(0)
    with pytest.raises(BlockingIOError):
        waiting.recv(1)


def test_a_keeper_that_starts_again_finds_who_sleeps(keeper, place, client, until, wire) -> None:
    post, read_answer = wire
    place("a/1")
    until(is_known(keeper), WAIT_S)
    keeper.stop(signal.SIGKILL)
    keeper.start()
    asking = client()
    asking.sendall(post("/double", '{"x":[1]}'))

    assert read_answer(asking) == (200, b"[2]", False)


def test_replicas_follow_the_load_and_nothing_is_lost(keeper, place, load, until) -> None:
    for number in (1, 2, 3):
        place(f"a/{number}", GROWING)
    until(accepting(keeper, 1), WAIT_S)
    calm = load(keeper, clients=2, pause_s=0.02)
    calm.wait_for(5)

    busy = load(keeper, "/wait", '{"s":0.1}', clients=8)
    until(accepting(keeper, 3), WAIT_S)
    answers = busy.stop()
    until(lambda: keeper.scaled("a")["awake"] == 1, WAIT_S)
    calm.wait_for(5)

    assert {status for status, _ in answers + calm.stop()} == {200}
    ups = [(one["from"], one["to"]) for one in keeper.events("scaled")]
    assert ups[0][0] == 1
    assert max(to for _, to in ups) == 3
    assert ups[-1][1] == 1


def test_a_server_that_is_killed_is_forgotten_and_comes_back(keeper, place, load, until) -> None:
    """Only what ran there has no answer: at most one request of each client."""
    places = [place(f"a/{number}", TWO) for number in (1, 2)]
    until(accepting(keeper, 2), WAIT_S)
    asked = load(keeper, "/wait", '{"s":0.02}', clients=8)
    asked.wait_for(3)

    killed = places[0].kill_server()
    until(lambda: places[0].server not in (None, killed), WAIT_S)
    until(accepting(keeper, 2), WAIT_S)

    for one in asked.clients:
        one.is_over.set()
        one.join(WAIT_S)
        assert len(one.failures) <= 1
    until(lambda: keeper.scaled("a")["in_flight"] == 0, WAIT_S)
    again = load(keeper, clients=4)
    again.wait_for(3)
    assert {status for status, _ in again.stop()} == {200}
    assert [one["status"] for one in keeper.events("server-crashed")] == [128 + signal.SIGKILL]


def test_the_engine_ends_who_sleeps_and_who_serves(keeper, place, client, until, wire) -> None:
    post, read_answer = wire
    asleep = place("a/1")
    until(is_known(keeper), WAIT_S)
    asleep.process.send_signal(signal.SIGTERM)
    assert asleep.process.wait(WAIT_S) == 0

    awake = place("a/1")
    asking = client()
    asking.sendall(post("/wait", '{"s":0.5}'))
    until(accepting(keeper, 1), WAIT_S)
    until(lambda: keeper.scaled("a")["in_flight"] == 1, WAIT_S)
    awake.process.send_signal(signal.SIGTERM)

    assert read_answer(asking)[:2] == (200, b"0.5")
    assert awake.process.wait(WAIT_S) == 0


def test_a_request_longer_than_the_grace_period_is_answered(
    keeper, place, client, until, wire
) -> None:
    """Who is not wanted any more answers what he has before he is told to end."""
    post, read_answer = wire
    places = [place(f"a/{number}", TWO, grace_s=0.1) for number in (1, 2)]
    until(accepting(keeper, 2), WAIT_S)
    clients = [client() for _ in range(4)]
    for one in clients:
        one.sendall(post("/wait", '{"s":2.0}'))
    until(lambda: keeper.scaled("a")["in_flight"] == 4, WAIT_S)

    keeper.ask("scale", "a", policy_words(ONE, 2.0))

    assert {read_answer(one)[:2] for one in clients} == {(200, b"2.0")}
    until(lambda: [one.server is None for one in places] == [False, True], WAIT_S)
    assert "cut-off" not in places[1].log.read_text()


@needs_namespaces
def test_it_is_process_1_of_its_container(keeper, place, client, until, wire) -> None:
    """In a namespace of its own, where nobody else has the duties of process 1."""
    post, read_answer = wire
    outside = place("a/1", around=NAMESPACE)
    until(is_known(keeper), WAIT_S)
    one = outside.server  # of the namespace, the first
    assert one is not None
    asking = client()
    asking.sendall(post("/double", '{"x":[1]}'))

    assert read_answer(asking) == (200, b"[2]", False)
    until(lambda: child_of(one) is None, WAIT_S)
    os.kill(one, signal.SIGTERM)
    assert outside.process.wait(WAIT_S) == 0


@pytest.mark.long
def test_five_thousand_requests_while_it_grows_and_shrinks(keeper, place, load, until) -> None:
    for number in (1, 2, 3):
        place(f"a/{number}", GROWING)
    until(accepting(keeper, 1), WAIT_S)
    calm = load(keeper, clients=1, pause_s=0.01)
    answers = []
    while len(answers) < 5000 or len(keeper.events("scaled")) < 8:
        busy = load(keeper, clients=12)
        until(lambda: keeper.scaled("a")["awake"] >= 2, WAIT_S)
        busy.wait_for(20)
        answers += busy.stop()
        until(lambda: keeper.scaled("a")["wanted"] == 1, WAIT_S)

    answers += calm.stop()
    assert {status for status, _ in answers} == {200}


def test_without_a_keeper_to_look_for_it_says_so() -> None:
    env = {**os.environ, "MODELPACK_SLEEPS": "1 {}"}
    env.pop("MODELPACK_PORT_KEEPER", None)
    done = subprocess.run(
        [sys.executable, "-I", "-m", "modelpack.server"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("error[usage]: MODELPACK_SLEEPS is set")
    assert second.startswith("  help: ")


NO_PROCESS = """
import signal
from modelpack.server.life import init, sleeping

class Line:
    is_open, orders = True, [["start"]]
    def hear(self): return self.orders.pop() if self.orders else []
    def say(self, words): print(words)

def start(): raise BlockingIOError(11, "Resource temporarily unavailable")

sleeping.hold((*init.HEARD, signal.SIGIO))
sleeping.AGAIN_S = 0.01
print(sleeping.Sleep(Line(), start).run())
"""


def test_where_no_process_can_be_made_the_container_ends_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESS],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )

    assert done.stdout.splitlines() == ["crashed 126"] * 3 + ["126"]
    assert done.stderr.count("error[not-started]: no process for the server") == 3


def memory_bytes(pid: int) -> int:
    """Return what a process has for itself, with its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


def test_who_sleeps_needs_little(keeper, place, until) -> None:
    only = place("a/1")
    until(is_known(keeper), WAIT_S)
    assert keeper.process is not None

    assert memory_bytes(only.process.pid) < 12e6
    assert memory_bytes(keeper.process.pid) < 16e6
