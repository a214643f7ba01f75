"""The batcher inside of a real server, over sockets and both lanes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import modelpack

Start = Callable[..., Any]
T = modelpack.Tensor


@modelpack.service
class Demo:
    """Remembers the batches that it gets; while ``gate`` is shut they wait."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.gate = threading.Event()
        self.gate.set()

    def note(self, x: Any) -> Any:
        self.batches.append([float(v) for v in np.ravel(x)])
        self.shapes.append(x.shape)
        self.gate.wait(20)
        return x

    @modelpack.api(batch=True, max_batch_size=8)
    def double(self, x: T["float64", "batch", 1]) -> T["float64", "batch", 1]:
        if (self.note(x) == 666).any():
            raise ValueError("poison")
        return x * 2

    @modelpack.api(batch=True, max_batch_size=8, buckets=(4, 8), pad_value=-1)
    def tokens(
        self, ids: T["int64", "batch", "length"]
    ) -> dict[str, T["int64", "batch", "length"]]:
        return {"ids": self.note(ids) + 1}

    @modelpack.api(batch=True, max_batch_size=4, max_wait_ms=60_000)
    def patient(self, x: T["float64", "batch", 1]) -> T["float64", "batch", 1]:
        return self.note(x)


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def head(path: str, body: bytes, fields: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{fields}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def ask(server: Any, path: str, body: object, fields: str = "") -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (answer,) = server.send(head(path, raw, fields))
    return answer


def queue_of(server: Any, name: str) -> Any:
    return next(e for e in server.server.endpoints if e.api.name == name).queue


def instance_of(server: Any) -> Demo:
    demo: Demo = server.server.place.replicas[0].instance
    return demo


class Held:
    """Keeps the only runner busy, so that what comes meanwhile goes together."""

    def __init__(self, server: Any, clients: ThreadPoolExecutor) -> None:
        self.server, self.demo = server, instance_of(server)
        self.demo.batches.clear()
        self.demo.shapes.clear()
        self.demo.gate.clear()
        self.first = clients.submit(ask, server, "/double", {"x": [[0]]})
        server.wait_until(lambda: bool(self.demo.batches))

    def wait_for(self, rows: int) -> None:
        self.server.wait_until(lambda: queue_of(self.server, "double").waiting_rows == rows)


def test_a_malformed_request_harms_no_batch_mate(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    good = [clients.submit(ask, server, "/double", {"x": [[n]]}) for n in (1, 2, 3)]
    held.wait_for(3)
    bad = [
        ask(server, "/double", body)
        for body in (b"{", {"x": [[1, 2]]}, {"x": [["a"]]}, {"x": [[None]]}, {"y": 1}, {"x": []})
    ]
    held.demo.gate.set()

    assert [answer.status for answer in bad] == [400] * 6
    assert [json.loads(one.result(20).body) for one in good] == [[[2.0]], [[4.0]], [[6.0]]]
    assert sorted(held.demo.batches[1]) == [1, 2, 3]


def test_only_the_poison_request_fails(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    asked = [clients.submit(ask, server, "/double", {"x": [[n]]}) for n in (1, 666, 3, 4)]
    held.wait_for(4)
    held.demo.gate.set()

    assert [one.result(20).status for one in asked] == [200, 500, 200, 200]
    assert json.loads(asked[1].result().body)["code"] == "model-error"


def test_of_64_clients_that_hang_up_no_more_than_one_batch_is_computed(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    with ExitStack() as stack:
        for number in range(64):
            connection = stack.enter_context(server.connect())
            connection.sendall(head("/double", json.dumps({"x": [[number + 1]]}).encode()))
        held.wait_for(64)
    held.wait_for(0)
    held.demo.gate.set()
    held.first.result(20)
    server.wait_until(lambda: queue_of(server, "double").is_idle)

    assert held.demo.batches == [[0]]


def test_a_deadline_that_passes_in_the_queue_is_answered_504_without_computing(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    late = ask(server, "/double", {"x": [[7]]}, "X-Request-Timeout-Ms: 150\r\n")
    held.demo.gate.set()
    held.first.result(20)
    server.wait_until(lambda: queue_of(server, "double").is_idle)

    assert (late.status, json.loads(late.body)["code"]) == (504, "timeout")
    assert held.demo.batches == [[0]]


def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_retry_after(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    waiting = [clients.submit(ask, server, "/double", {"x": [[1]] * 8}) for _ in range(3)]
    held.wait_for(24)
    queue = queue_of(server, "double")
    for _ in range(64):
        server.on_loop(lambda: queue._pace.learn(queue._pace.costs.all, 8, 2.0))
    began = time.monotonic()
    refused = ask(server, "/double", {"x": [[7]]}, "X-Request-Timeout-Ms: 2000\r\n")
    took = time.monotonic() - began
    held.demo.gate.set()

    assert (refused.status, json.loads(refused.body)["code"]) == (429, "overloaded")
    assert int(refused.header("retry-after")) in range(6, 9)  # 24 rows of 0.25 s, and a reserve
    assert took < 2.0
    assert [one.result(20).status for one in waiting] == [200] * 3


def test_a_high_priority_goes_first(start: Start, lane: str, clients: ThreadPoolExecutor) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    asked = []
    for rows, name in enumerate(("low", "normal", "high"), 1):
        body = {"x": [[rows]] * 8}
        asked.append(
            clients.submit(ask, server, "/double", body, f"Modelpack-Priority: {name}\r\n")
        )
        held.wait_for(8 * rows)
    held.demo.gate.set()

    assert [one.result(20).status for one in asked] == [200] * 3
    assert [batch[0] for batch in held.demo.batches] == [0, 3, 2, 1]


def test_requests_of_different_length_share_a_batch(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    held = Held(server, clients)
    hold = clients.submit(ask, server, "/tokens", {"ids": [[9] * 20]})
    server.wait_until(lambda: (1, 20) in held.demo.shapes)
    asked = [clients.submit(ask, server, "/tokens", {"ids": [[n] * n]}) for n in (1, 3, 4, 5, 8)]
    server.wait_until(lambda: queue_of(server, "tokens").waiting_rows == 5)
    held.demo.gate.set()

    assert [json.loads(one.result(20).body) for one in asked] == [
        {"ids": [[n + 1] * n]} for n in (1, 3, 4, 5, 8)
    ]
    assert len(json.loads(hold.result(20).body)["ids"][0]) == 20
    assert sorted(shape for shape in held.demo.shapes if shape[1] > 1)[-3:] == [
        (1, 20),
        (2, 8),
        (3, 4),
    ]
    stats = queue_of(server, "tokens").stats
    assert (stats.real_elements, stats.padded_elements) == (41, 7)


def test_a_held_batch_leaves_when_it_is_full_and_the_metrics_say_why(
    start: Start, lane: str, clients: ThreadPoolExecutor
) -> None:
    server = start(Demo, lane, runner="thread")
    asked = [clients.submit(ask, server, "/patient", {"x": [[n]]}) for n in range(4)]
    answers = sorted(json.loads(one.result(20).body)[0][0] for one in asked)
    page = server.client.get("/metrics").text

    assert answers == [0, 1, 2, 3]
    assert 'modelpack_batch_releases_total{api="patient",reason="full"} 1.0' in page
