"""What is tried before the first request, and what is not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.sdk.service import spec_of
from modelpack.server.runners.threads import Worker
from modelpack.server.runners.warmup import Trial, is_safe_to_try, samples, warm_up

Start = Callable[..., Any]


@modelpack.service
class Demo:
    calls: list[str]

    def __init__(self) -> None:
        self.calls = []
        self.made_in = threading.current_thread().name

    @modelpack.on_startup
    def begin(self) -> None:
        self.calls.append("begin")

    @modelpack.on_startup
    async def begin_async(self) -> None:
        self.calls.append("begin_async")

    @modelpack.api(batch=True)
    def compute(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[float]:
        self.calls.append(f"compute {x.shape}")
        return [float(v) for v in x.sum(axis=1)]

    @modelpack.api
    def fails(self, x: modelpack.Tensor["float32", 2]) -> float:
        self.calls.append("fails")
        raise ValueError("zeros")

    @modelpack.api
    def send_letter(self, to: str) -> str:
        self.calls.append("send_letter")
        return to

    @modelpack.api
    async def compute_async(self, x: modelpack.Tensor["float32"]) -> float:
        self.calls.append("compute_async")
        return 0.0

    @modelpack.api
    def stream(self, x: modelpack.Tensor["float32"]) -> Iterator[float]:
        self.calls.append("stream")
        yield 0.0

    @modelpack.api
    def nothing(self) -> int:
        self.calls.append("nothing")
        return 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("compute", True),
        ("fails", True),
        ("send_letter", False),
        ("compute_async", False),
        ("stream", False),
        ("nothing", False),
    ],
)
def test_only_what_takes_arrays_alone_is_tried(name: str, expected: bool) -> None:
    api = next(api for api in spec_of(Demo).apis if api.name == name)

    assert is_safe_to_try(api) is expected


def test_hooks_run_before_warm_calls_and_failing_ones_stop_nothing(start: Start) -> None:
    server = start(Demo)
    demo = server.server.place.replicas[0].instance

    assert demo.calls[:2] == ["begin", "begin_async"]
    sizes = {f"compute ({rows}, 2)" for rows in (1, 2, 4, 8, 16, 32)}
    assert set(demo.calls[2:]) == {*sizes, "fails"}
    assert demo.made_in != threading.current_thread().name
    assert server.client.get("/readyz").status_code == 200
    assert server.post("/compute", {"x": [[1, 2]]}).json() == [3.0]


@modelpack.service
class Shapes:
    @modelpack.api(batch=True, max_batch_size=6, buckets=(4, 8), example={"x": [[1, 2, 3]]})
    def words(self, x: modelpack.Tensor["int64", "batch", "words"]) -> list[int]:
        return [int(row.sum()) for row in x]

    @modelpack.api(batch=True, max_batch_size=2)
    def pair(
        self,
        x: modelpack.Tensor["float32", "batch", 2],
        y: modelpack.Tensor["float32", "batch"],
    ) -> list[float]:
        return [0.0] * len(x)


def api_of(name: str) -> Any:
    return next(api for api in spec_of(Shapes).apis if api.name == name)


def test_sizes_double_up_to_the_largest_and_each_bucket_is_tried() -> None:
    tried = [(make()["x"].shape, rows) for make, rows in samples(api_of("words"))]

    assert tried[:4] == [((1, 3), 1), ((2, 3), 2), ((4, 3), 4), ((6, 3), 6)]
    assert tried[4:] == [((1, 4), 1), ((6, 4), 6), ((1, 8), 1), ((6, 8), 6)]


def test_a_longer_sample_repeats_the_example_and_is_a_new_array_each_time() -> None:
    makes = [make for make, _ in samples(api_of("words"))]

    assert makes[-1]()["x"][0].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert not np.shares_memory(makes[0]()["x"], makes[0]()["x"])


def test_all_that_has_rows_grows() -> None:
    shapes = [{k: v.shape for k, v in make().items()} for make, _ in samples(api_of("pair"))]

    assert shapes == [
        {"x": (1, 2), "y": (1,)},
        {"x": (2, 2), "y": (2,)},
    ]


def warmed(name: str, method: Callable[..., Any]) -> list[Trial]:
    async def run() -> list[Trial]:
        worker = Worker("test", asyncio.get_running_loop())
        try:
            return await warm_up(api_of(name), method, worker)
        finally:
            worker.close()

    return asyncio.run(run())


def test_a_slow_model_is_tried_with_one_row_and_with_most() -> None:
    """A row takes 150 ms: two calls of each size that load will surely bring, no other."""
    calls: list[int] = []

    def slow(x: Any, y: Any) -> None:
        calls.append(len(x))
        time.sleep(0.15 * len(x))

    trials = warmed("pair", slow)

    assert [trial.rows for trial in trials] == [1, 2]
    assert set(calls) == {1, 2}
    assert all(len(trial.seconds) >= 1 for trial in trials)
    assert trials[0].typical_s >= 0.15


def test_what_fails_at_a_larger_size_keeps_what_the_smaller_ones_showed() -> None:
    def fussy(x: Any, y: Any) -> None:
        if len(x) > 1:
            raise ValueError("one at a time")

    assert [trial.rows for trial in warmed("pair", fussy)] == [1]


def test_what_batches_cost_is_known_before_the_first_request(start: Start) -> None:
    @modelpack.service
    class Slow:
        @modelpack.api(batch=True, max_batch_size=4)
        def wait(self, x: modelpack.Tensor["float32", "batch"]) -> list[float]:
            time.sleep(0.01 * len(x))
            return [0.0] * len(x)

    queue = start(Slow).server.endpoints[0].queue
    costs = queue._pace.costs.all

    assert costs.seconds(1) >= 0.01
    assert costs.seconds(4) >= 0.04


def test_warm_calls_are_not_counted_as_requests(start: Start) -> None:
    page = start(Demo).client.get("/metrics").text

    assert "modelpack_requests_total{" not in page
    assert 'modelpack_batch_rows_count{api="compute"} 0.0' in page


def test_a_fast_method_runs_on_the_event_loop_from_the_first_request(start: Start) -> None:
    @modelpack.service
    class Where:
        @modelpack.api(batch=True)
        def thread(self, x: modelpack.Tensor["float32", "batch"]) -> list[int]:
            return [threading.get_ident()] * len(x)

    server = start(Where)

    assert server.post("/thread", {"x": [1]}).json() == [server.thread.ident]
