"""A line for each request, or for a share of them."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelpack
from modelpack.server.observe.access import AccessLog
from modelpack.server.observe.logs import MAX_BYTES, Output, configured

Start = Callable[..., Any]


class Call:
    """A request that waited 1 ms and ran 2 ms."""

    rows = 3
    queue_s = 0.001
    run_s = 0.002
    face = ""

    def __init__(self, request_id: bytes = b"id-1") -> None:
        self.request_id = request_id


def written(add: Callable[[AccessLog], None], *, share: float = 1.0, is_text: bool = False) -> str:
    """Return what a log writes, at a moment of 2023."""
    stream = io.StringIO()
    output = Output(stream, is_text=is_text)
    log = AccessLog(share, find_output=lambda: output, clock=lambda: 1700000000.25)

    async def work() -> None:
        add(log)
        output.flush()

    asyncio.run(work())
    return stream.getvalue()


def test_a_line_holds_facts_and_no_payload() -> None:
    line = written(lambda log: log.add("predict", Call(), 200, 0.0041236))

    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "event": "request",
        "api": "predict",
        "status": 200,
        "ms": 4.123,
        "queue_ms": 1.0,
        "run_ms": 2.0,
        "rows": 3,
        "request_id": "id-1",
    }


def test_people_get_a_short_line() -> None:
    line = written(lambda log: log.add("predict", Call(), 200, 0.004), is_text=True)

    assert line[8:] == (
        " info    request api=predict status=200 ms=4.0 queue_ms=1.0 run_ms=2.0 rows=3 "
        "request_id=id-1\n"
    )


def test_a_traced_request_names_its_trace() -> None:
    line = written(lambda log: log.add("predict", Call(), 200, 0.004, "ab" * 16))
    assert json.loads(line)["trace_id"] == "ab" * 16


def test_a_request_in_another_contract_names_it() -> None:
    call = Call()
    call.face = "oip"

    line = written(lambda log: log.add("predict", call, 200, 0.004))

    assert json.loads(line)["face"] == "oip"


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("request_id", [b'a"b\\c', b"\x1b[31m\r\n", b"\xff" * 128, b"{}" * 64])
def test_what_a_client_sends_makes_no_second_line(request_id: bytes, is_text: bool) -> None:
    line = written(lambda log: log.add("predict", Call(request_id), 200, 0.0), is_text=is_text)

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line.encode()) < MAX_BYTES


@given(st.integers(0, 20), st.integers(1, 200))
def test_a_share_of_the_requests_is_logged_evenly(twentieths: int, count: int) -> None:
    share = twentieths / 20

    def add(log: AccessLog) -> None:
        for number in range(count):
            log.add("predict", Call(b"%d" % number), 200, 0.0)

    chosen = [
        int(json.loads(line)["request_id"]) for line in written(add, share=share).splitlines()
    ]

    assert abs(len(chosen) - share * count) <= 1
    if share > 0:
        assert chosen[0] == 0
        gaps = [later - one for one, later in itertools.pairwise(chosen)]
        assert all(abs(gap - 1 / share) <= 1 for gap in gaps)


def test_failed_requests_are_always_logged() -> None:
    def add(log: AccessLog) -> None:
        for status in (200, 400, 429, 499, 500, 504):
            log.add("predict", Call(), status, 0.0)

    lines = written(add, share=0.0).splitlines()

    assert [json.loads(line)["status"] for line in lines] == [400, 429, 499, 500, 504]


def test_without_a_log_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    AccessLog(1.0, find_output=lambda: None).add("predict", Call(), 200, 0.0)
    assert capfd.readouterr() == ("", "")


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]


@contextmanager
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with configured("json", "error", stream):
        yield stream


def test_a_server_logs_its_requests_when_told_to(start: Start, lane: str) -> None:
    with logged() as stream:
        server = start(Demo, lane, access_log=True)
        good = server.post("/double", {"x": [1, 2]})
        bad = server.post("/double", {"x": ["no"]})
        server.stop()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    lines = [line for line in lines if line["event"] == "request"]

    assert [(line["api"], line["status"]) for line in lines] == [("double", 200), ("double", 400)]
    assert [line["request_id"] for line in lines] == [
        good.headers["x-request-id"],
        bad.headers["x-request-id"],
    ]
    assert lines[0]["rows"] == 2


def test_a_server_logs_no_request_by_default(start: Start, lane: str) -> None:
    with logged() as stream:
        server = start(Demo, lane)
        server.post("/double", {"x": [1]})
        server.stop()

    assert '"request"' not in stream.getvalue()
