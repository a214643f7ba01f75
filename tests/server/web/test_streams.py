"""Generators, sent piece by piece."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Streams:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.closed = threading.Event()
        self.threads: set[int] = set()

    @modelpack.api
    def count(self, n: int, fail_at: int = -1) -> Iterator[int]:
        try:
            for i in range(n):
                self.threads.add(threading.get_ident())
                if i == fail_at:
                    raise RuntimeError("a secret")
                yield i
        finally:
            self.closed.set()

    @modelpack.api
    async def count_async(self, n: int, fail_at: int = -1) -> AsyncIterator[dict[str, int]]:
        try:
            for i in range(n):
                if i == fail_at:
                    raise modelpack.InputError("no more")
                await asyncio.sleep(0)
                yield {"i": i}
        finally:
            self.closed.set()

    @modelpack.api
    def endless(self) -> Iterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            self.closed.set()

    @modelpack.api
    def held(self) -> Iterator[str]:
        yield "first"
        self.gate.wait(20)
        yield "second"

    @modelpack.api
    def wrong(self) -> Iterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    @modelpack.api
    def ready_made(self) -> Iterator[int]:
        return iter([1, 2, 3])


def service_of(server: Any) -> Any:
    return server.server.place.replicas[0].instance


@pytest.mark.parametrize(
    ("path", "piece"), [("/count", lambda i: i), ("/count_async", lambda i: {"i": i})]
)
def test_pieces_are_lines_of_json(start: Start, path: str, piece: Any) -> None:
    answer = start(Streams).post(path, {"n": 3})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [piece(i) for i in range(3)]


def test_pieces_are_events_when_the_client_asks_for_them(start: Start) -> None:
    answer = start(Streams).post("/count", {"n": 2}, headers={"accept": "text/event-stream"})

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text == "data: 0\n\ndata: 1\n\n"


def test_an_iterator_that_is_returned_streams_too(start: Start) -> None:
    assert start(Streams).post("/ready_made", {}).text == "1\n2\n3\n"


def test_a_stream_may_be_empty(start: Start) -> None:
    answer = start(Streams).post("/count", {"n": 0})

    assert (answer.status_code, answer.text) == (200, "")


def test_a_piece_is_sent_before_the_next_is_made(start: Start) -> None:
    server = start(Streams)
    with server.client.stream("POST", "/held", json={}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == '"first"'
        service_of(server).gate.set()
        assert list(lines) == ['"second"']


def test_a_sync_generator_runs_in_one_thread_and_not_on_the_event_loop(start: Start) -> None:
    server = start(Streams)
    server.post("/count", {"n": 5})
    server.post("/count", {"n": 5})

    threads = service_of(server).threads
    assert len(threads) == 1
    assert threads != {server.thread.ident}


def test_streams_of_one_api_take_turns(start: Start) -> None:
    """One that stands still holds its api's thread no longer than a piece takes."""
    server = start(Streams)
    with server.client.stream("POST", "/endless", json={}) as answer:
        next(answer.iter_bytes())
        with httpx.Client(base_url=server.url) as other, other.stream("POST", "/endless", json={}) as second:  # fmt: skip
            assert next(second.iter_bytes())


@pytest.mark.parametrize(("path", "status"), [("/count", 500), ("/count_async", 422)])
def test_an_error_before_the_first_piece_is_an_ordinary_problem(
    start: Start, path: str, status: int
) -> None:
    answer = start(Streams).post(path, {"n": 3, "fail_at": 0})

    assert answer.status_code == status
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_body_that_does_not_fit_is_an_ordinary_problem(start: Start) -> None:
    assert start(Streams).post("/count", {"n": "three"}).status_code == 400


@pytest.mark.parametrize("is_sse", [False, True])
@pytest.mark.parametrize("path", ["/count", "/count_async", "/wrong"])
def test_a_later_error_is_the_last_piece_and_the_stream_breaks_off(
    start: Start, path: str, is_sse: bool
) -> None:
    server = start(Streams)
    body = {} if path == "/wrong" else {"n": 3, "fail_at": 1}
    headers = {"accept": "text/event-stream"} if is_sse else {}
    text = ""
    with (
        server.client.stream("POST", path, json=body, headers=headers) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        for piece in answer.iter_text():
            text += piece

    last = text.strip().splitlines()[-1]
    if is_sse:
        assert text.strip().splitlines()[-2] == "event: error"
        problem = json.loads(last.removeprefix("data: "))
    else:
        problem = json.loads(last)["error"]
    codes = {"/count": "model-error", "/count_async": "refused-input", "/wrong": "bad-output"}
    assert problem["code"] == codes[path]
    assert "secret" not in text


@pytest.mark.parametrize("path", ["/endless", "/count_async"])
def test_a_client_that_leaves_ends_the_generator(start: Start, path: str) -> None:
    server = start(Streams)
    body = {} if path == "/endless" else {"n": 10_000_000}
    with (
        httpx.Client(base_url=server.url) as client,
        client.stream("POST", path, json=body) as answer,
    ):
        next(answer.iter_bytes())

    assert service_of(server).closed.wait(20)
    endpoint = next(e for e in server.server.endpoints if e.api.route == path)
    server.wait_until(lambda: endpoint.stats.in_flight == 0)
    assert endpoint.stats.statuses == {499: 1}


@pytest.mark.parametrize(
    ("settings", "headers"),
    [({"request_timeout_s": 0.2}, {}), ({}, {"X-Request-Timeout-Ms": "200"})],
)
def test_a_first_piece_that_takes_too_long_is_answered_504(
    start: Start, settings: dict[str, float], headers: dict[str, str]
) -> None:
    @modelpack.service
    class Slow:
        gate = threading.Event()

        @modelpack.api
        def stream(self) -> Iterator[int]:
            self.gate.wait(20)
            yield 1

    server = start(Slow, **settings)
    answer = server.post("/stream", {}, headers=headers)
    Slow.gate.set()

    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
