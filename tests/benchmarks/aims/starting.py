"""From the command to the first ready answer, memory at rest, and memory after many requests."""

from __future__ import annotations

import sys
import time
import urllib.request
from statistics import median

from aims.context import Context
from aims.load import json_request, wrk
from aims.machine import rss_bytes
from aims.serving import free_port, our_server, started
from aims.table import Row, skipped

START_S = 1.5
RESIDENT_MB = 110
GROWTH_MB = 5
MILLION = 1_000_000


def starting(context: Context) -> list[Row]:
    """Start the tiny model several times; the first start, which fills caches, is not counted."""
    seconds, resident = [], []
    for number in range(3 if context.is_quick else 6):
        took, mb = _start_once(context)
        if number:
            seconds.append(took)
            resident.append(mb)
    start_s, mb = median(seconds), median(resident)
    return [
        Row(
            "start to ready, tiny ONNX", f"{START_S} s", f"{start_s:.2f} s", start_s <= START_S,
            {"start_s": start_s},
        ),
        Row(
            "resident memory when ready, tiny ONNX", f"{RESIDENT_MB} MB", f"{mb:.0f} MB",
            mb <= RESIDENT_MB, {"resident_mb": mb},
        ),
    ]  # fmt: skip


def _start_once(context: Context) -> tuple[float, float]:
    """Return the seconds until /readyz says 200, and the megabytes of the process then."""
    port = free_port()
    words = [sys.executable, "-m", "modelpack", "serve", "tiny.onnx", "--port", str(port)]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.perf_counter()
    with started([*context.pins.server, *words], context.folder, {}) as (process, log):
        while time.perf_counter() < began + 60 and process.poll() is None:
            try:
                with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=1):
                    took = time.perf_counter() - began
                    return took, rss_bytes(process.pid) / 1e6
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(f"it did not get ready:\n{log.read_text()[-1000:]}")


def memory(context: Context) -> list[Row]:
    """Send a million requests and see whether memory grows after the first tenth of them."""
    wanted = MILLION // 20 if context.is_quick else MILLION
    what, aim = f"memory over {wanted:,} requests", f"flat after warm-up ({GROWTH_MB} MB)"
    if not context.has_wrk:
        return [skipped(what, "'wrk' is not installed", aim)]
    request = json_request("/predict", "tiny")
    with our_server(context.folder / "tiny.onnx", context.pins, cwd=context.folder) as server:
        sent, first = 0.0, 0.0
        before_mb = after_mb = 0.0
        while sent - first < wanted:
            seconds = 1.0 if context.is_quick else 4.0
            one = wrk(
                server.url, request, server.tree, context.pins, connections=32, seconds=seconds
            )
            sent += one.per_second * seconds
            after_mb = server.tree.resident_bytes() / 1e6
            if not first and sent >= wanted / 10:
                first, before_mb = sent, after_mb
    growth = after_mb - before_mb
    text = f"{before_mb:.1f} → {after_mb:.1f} MB: {growth:+.1f} MB"
    return [Row(what, aim, text, growth <= GROWTH_MB, {"growth_mb": growth})]
