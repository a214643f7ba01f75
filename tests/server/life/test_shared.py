"""Runner processes that several workers share: they scale apart, and no request hangs on one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., Any]
Load = Callable[..., Any]
Until = Callable[..., None]


@pytest.fixture
def serve(launch: Launch, project: Callable[..., Path], until: Until) -> Launch:
    """Start a server whose methods run in processes; all of its workers are ready."""

    def begin(*, workers: int = 2, **settings: Any) -> Any:
        server = launch(project(), workers=workers, runner="process", **settings)
        until(lambda: len(server.workers()) == workers)
        return server

    return begin


def runners(server: Any, count: int, until: Until) -> set[int]:
    """Return the runners that answer, once there are so many."""
    until(lambda: len(server.pids()) == count)
    found: set[int] = server.pids()
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_workers_take_any_runner_and_the_metrics_count_each_once(
    serve: Launch, until: Until
) -> None:
    server = serve(replicas=2)

    found = runners(server, 2, until)

    assert not found & {*server.workers(), server.process.pid}
    assert server.metric('modelpack_runners{kind="process"}') == 2
    assert server.admin("GET", "/status")[1]["runner"] == "process"


def test_a_killed_runner_costs_no_request_and_is_replaced(
    serve: Launch, load: Load, until: Until
) -> None:
    server = serve(replicas=2)
    before = runners(server, 2, until)
    asked = load(server, clients=6)
    asked.wait_for(20)

    for pid in before:
        os.kill(pid, signal.SIGKILL)
        asked.wait_for(20)

    assert {status for status, _ in asked.stop()} == {200}
    after = runners(server, 2, until)
    assert len(after) == 2
    assert not after & before
    assert server.metric('modelpack_runner_restarts_total{kind="process"}') == 2


def test_more_and_fewer_replicas_under_load_lose_no_request(
    serve: Launch, load: Load, until: Until
) -> None:
    server = serve(replicas=1)
    asked = load(server, clients=6)
    for replicas in (3, 1, 2):
        assert server.admin("POST", "/scale", {"replicas": replicas})[0] == 200
        asked.wait_for(20)
        until(lambda n=replicas: server.metric('modelpack_runners{kind="process"}') == n)

    assert {status for status, _ in asked.stop()} == {200}
    assert len(runners(server, 2, until)) == 2


def test_a_worker_that_comes_later_finds_the_runners(serve: Launch, until: Until) -> None:
    server = serve(replicas=2)
    found = runners(server, 2, until)

    assert server.admin("POST", "/workers", {"workers": 3})[0] == 200

    assert runners(server, 2, until) == found


def test_no_runner_outlives_the_main_process(serve: Launch, until: Until) -> None:
    server = serve(replicas=2)
    found = runners(server, 2, until)

    server.signal(signal.SIGKILL)

    until(lambda: all(is_gone(pid) for pid in found), 5.0)


def test_a_call_that_hangs_is_answered_504_and_its_runner_replaced(
    serve: Launch, until: Until
) -> None:
    server = serve(replicas=1, request_timeout_s=1.0)
    before = server.post("/pid", {})

    assert server.post("/wait", {"s": 60})["code"] == "timeout"

    until(lambda: server.post("/pid", {}) != before)
    assert isinstance(server.post("/pid", {}), int)


def test_a_service_that_does_not_load_there_ends_the_server_with_one_message(
    launch: Launch, project: Callable[..., Path]
) -> None:
    text = "import os, modelpack\n\n@modelpack.service\nclass No:\n    def __init__(self): 1 / 0\n    @modelpack.api\n    def f(self) -> int: return 1\n"  # fmt: skip
    server = launch(project(text), workers=2, runner="process", ready=False)

    assert server.wait(15) == 1

    errors = [line for line in server.log.read_text().splitlines() if line.startswith("error[")]
    assert len(errors) == 1
    assert "ZeroDivisionError" in errors[0]


def test_sigterm_under_load_fails_no_request(serve: Launch, load: Load) -> None:
    server = serve(replicas=2)
    asked = load(server, clients=8)
    asked.wait_for(20)

    server.signal(signal.SIGTERM, group=True)
    status = server.wait()

    assert {status for status, _ in asked.stop()} == {200}
    assert status == 0
