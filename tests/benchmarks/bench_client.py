"""Processor time that clients take for one call: ours beside those of others, in turns in one run.

    python tests/benchmarks/bench_client.py [SECONDS]

Each sends four floats as bytes and makes an array of what comes back, over a kept connection.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

import modelpack

SERVICE = """
import modelpack
from modelpack import Tensor

Rows = Tensor["float32", "batch", 4]


@modelpack.service
class Echo:
    @modelpack.api(batch=True)
    def predict(self, x: Rows) -> Rows:
        return x
"""
ROUNDS = 5
HEADERS = {
    "content-type": "application/octet-stream",
    "modelpack-dtype": "float32",
    "modelpack-shape": "1,4",
    "accept": "application/octet-stream",
}


@contextmanager
def served() -> Iterator[tuple[str, str]]:
    """Serve the echo; yields its URL, and its address for gRPC."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "service.py").write_text(SERVICE)
        program = Path(sys.executable).with_name("modelpack")
        with subprocess.Popen(
            [program, "serve", "--port", "0", "--grpc-port", "0"],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                assert server.stderr is not None
                for line in server.stderr:
                    if found := re.search(r'"url":"([^"]+)","grpc":"([^"]+)"', line):
                        yield found[1], found[2]
                        break
            finally:
                server.terminate()
                server.communicate()


def timed(call: Callable[[], object], seconds: float) -> float:
    """Return the microseconds of processor time of a call."""
    call()
    count, until, began = 0, time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < until:
        call()
        count += 1
    return (time.process_time() - began) / count * 1e6


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    x = np.ones((1, 4), "float32")
    with served() as (url, rpc), asyncio.Runner() as runner, httpx.Client() as theirs:
        address = url.removeprefix("http://")
        plain = http.client.HTTPConnection(address)
        ours, over_grpc = modelpack.Client(url), modelpack.Client(f"grpc://{rpc}")
        aio, aio_theirs = modelpack.AsyncClient(url), httpx.AsyncClient()
        path = f"{url}/predict"

        def bare() -> None:
            plain.request("POST", "/predict", x.tobytes(), HEADERS)
            np.frombuffer(plain.getresponse().read(), "float32")

        async def many(call: Callable[[], object], count: int = 100) -> None:
            for _ in range(count):
                await call()  # type: ignore[misc]

        def of_hundred(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: runner.run(many(call))

        def sent() -> object:
            return aio_theirs.post(path, content=x.tobytes(), headers=HEADERS)

        clients: dict[str, tuple[Callable[[], object], int]] = {
            "modelpack.Client": (lambda: ours.predict(x=x), 1),
            "http.client, bare": (bare, 1),
            "httpx.Client, bare": (
                lambda: theirs.post(path, content=x.tobytes(), headers=HEADERS).content,
                1,
            ),
            "modelpack.Client, gRPC": (lambda: over_grpc.predict(x=x), 1),
            "modelpack.AsyncClient": (of_hundred(lambda: aio.predict(x=x)), 100),
            "httpx.AsyncClient, bare": (of_hundred(sent), 100),
        }
        found: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, (call, each) in clients.items():
                found[name].append(timed(call, seconds / ROUNDS) / each)
        for name, times in found.items():
            spread = f"{min(times):.0f} to {max(times):.0f}"
            print(f"{name:26} {statistics.median(times):6.0f} µs   ({spread})")
        plain.close()
        ours.close()
        over_grpc.close()
        runner.run(aio.close())
        runner.run(aio_theirs.aclose())


if __name__ == "__main__":
    main()
