"""Four times the load that fits, for a slow model and a quick one, and clients that hang up.

closed loop ──► peak goodput      open loop at 4 x peak ──► goodput within the limit, refusals
                                    └ beside it, single requests: is there a Retry-After?
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aims.context import Context
from aims.load import Request, binary_request
from aims.machine import Pins
from aims.serving import Running, our_server
from aims.table import Row, had, judged
from modelpack.bench.aim import Aim
from modelpack.bench.inputs import Body
from modelpack.bench.load import Load
from modelpack.bench.place import place_of
from modelpack.bench.result import Result
from modelpack.bench.session import measure

LIMIT_MS = 1000
"""What a client waits at most, and tells the server (X-Request-Timeout-Ms)."""
TIMES = 4
GOODPUT = 0.95
REFUSAL_MS = 50.0
CLIENTS = 64
MOST_ITEMS = 16


@contextmanager
def on_the_load_processor(pins: Pins) -> Iterator[None]:
    """Let this process, which sends the load, use that processor alone."""
    mine = os.sched_getaffinity(0)
    if pins.is_apart:
        os.sched_setaffinity(0, {int(pins.load[2])})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def aim_at(server: Running, request: Request, headers: dict[str, str] | None = None) -> Aim:
    """Return what our own generator sends for a request."""
    body = Body(request.body, request.content_type, tuple(request.headers.items()))
    return Aim(
        place=place_of(server.url), method="POST", path=request.path, api="predict",
        bodies=(body,), headers=headers or {},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Try:
    """One overload, with the peaks before and after it."""

    peak: float
    offered: float
    result: Result

    @property
    def goodput(self) -> float:
        """Good answers a second within the limit."""
        latencies = self.result.whole.latencies
        late = latencies.share_above(LIMIT_MS) * latencies.count
        return max(self.result.rate - late / self.result.seconds, 0.0)

    @property
    def share(self) -> float:
        return self.goodput / self.peak

    @property
    def cpu(self) -> float:
        """Processors that the server used meanwhile."""
        return (self.result.server.cpu if self.result.server else None) or 0.0


def overload(context: Context) -> list[Row]:
    """Measure the peak and offer four times as much, in turns.

    Refusing takes time, too, and of a quick model's requests more are refused for each that is
    served: what that leaves is measured beside the slow one's.
    """
    quick = _overload(context, "mid", "0.5 ms an item")
    if context.is_quick:  # the slow one has not learned its sizes in such a short time
        return quick
    return [*_overload(context, "cnn", "10 ms an item"), *quick]


def _overload(context: Context, model: str, what: str) -> list[Row]:
    seconds = 3.0 if context.is_quick else 6.0
    request = binary_request("/predict", model)
    headers = {"X-Request-Timeout-Ms": str(LIMIT_MS)}
    tries: list[_Try] = []
    with (
        our_server(context.folder / f"{model}.onnx", context.pins, cwd=context.folder) as server,
        on_the_load_processor(context.pins),
    ):
        aim = aim_at(server, request, headers)
        probe = _Probe(server, request, headers)
        peak = _peak(aim, seconds)
        for _ in range(1 if context.is_quick else 3):
            load = Load(rate=TIMES * peak, connections=8192, duration_s=seconds, warmup_s=1.5)
            if not probe.is_alive():
                probe.start()
            (result,) = measure([aim], load)
            probe.pause()
            after = _peak(aim, seconds)
            tries.append(_Try((peak + after) / 2, TIMES * peak, result))
            peak = after
            probe.resume()
        probe.end()
    return _rows(tries, probe, what)


def _peak(aim: Aim, seconds: float) -> float:
    (result,) = measure([aim], Load(concurrency=32, duration_s=seconds, warmup_s=1.0))
    return result.rate


def _rows(tries: list[_Try], probe: _Probe, what: str) -> list[Row]:
    one = sorted(tries, key=lambda t: t.share)[len(tries) // 2]
    whole = one.result.whole
    refused_ms = whole.refused.at_ms(99)
    statuses = ", ".join(f"{n:,} x {s}" for s, n in sorted(whole.statuses.items()))
    errors = "".join(f", {n:,} {kind}" for kind, n in whole.errors.items())
    return [
        Row(
            f"{TIMES} times the capacity offered, {what}, limit {LIMIT_MS} ms: goodput",
            f"{GOODPUT:.0%} of peak",
            f"{one.goodput:,.0f}/s of {one.peak:,.0f}/s at {one.offered:,.0f}/s offered: "
            f"{one.share:.0%} ({statuses}{errors}); {had(one.cpu)}",
            judged(one.share >= GOODPUT, one.cpu),
            {"share": one.share, "cpu": one.cpu},
        ),
        Row(
            f"{TIMES} times the capacity offered, {what}: refusals",
            f"within {REFUSAL_MS:g} ms, with Retry-After",
            f"p50 {whole.refused.at_ms(50):.1f} ms, p99 {refused_ms:.1f} ms; "
            f"{probe.with_retry} of {probe.refused} named Retry-After",
            judged(refused_ms <= REFUSAL_MS and probe.with_retry == probe.refused, one.cpu)
            if probe.refused
            else None,
            {"refused_p99_ms": refused_ms},
        ),
    ]


class _Probe(threading.Thread):
    """Sends single requests beside the load and looks at how they are refused."""

    def __init__(self, server: Running, request: Request, headers: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._authority = server.url.removeprefix("http://")
        self._request = request
        self._headers = {**headers, **request.headers, "content-type": request.content_type}
        self._ended = threading.Event()
        self._is_on = True
        self.refused = self.with_retry = 0

    def run(self) -> None:
        while not self._ended.wait(0.05):
            if not self._is_on:
                continue
            connection = http.client.HTTPConnection(self._authority, timeout=10)
            try:
                connection.request("POST", self._request.path, self._request.body, self._headers)
                with connection.getresponse() as answer:
                    answer.read()
                    if answer.status in (429, 503):
                        self.refused += 1
                        self.with_retry += int(answer.headers.get("retry-after", 0)) >= 1
            except OSError:
                continue  # the backlog of the kernel is full as well
            finally:
                connection.close()

    def pause(self) -> None:
        """Send nothing until ``resume``."""
        self._is_on = False

    def resume(self) -> None:
        self._is_on = True

    def end(self) -> None:
        self._ended.set()
        self.join()


def hung_up(context: Context) -> list[Row]:
    """Let clients leave right after they asked, and count what was computed for them.

    The fewest of a few rounds: on a busy machine the server is sometimes quicker than the client
    that leaves, which says nothing of the server.
    """
    request = binary_request("/predict", "cnn")
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    data = (
        f"POST {request.path} HTTP/1.1\r\nhost: h\r\ncontent-type: {request.content_type}\r\n"
        f"{head}content-length: {len(request.body)}\r\n\r\n"
    ).encode() + request.body
    with our_server(context.folder / "cnn.onnx", context.pins, cwd=context.folder) as server:
        _ask(server.url + request.path, request)
        rounds = [_items_of_leavers(server.url, data) for _ in range(3)]
    items = min(rounds)
    what = f"items computed for {CLIENTS} clients that hung up"
    measured = f"{items} ({', '.join(map(str, rounds))})"
    return [Row(what, f"{MOST_ITEMS} or fewer", measured, items <= MOST_ITEMS, {"items": items})]


def _items_of_leavers(url: str, data: bytes) -> int:
    before = _rows_run(url)
    host, _, port = url.removeprefix("http://").partition(":")
    for _ in range(CLIENTS):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(data)
    _wait_until_idle(url)
    return _rows_run(url) - before


def _ask(url: str, request: Request) -> None:
    headers = {"content-type": request.content_type, **request.headers}
    asked = urllib.request.Request(url, data=request.body, headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30):
        return


def _metrics(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{url}/metrics", timeout=30
    ) as page:
        return str(page.read().decode())


def _value(page: str, name: str) -> int:
    lines = [line for line in page.splitlines() if line.startswith(name) and "predict" in line]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def _rows_run(url: str) -> int:
    return _value(_metrics(url), "modelpack_batch_rows_sum")


def _wait_until_idle(url: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    quiet = 0
    while quiet < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
        page = _metrics(url)
        waiting = _value(page, "modelpack_queue_rows") + _value(
            page, "modelpack_in_flight_requests"
        )
        quiet = quiet + 1 if waiting == 0 else 0
    if quiet < 5:
        raise RuntimeError("the server does not come to rest: " + json.dumps(_metrics(url)[-500:]))
