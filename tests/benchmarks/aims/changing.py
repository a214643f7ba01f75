"""Hot swaps and a stop under load: is a request lost?

open loop at 1,000 a second ──► POST /swap, ten times    or    SIGTERM
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from aims.context import Context
from aims.load import json_request
from aims.overload import aim_at, on_the_load_processor
from aims.serving import Running, our_server
from aims.table import Row
from modelpack.bench.load import Load
from modelpack.bench.result import Result
from modelpack.bench.session import measure

RATE = 1000.0
SWAPS = 10


def swaps(context: Context) -> list[Row]:
    """Swap the version that is served under load; each swap waits for the one before it."""
    wanted = 3 if context.is_quick else SWAPS
    admin = context.folder / "admin.sock"
    settings = {"admin_socket": admin}
    done: list[float] = []
    with (
        our_server(
            context.folder / "tiny.onnx", context.pins, cwd=context.folder, settings=settings
        ) as server,
        on_the_load_processor(context.pins),
    ):
        seconds = wanted * 1.0 + 3
        result = _load_beside(server, seconds, lambda: _swap_all(admin, wanted, done))
    what = f"requests lost in {wanted} hot swaps at {RATE:,.0f} requests a second"
    lost = result.whole.failed
    longest = max(done, default=0.0)
    text = (
        f"{lost} of {result.whole.offered:,} ({len(done)} swaps, longest {longest:.2f} s, "
        f"p99 {result.latency_ms['p99']:.1f} ms)"
    )
    return [Row(what, "0", text, lost == 0 and len(done) == wanted, {"lost": lost})]


def stops(context: Context) -> list[Row]:
    """Stop the server under load: whatever it took in it has to answer."""
    with (
        our_server(context.folder / "tiny.onnx", context.pins, cwd=context.folder) as server,
        on_the_load_processor(context.pins),
    ):
        result = _load_beside(server, 3.0, lambda: os.kill(server.tree.root, signal.SIGTERM))
    whole = result.whole
    unanswered = {k: n for k, n in whole.errors.items() if k not in ("connect", "unsent")}
    wrong = sum(n for status, n in whole.statuses.items() if status not in (200, 503))
    lost = sum(unanswered.values()) + wrong
    text = f"{lost} of {whole.answered + lost:,} that reached it ({whole.statuses.get(503, 0)} were told 503)"
    return [Row(f"requests lost in SIGTERM at {RATE:,.0f} a second", "0", text, lost == 0,
                {"lost": lost})]  # fmt: skip


def _load_beside(server: Running, seconds: float, what: Callable[[], None]) -> Result:
    """Send the open loop and, a second into it, do something to the server."""

    def later() -> None:
        time.sleep(1.5)
        what()

    beside = threading.Thread(target=later, daemon=True)
    beside.start()
    load = Load(rate=RATE, duration_s=seconds, warmup_s=0.5, timeout_s=10)
    (result,) = measure([aim_at(server, json_request("/predict", "tiny"))], load)
    beside.join(60)
    return result


def _swap_all(admin: Path, count: int, done: list[float]) -> None:
    for _ in range(count):
        began = time.monotonic()
        connection = _UnixConnection(admin)
        connection.request("POST", "/swap", b"{}", {"content-type": "application/json"})
        with connection.getresponse() as answer:
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a swap was answered {answer.status}: {said[:300]!r}")
        connection.close()
        done.append(time.monotonic() - began)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._file = file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))
