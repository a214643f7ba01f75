"""The awaited call: the same queue, limits and counts as a request over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.sdk.api import Arguments
from modelpack.server.faces.inference import infer, stream
from modelpack.server.faces.registry import Faces, chosen
from modelpack.server.problems import RefusedRequest


@modelpack.service
class Twice:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float64", "batch"]
    ) -> modelpack.Tensor["float64", "batch"]:
        if (x < 0).any():
            raise RuntimeError("negative")
        return x * 2

    @modelpack.api
    async def slow(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)
        raise RuntimeError("no more")


@pytest.fixture
def running(start: Callable[..., Any]) -> Any:
    return start(Twice)


def wait(running: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, running.loop).result(20)


def catalog(running: Any) -> Any:
    return running.server.versions.current.catalog


def call(running: Any, api: str, value: Any, **options: Any) -> Any:
    endpoint = catalog(running).api(api).endpoint
    name = endpoint.api.parameters[0].name
    rows = len(value) if api == "predict" else 1
    arguments = Arguments({name: value}, rows)
    return wait(running, infer(endpoint, arguments, request_id=b"r-1", **options))


def counted(running: Any, api: str) -> int:
    total = running.client.get("/metrics").text
    lines = [line for line in total.splitlines() if line.startswith("modelpack_requests_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if f'api="{api}"' in line)


def test_the_answer_comes_as_it_is_and_is_counted(running: Any) -> None:
    before = counted(running, "predict")

    answer = call(running, "predict", np.array([1.0, 2.0]))

    assert answer.tolist() == [2.0, 4.0]
    assert counted(running, "predict") == before + 1


@pytest.mark.parametrize(
    ("api", "value", "options", "status"),
    [
        ("predict", np.array([-1.0]), {}, 500),
        ("slow", 30.0, {"timeout_s": 0.05}, 504),
    ],
)
def test_what_goes_wrong_is_the_problem_of_a_request(
    running: Any, api: str, value: Any, options: Any, status: int
) -> None:
    with pytest.raises(RefusedRequest) as caught:
        call(running, api, value, **options)

    assert caught.value.problem.status == status


def test_who_is_cancelled_leaves_nothing_in_flight(running: Any) -> None:
    endpoint = catalog(running).api("slow").endpoint

    async def leave() -> int:
        task = asyncio.ensure_future(
            infer(endpoint, Arguments({"seconds": 30.0}, 1), request_id=b"r-2")
        )
        await asyncio.sleep(0.05)
        assert endpoint.stats.in_flight == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return int(endpoint.stats.in_flight)

    assert wait(running, leave()) == 0


def test_pieces_come_until_the_generator_fails(running: Any) -> None:
    endpoint = catalog(running).api("count").endpoint

    async def read() -> list[Any]:
        found: list[Any] = []
        try:
            pieces = stream(endpoint, Arguments({"to": 3}, 1), request_id=b"r-3")
            async for piece in pieces:
                found.append(piece)  # noqa: PERF401 - those before the failure are wanted too
        except RefusedRequest as refused:
            found.append(refused.problem.status)
        return [*found, endpoint.stats.in_flight]

    assert wait(running, read()) == [0, 1, 2, 500, 0]


def test_a_model_is_found_by_its_name_and_its_version(running: Any) -> None:
    found = catalog(running)

    assert list(found.models) == ["twice", "twice.slow", "twice.count"]
    assert found.model("twice", "1") is found.default
    with pytest.raises(RefusedRequest, match="unknown-model"):
        found.model("once")
    with pytest.raises(RefusedRequest, match="unknown-version"):
        found.model("twice", "2")


def test_no_contract_is_on_when_none_is_asked_for() -> None:
    assert chosen("none", {}) == []
    assert Faces([], []).problem_writer("/v2/models").__name__ == "write_problem"
