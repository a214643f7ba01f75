"""One request that is several calls: to the outside one request, whatever becomes of its parts."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import modelpack

PATH = "/v1/models/slow"


@modelpack.service
class Slow:
    began: list[float] = []
    ended: list[float] = []

    @modelpack.api
    async def predict(self, seconds: float) -> float:
        Slow.began.append(seconds)
        await asyncio.sleep(seconds)
        Slow.ended.append(seconds)
        return seconds

    @modelpack.api
    def step(self, seconds: float) -> float:
        Slow.began.append(seconds)
        if seconds < 0:
            raise RuntimeError("negative")
        time.sleep(seconds)
        return seconds

    @modelpack.api
    def quick(self, n: int) -> int:
        return n


@pytest.fixture(scope="module", params=["fast", "asgi"])
def running(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> Any:
    return start_once(Slow, request.param, faces="kserve", max_queue_rows=64)


@pytest.fixture(autouse=True)
def _nothing_ran_yet() -> None:
    Slow.began.clear()
    Slow.ended.clear()


def ask(running: Any, api: str, instances: list[Any], **more: Any) -> Any:
    name = PATH if api == "predict" else f"{PATH}.{api}"
    return running.client.post(f"{name}:predict", json={"instances": instances}, **more)


def counted(running: Any, metric: str, api: str) -> int:
    lines = running.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith(f"{metric}{{") and f'api="{api}"' in line]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)


def in_flight(running: Any) -> list[int]:
    endpoints = running.server.versions.current.endpoints
    return [one.stats.in_flight for one in endpoints] + [len(one.spreads) for one in endpoints]


def test_more_instances_than_the_queue_holds_are_answered(running: Any) -> None:
    answer = ask(running, "quick", list(range(1000)))

    assert answer.json() == {"predictions": list(range(1000))}


def test_it_is_counted_as_one_request(running: Any) -> None:
    before = counted(running, "modelpack_requests_total", "quick")

    ask(running, "quick", [1, 2, 3])

    assert counted(running, "modelpack_requests_total", "quick") == before + 1
    assert not any(in_flight(running))


def test_an_async_api_runs_its_instances_side_by_side(running: Any) -> None:
    began = time.perf_counter()

    answer = ask(running, "predict", [0.2] * 8)

    assert answer.json() == {"predictions": [0.2] * 8}
    assert time.perf_counter() - began < 8 * 0.2


def test_the_first_failure_is_the_answer_and_nothing_runs_after_it(running: Any) -> None:
    answer = ask(running, "step", [0.0, -1.0, *[0.0] * 200])

    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert len(Slow.began) < 200
    assert not any(in_flight(running))


def test_the_deadline_is_that_of_the_request(running: Any) -> None:
    answer = ask(running, "predict", [0.01, 30.0], headers={"x-request-timeout-ms": "100"})

    assert answer.status_code == 504
    assert not any(in_flight(running))


def test_who_leaves_takes_all_instances_along(running: Any) -> None:
    body = json.dumps({"instances": [30.0] * 40}).encode()
    head = f"POST {PATH}:predict HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
    with running.connect() as connection:
        connection.sendall(head.encode() + body)
        running.wait_until(lambda: len(Slow.began) == 32)
        connection.shutdown(socket.SHUT_RDWR)

    running.wait_until(lambda: not any(in_flight(running)))
    assert len(Slow.began) == 32
    assert Slow.ended == []


def test_a_full_queue_refuses_the_request_as_a_whole(running: Any) -> None:
    others = [threading.Thread(target=_occupy, args=(running,)) for _ in range(4)]
    for one in others:
        one.start()
    running.wait_until(lambda: len(Slow.began) >= 64)
    try:
        answer = ask(running, "predict", [0.0] * 8)
    finally:
        for one in others:
            one.join()

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert not any(in_flight(running))


def _occupy(running: Any) -> None:
    with running.fresh_client() as client:
        client.post(f"{PATH}:predict", json={"instances": [1.0] * 32})
