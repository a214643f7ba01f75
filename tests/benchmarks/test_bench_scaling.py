"""The picture of scaling is what was measured, and the load that it was measured with is honest."""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
SVG = "{http://www.w3.org/2000/svg}"


def script_of(name: str) -> Any:
    sys.path.insert(0, str(HERE))
    try:
        return runpy.run_path(str(HERE / name))
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def script() -> Any:
    return script_of("bench_scaling.py")


def test_the_picture_is_drawn_from_the_measurements_that_are_kept(script: Any) -> None:
    trace = script["read_trace"](script["TRACE"])
    drawn = script["draw"](trace, script["load"]())

    assert script["PICTURE"].read_text() == drawn
    lines = ET.fromstring(drawn).findall(f"{SVG}polyline")
    assert len(lines) == 2 + len(script["load"]()), "the load, the simulator and each target"


def test_what_is_kept_lost_no_request_and_slept_as_it_should(script: Any) -> None:
    trace = script["read_trace"](script["TRACE"])
    for one in script["load"]():
        assert (one.failed, one.answered) == (0, len(trace.arrivals))
        assert one.replicas[0][1] == one.replicas[-1][1] == 0, "asleep before and after"


def test_the_table_of_the_page_is_what_was_measured(script: Any) -> None:
    page = script["PICTURE"].with_name("scaling.md").read_text()
    trace = script["read_trace"](script["TRACE"])
    assert script["table"](trace, script["load"]()) in page


@pytest.mark.parametrize(
    ("one", "other", "apart", "same"),
    [
        ([(0.0, 1)], [(0.0, 1)], 0.0, 1.0),
        ([(0.0, 1)], [(0.0, 1), (5.0, 3)], 1.0, 0.5),
        ([(0.0, 0), (2.0, 2)], [(0.0, 0), (4.0, 2)], 0.4, 0.8),
    ],
)
def test_two_counts_are_compared_over_the_time(
    script: Any, one: Any, other: Any, apart: float, same: float
) -> None:
    assert script["difference"](one, other, 10.0) == pytest.approx((apart, same))


def test_what_a_keeper_decided_is_read_from_a_log(script: Any) -> None:
    outcome = script["Outcome"](began=1_767_225_600.0)  # 2026-01-01T00:00:00Z
    lines = [
        'port | {"time": "2025-12-31T23:59:50.000Z", "event": "asleep", "from": 1, "to": 0}',
        "1 | asked for /work",
        'port | {"time": "2026-01-01T00:00:05.250Z", "event": "waking", "to": 1}',
        'port | {"time": "2026-01-01T00:00:09.000Z", "event": "scaled", "from": 1, "to": 3}',
        'port | {"time": "2026-01-01T00:09:00.000Z", "event": "scaled", "from": 3, "to": 2}',
    ]
    assert script["replicas_of"](lines, outcome, 60.0) == [(0.0, 0), (5.25, 1), (9.0, 3)]


class Handler(BaseHTTPRequestHandler):
    """Answers, refuses the second request, and hangs up on the third."""

    protocol_version = "HTTP/1.1"
    numbers = count(1)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        number = next(self.numbers)
        if number == 3:
            self.close_connection = True
            return
        self.send_response(503 if number == 2 else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.numbers = count(1)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/work"
        server.shutdown()
        thread.join()


def test_what_is_refused_or_never_answered_counts_as_failed(url: str) -> None:
    play = script_of("open_loop.py")["play"]

    found = play([0.0, 0.15, 0.3, 0.45], url, b"{}", length_s=0.5)

    assert found.answered == 2
    assert dict(found.errors) == {"HTTP 503": 1, "IncompleteReadError": 1}
    assert found.quantile(1.0) < 10
