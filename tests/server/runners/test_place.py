"""Where a service runs is settled before its first request, and said."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source

Start = Callable[..., Any]


@modelpack.service
class Where:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)

    @modelpack.api(batch=True)
    def fast(self, x: modelpack.Tensor["float32", "batch"]) -> list[int]:
        return [threading.get_ident()] * len(x)

    @modelpack.api(batch=True, max_batch_size=2)
    def slow(self, x: modelpack.Tensor["float32", "batch"]) -> list[int]:
        time.sleep(0.002)
        return [threading.get_ident()] * len(x)

    @modelpack.api
    def hang(self, number: int) -> int:
        self.begun.release()
        if number < 0:
            self.gate.wait(20)
        return number


@pytest.mark.parametrize(
    ("runner", "fast", "slow"),
    [("auto", True, False), ("inline", True, True), ("thread", False, False)],
)
def test_calls_run_where_they_should(start: Start, runner: str, fast: bool, slow: bool) -> None:
    server = start(Where, runner=runner)

    assert (server.post("/fast", {"x": [1]}).json() == [server.thread.ident]) is fast
    assert (server.post("/slow", {"x": [1]}).json() == [server.thread.ident]) is slow


def test_the_choice_and_its_reason_are_logged(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="modelpack.server"):
        start(Where)

    record = next(one for one in caplog.records if one.message == "placed")
    said = record.fields
    assert record.levelno == logging.DEBUG
    assert said["kind"] == "thread"
    assert said["replicas"] == 1
    assert said["apis"]["fast"].startswith("inline: a call takes ")
    assert said["apis"]["slow"].startswith("thread: a call takes ")
    assert said["apis"]["hang"] == "thread: not tried"


@modelpack.service
class Greedy:
    @modelpack.api(batch=True, max_batch_size=1)
    def compute(self, x: modelpack.Tensor["float32", "batch"]) -> list[int]:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            sum(range(100))
        return [0] * len(x)


def test_what_should_be_elsewhere_and_cannot_is_said_aloud(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modelpack.server"):
        server = start(Greedy)

    said = next(one.fields for one in caplog.records if one.message == "placed")
    assert said["kind"] == "thread"
    assert "holds the lock" in said["apis"]["compute"]
    assert said["apis"]["compute"].endswith("stays, since no other process can load this service")
    assert server.post("/compute", {"x": [1]}).json() == [0]


def test_a_service_that_no_other_process_can_load_is_not_put_into_one(start: Start) -> None:
    with pytest.raises(UsageError, match="another process can load"):
        start(Where, runner="process")


def test_beside_a_call_that_hangs_others_are_answered(start: Start, lane: str) -> None:
    """F4, as far as threads can: the call is answered 504, and a new thread goes on."""
    server = start(Where, lane, request_timeout_s=0.3)
    service = server.server.place.replicas[0].instance

    hung = server.post("/hang", {"number": -1})
    others = [server.post("/hang", {"number": n}) for n in range(3)]
    ready = server.client.get("/readyz")
    service.gate.set()

    assert (hung.status_code, hung.json()["code"]) == (504, "timeout")
    assert [(one.status_code, one.json()) for one in others] == [(200, n) for n in range(3)]
    assert ready.status_code == 200
    assert server.server.place.stats.restarts == {"thread": 1}


def test_when_too_many_hang_readiness_says_so_until_one_returns(start: Start) -> None:
    server = start(Where, request_timeout_s=0.2)
    service = server.server.place.replicas[0].instance
    endpoint = next(one for one in server.server.endpoints if one.api.name == "hang")

    while not endpoint.is_stuck:
        assert server.post("/hang", {"number": -1}).status_code in (503, 504)
    refused, ready = server.post("/hang", {"number": 1}), server.client.get("/readyz")
    service.gate.set()
    server.wait_until(lambda: not endpoint.is_stuck)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert ready.status_code == 503
    assert server.client.get("/readyz").status_code == 200
    assert server.post("/hang", {"number": 1}).json() == 1


GREEDY = """
import os, time
import modelpack

@modelpack.service
class Greedy:
    @modelpack.on_startup
    def begin(self) -> None:
        with open(r"{log}", "a") as log:
            log.write(f"begin {{os.getpid()}}\\n")

    @modelpack.on_shutdown
    def end(self) -> None:
        with open(r"{log}", "a") as log:
            log.write(f"end {{os.getpid()}}\\n")

    @modelpack.api(batch=True, max_batch_size=1)
    def compute(self, x: modelpack.Tensor["float32", "batch"]) -> list[int]:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            sum(range(100))
        return [os.getpid()] * len(x)
"""


def test_what_keeps_the_lock_for_long_goes_to_a_process(start: Start, tmp_path: Path) -> None:
    """Loaded here, measured, ended here with its hooks, and loaded there."""
    log = tmp_path / "log"
    (tmp_path / "service.py").write_text(GREEDY.format(log=log))
    source = Source("code", "", str(tmp_path))

    server = start(source.open(), source=source)
    pid = server.post("/compute", {"x": [1]}).json()[0]
    page = server.client.get("/metrics").text
    server.stop()

    assert pid != os.getpid()
    assert 'modelpack_runners{kind="process"} 1.0' in page
    here = [f"begin {os.getpid()}", f"end {os.getpid()}"]
    assert log.read_text().splitlines() == [*here, f"begin {pid}", f"end {pid}"]


def test_the_same_service_stays_in_a_thread_when_that_was_set(start: Start, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(GREEDY.format(log=tmp_path / "log"))
    source = Source("code", "", str(tmp_path))

    server = start(source.open(), source=source, runner="thread")

    assert server.post("/compute", {"x": [1]}).json() == [os.getpid()]
