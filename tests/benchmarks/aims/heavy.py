"""W3: a model of tens of milliseconds an item, and what health checks say meanwhile."""

from __future__ import annotations

import http.client
import os
import threading
import time
from statistics import median

import numpy as np

from aims.context import Context
from aims.floor import Cost, best_cost
from aims.load import binary_request, wrk
from aims.models import row_of
from aims.serving import our_server
from aims.table import Row, had, judged, skipped

SHARE = 0.95
HEALTH_MS = 20.0
_SIZES = (1, 2, 4, 8)
_PING_S = 0.02


class Pings(threading.Thread):
    """Asks for the health again and again, as orchestrators do, and keeps the times."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._authority = url.removeprefix("http://")
        self._ended = threading.Event()
        self.times_ms: list[float] = []
        self.failed = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._authority, timeout=10)
        while not self._ended.wait(_PING_S):
            began = time.perf_counter()
            connection.request("GET", "/livez")
            with connection.getresponse() as answer:
                answer.read()
                self.failed += answer.status != 200
            self.times_ms.append((time.perf_counter() - began) * 1000)
        connection.close()

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ended.set()
        self.join()


def w3(context: Context) -> list[Row]:
    """Measure throughput against the model alone in the same process form, in turns."""
    what, aim = "W3 CNN, binary", f"{SHARE:.0%} of in-process onnxruntime"
    if not context.has_wrk:
        return [skipped(what, "'wrk' is not installed", aim)]
    np.save(context.folder / "cnn.npy", row_of("cnn"))
    rates: list[float] = []
    alone: list[Cost] = []
    costs_us: list[float] = []
    waits: list[float] = []
    cpus: list[float] = []
    failed = 0
    seconds = 3.0 if context.is_quick else max(context.seconds, 6.0)
    # The pings are sent from the processor of the load.
    mine = os.sched_getaffinity(0)
    with our_server(context.folder / "cnn.onnx", context.pins, cwd=context.folder) as server:
        try:
            if context.pins.is_apart:
                os.sched_setaffinity(0, {sorted(mine)[1]})
            for number in range((1 if context.is_quick else 3) + 1):
                alone.append(_alone(context, seconds / 2))
                pings = Pings(server.url)
                pings.start()
                one = wrk(
                    server.url, binary_request("/predict", "cnn"), server.tree, context.pins,
                    connections=16, seconds=seconds,
                )  # fmt: skip
                pings.end()
                if number:
                    rates.append(one.per_second)
                    costs_us.append(one.cpu_us)
                    cpus.append(one.cpu_us * one.per_second / 1e6)
                    waits += pings.times_ms
                    failed += one.failed + pings.failed
        finally:
            os.sched_setaffinity(0, mine)
    rate, floor = median(rates), 1e6 / median(one.wall_us for one in alone)
    cost, model = median(costs_us) / 1000, median(one.cpu_us for one in alone) / 1000
    share = rate / floor
    waits.sort()
    p99, worst = waits[int(len(waits) * 0.99)], waits[-1]
    cpu = median(cpus)
    text = (
        f"{rate:.1f}/s of {floor:.1f}/s alone: {share:.0%}; {cost:.2f} ms of processor time an item, "
        f"{model:.2f} alone; {had(cpu)}"
    )
    health = f"p99 {p99:.1f} ms, longest {worst:.1f} ms of {len(waits)}"
    return [
        Row(what, aim, text, judged(share >= SHARE and not failed, cpu), {"share": share}),
        Row(
            "health checks beside W3", f"within {HEALTH_MS:g} ms", health, judged(worst <= HEALTH_MS, cpu),
            {"p99_ms": p99, "worst_ms": worst},
        ),
    ]  # fmt: skip


def _alone(context: Context, seconds: float) -> Cost:
    return best_cost(
        context.folder / "cnn.onnx", context.folder / "cnn.npy", context.pins.server,
        seconds=seconds, sizes=_SIZES,
    )  # fmt: skip
