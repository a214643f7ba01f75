"""Several workers behind one port: nothing is lost when one goes, and none stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.server.life.crew import BackOff

Launch = Callable[..., Any]
Project = Callable[..., Path]
Load = Callable[..., Any]
Until = Callable[..., None]


def pids(server: Any, at_least: int, until: Until) -> set[int]:
    """Return which processes answer."""
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(server.post("/pid", {}))
        return len(seen) >= at_least

    until(enough)
    return seen


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            again.bind(address)
        except OSError:
            return False
        return True


def test_every_worker_answers_and_any_of_them_shows_what_all_have_counted(
    launch: Launch, project: Project, until: Until
) -> None:
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)

    answered = pids(server, 2, until)
    count = server.metric('modelpack_requests_total{api="pid"')

    assert answered == set(server.workers())
    assert server.process.pid not in answered
    assert all(server.metric('modelpack_requests_total{api="pid"') == count for _ in range(8))
    assert count >= 2
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_killed_worker_is_replaced_and_its_counts_stay(
    launch: Launch, project: Project, until: Until
) -> None:
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    before = set(server.workers())
    pids(server, 2, until)
    counted = server.metric('modelpack_requests_total{api="pid"')
    used_s = max(server.metric("process_cpu_seconds_total") for _ in range(4))

    os.kill(server.workers()[0], signal.SIGKILL)
    until(lambda: len(set(server.workers()) - before) == 1)

    assert server.metric('modelpack_requests_total{api="pid"') >= counted
    assert min(server.metric("process_cpu_seconds_total") for _ in range(8)) >= used_s
    assert server.get("/readyz")[0] == 200
    assert pids(server, 2, until) == set(server.workers())
    assert [one["status"] for one in server.events("worker-lost")] == [-signal.SIGKILL]


def test_no_child_outlives_the_main_process_and_the_port_is_free(
    launch: Launch, project: Project, until: Until
) -> None:
    server = launch(project(), workers=3)
    until(lambda: len(server.workers()) == 3)
    workers = server.workers()

    server.signal(signal.SIGKILL)

    until(lambda: all(is_gone(pid) for pid in workers) and is_free(server.address), 5.0)


@pytest.mark.parametrize("group", [False, True])
def test_sigterm_under_load_fails_no_request(
    launch: Launch, project: Project, load: Load, until: Until, group: bool
) -> None:
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    asked = load(server, clients=10)
    asked.wait_for(20)

    server.signal(signal.SIGTERM, group=group)
    status = server.wait()

    assert {status for status, _ in asked.stop()} == {200}
    assert status == 0


@pytest.mark.parametrize("group", [False, True])
def test_connections_that_nobody_has_read_are_answered(
    launch: Launch, project: Project, wire: Any, until: Until, group: bool
) -> None:
    post, read_answer = wire
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    waiting = [server.connect() for _ in range(20)]
    for connection in waiting:
        connection.sendall(post("/double", '{"x":[3]}'))

    server.signal(signal.SIGTERM, group=group)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    answers = [read_answer(connection)[:2] for connection in waiting]
    for connection in waiting:
        connection.close()

    assert answers == [(200, b"[6]")] * 20
    assert server.wait() == 0


def test_a_call_that_hangs_is_answered_503_within_the_grace_period_and_two_seconds(
    launch: Launch, project: Project, wire: Any, until: Until
) -> None:
    post, read_answer = wire
    server = launch(project(), workers=2, grace_s=1.0)
    until(lambda: len(server.workers()) == 2)
    with server.connect() as connection:
        connection.sendall(post("/wait", '{"s":60}'))
        until(lambda: server.metric("modelpack_in_flight_requests") >= 1)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        status, _, _ = read_answer(connection)
        code = server.wait()

    assert status == 503
    assert code == 1
    assert time.monotonic() - began < 1.0 + 2.0 + 0.5


def test_readiness_is_false_from_the_signal_on(
    launch: Launch, project: Project, wire: Any, until: Until
) -> None:
    post, read_answer = wire
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    probes = [server.connect() for _ in range(8)]
    ask = b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n"
    for probe in probes:
        probe.sendall(ask)
    assert {read_answer(probe)[0] for probe in probes} == {200}
    with server.connect() as busy:
        busy.sendall(post("/wait", '{"s":1.5}'))
        until(lambda: server.metric("modelpack_in_flight_requests") >= 1)

        server.signal(signal.SIGTERM)
        until(lambda: bool(server.events("draining")))
        seen = set()
        for probe in probes:
            probe.sendall(ask)
            seen.add(read_answer(probe)[0])
            probe.close()
        answer = read_answer(busy)[0]

    assert seen <= {200, 503}
    assert 503 in seen
    assert answer == 200
    assert server.wait() == 0


def test_a_second_sigint_is_quick(
    launch: Launch, project: Project, wire: Any, until: Until
) -> None:
    post, _ = wire
    server = launch(project(), workers=2, grace_s=30.0)
    until(lambda: len(server.workers()) == 2)
    with server.connect() as connection:
        connection.sendall(post("/wait", '{"s":60}'))
        until(lambda: server.metric("modelpack_in_flight_requests") >= 1)
        server.signal(signal.SIGINT, group=True)  # as a terminal does
        until(lambda: bool(server.events("draining")))
        assert server.process.poll() is None
        server.signal(signal.SIGINT, group=True)
        assert server.wait(5) == 130


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('no weights here')", "ValueError: no weights here"),
        ("import os; os._exit(7)", "a worker ended as it started, with status 7"),
    ],
)
def test_a_service_that_does_not_load_ends_the_server_with_one_message(
    launch: Launch, project: Project, text: str, said: str
) -> None:
    server = launch(project(text), workers=3, ready=False)

    assert server.wait(10) == 1

    errors = [one for one in server.log.read_text().splitlines() if one.startswith("error[")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not server.events("worker-lost")


def test_a_worker_that_is_told_to_stop_hands_over_and_is_replaced(
    launch: Launch, project: Project, load: Load, until: Until
) -> None:
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    before = server.workers()
    asked = load(server)
    asked.wait_for(20)

    os.kill(before[0], signal.SIGTERM)
    until(lambda: before[0] not in server.workers() and len(server.workers()) == 2)
    asked.wait_for(20)

    assert {status for status, _ in asked.stop()} == {200}
    assert before[1] in server.workers()


def test_more_and_fewer_workers_under_load_lose_no_request(
    launch: Launch, project: Project, load: Load, until: Until
) -> None:
    server = launch(project(), workers=2)
    asked = load(server, clients=6)
    counts = []
    for workers in (4, 1, 3):
        status, said = server.admin("POST", "/workers", {"workers": workers})
        assert status == 200
        ready = [one for one in said["workers"] if one["state"] == "ready"]
        counts.append(len(ready))
        asked.wait_for(20)
    until(lambda: len(server.workers()) == 3 and not server.workers("ending"))

    assert {status for status, _ in asked.stop()} == {200}
    assert counts == [4, 1, 3]


def test_a_server_whose_only_worker_dies_says_that_it_is_not_ready_and_heals(
    launch: Launch, project: Project, until: Until
) -> None:
    folder = project()
    server = launch(folder, workers=2)
    server.admin("POST", "/workers", {"workers": 1})
    until(lambda: len(server.workers()) == 1 and not server.workers("ending"))
    service = folder / "service.py"
    slow_to_make = "class Doubler:\n    def __init__(self): time.sleep(1.0)\n"
    service.write_text(service.read_text().replace("class Doubler:\n", slow_to_make))

    os.kill(server.workers()[0], signal.SIGKILL)
    until(lambda: len(server.workers("starting")) == 1)

    assert server.get("/readyz")[0] == 503
    until(lambda: server.get("/readyz")[0] == 200)
    assert server.post("/double", {"x": [4]}) == [8]


def test_the_load_is_shared(launch: Launch, project: Project, until: Until, wire: Any) -> None:
    post, read_answer = wire
    server = launch(project(), workers=2)
    until(lambda: len(server.workers()) == 2)
    connections = [server.connect() for _ in range(32)]
    for connection in connections:
        connection.sendall(post("/pid", "{}"))
    answered = [json.loads(read_answer(connection)[1]) for connection in connections]
    for connection in connections:
        connection.close()

    counts = [answered.count(pid) for pid in server.workers()]
    assert sum(counts) == 32
    assert min(counts) >= 8


def test_replacements_come_at_once_and_then_ever_later() -> None:
    back_off = BackOff()

    delays = [back_off.next_delay_s(0.5) for _ in range(12)]

    assert delays[:4] == [0.0, 0.25, 0.5, 1.0]
    assert delays[-1] == BackOff.LONGEST_S
    assert back_off.next_delay_s(BackOff.STABLE_AFTER_S) == 0.0
