"""What is tried before the first request, and what is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import modelpack
from modelpack.sdk.service import spec_of
from modelpack.server.runners.warmup import is_safe_to_try

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
    assert set(demo.calls[2:]) == {"compute (1, 2)", "fails"}
    assert demo.made_in != threading.current_thread().name
    assert server.client.get("/readyz").status_code == 200
    assert server.post("/compute", {"x": [[1, 2]]}).json() == [3.0]


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
