"""Processor time of the server for a call of gRPC, beside the least that grpcio's server takes.

    floor       grpcio's asyncio server: a method without anything to read or to do
    serializer  784 floats as ModelInferRequest, parsed and written by gRPC's (de)serializers
    bytes       the same, parsed and written by the handler, which gets bytes
    modelpack   the same, answered by ``modelpack serve --grpc-port`` (a method that returns its input)
    json        the same numbers to the same method over HTTP, as native JSON

    python tests/benchmarks/bench_grpc.py [CALLS]

All servers run at once, and are asked in turns, forwards and backwards: what the machine does besides
meets all of them.  The numbers are medians over the rounds, in microseconds of the server process for
one call, with one call at a time and with sixteen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

FLOATS = 784
ROUNDS = 6
AT_ONCE = (1, 16)

SERVICE = """
import modelpack

@modelpack.service
class Echo:
    @modelpack.api
    def predict(self, x: modelpack.Tensor["float32", "n"]) -> modelpack.Tensor["float32", "n"]:
        return x
"""

FLOOR = """
import asyncio, sys
import grpc, uvloop
from modelpack.server.grpc.messages import message

Request = message("inference.ModelInferRequest")
Response = message("inference.ModelInferResponse")

def answer(request):
    response = Response(model_name=request.model_name, id=request.id)
    one = request.inputs[0]
    response.outputs.add(name="output", datatype=one.datatype, shape=one.shape)
    response.raw_output_contents.append(request.raw_input_contents[0])
    return response

async def empty(body, context): return b""
async def parsed(request, context): return answer(request)
async def bytes_(body, context): return answer(Request.FromString(body)).SerializeToString()

unary = grpc.unary_unary_rpc_method_handler
METHODS = {
    "floor": unary(empty), "bytes": unary(bytes_),
    "serializer": unary(parsed, Request.FromString, Response.SerializeToString),
}

class Methods(grpc.GenericRpcHandler):
    def service(self, details): return METHODS[sys.argv[1]]

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()

uvloop.run(main())
"""


def cpu_s(pid: int) -> float:
    """Return the processor time of all threads of a process, in nanoseconds' resolution."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


Ask = Callable[[int, int], None]
"""Makes so many calls, so many of them at a time."""


@contextmanager
def running(words: list[str], cwd: Path) -> Iterator[tuple[int, Callable[[str], str]]]:
    """Start a server; yields its process, and what waits for a line of it with a pattern."""
    process = subprocess.Popen(
        words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None

    def find(pattern: str) -> str:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(pattern, line):
                return found[1]
        raise SystemExit(f"{words} ended")

    try:
        yield process.pid, find
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def grpc_ask(target: str, body: bytes, stack: ExitStack) -> Ask:
    import grpc

    channel = stack.enter_context(grpc.insecure_channel(target))
    method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def ask(calls: int, at_once: int) -> None:
        if at_once == 1:
            for _ in range(calls):
                method(body)
            return
        waiting = [method.future(body) for _ in range(at_once)]
        for index in range(calls - at_once):
            waiting[index % at_once].result()
            waiting[index % at_once] = method.future(body)
        for one in waiting:
            one.result()

    return ask


def http_ask(url: str, body: bytes, stack: ExitStack) -> Ask:
    import http.client
    from concurrent.futures import ThreadPoolExecutor

    host = url.removeprefix("http://")
    connections = [http.client.HTTPConnection(host) for _ in range(max(AT_ONCE))]
    pool = stack.enter_context(ThreadPoolExecutor(len(connections)))
    for one in connections:
        stack.callback(one.close)

    def work(connection: http.client.HTTPConnection, calls: int) -> None:
        for _ in range(calls):
            connection.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                raise SystemExit(f"HTTP {answer.status}")

    def ask(calls: int, at_once: int) -> None:
        list(pool.map(work, connections[:at_once], [calls // at_once] * at_once))

    return ask


def servers(stack: ExitStack, folder: Path) -> dict[str, tuple[int, Ask]]:
    """Start all; returns the process of each, and how it is asked."""
    import numpy as np

    from modelpack.server.grpc.messages import message

    values = np.random.default_rng(1).random(FLOATS, np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [FLOATS]}
    request = message("inference.ModelInferRequest")(
        model_name="echo", id="1", inputs=[tensor], raw_input_contents=[values.tobytes()]
    )
    body: bytes = request.SerializeToString()
    found: dict[str, tuple[int, Ask]] = {}
    for name in ("floor", "serializer", "bytes"):
        words = [sys.executable, "-c", FLOOR, name]
        pid, find = stack.enter_context(running(words, folder))
        sent = b"" if name == "floor" else body
        port = find(r"^(\d+)$")
        found[name] = pid, grpc_ask(f"127.0.0.1:{port}", sent, stack)
    (folder / "service.py").write_text(SERVICE)
    program = str(Path(sys.executable).with_name("modelpack"))
    words = [program, "serve", "service:Echo", "--port", "0", "--grpc-port", "0"]
    pid, find = stack.enter_context(running(words, folder))
    ready = json.loads(find(r'(\{.*"event":"ready".*\})'))
    found["modelpack"] = pid, grpc_ask(ready["grpc"], body, stack)
    text = json.dumps({"x": [float(f"{one:.6f}") for one in values]}).encode()
    found["json"] = pid, http_ask(ready["url"], text, stack)
    return found


def measure(calls: int) -> dict[str, dict[int, float]]:
    """Return microseconds a call, by server and by calls at a time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = servers(stack, folder)
        taken: dict[str, dict[int, list[float]]] = {
            name: {count: [] for count in AT_ONCE} for name in asked
        }
        for _, ask in asked.values():
            ask(200, 1)
        for number in range(ROUNDS):
            order = list(asked) if number % 2 == 0 else list(reversed(asked))
            for at_once in AT_ONCE:
                for name in order:
                    pid, ask = asked[name]
                    before = cpu_s(pid)
                    ask(calls, at_once)
                    taken[name][at_once].append((cpu_s(pid) - before) / calls * 1e6)
    return {
        name: {count: median(rounds) for count, rounds in by.items()} for name, by in taken.items()
    }


def main() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    began = time.monotonic()
    found: dict[str, Any] = measure(calls)
    print(f"{'µs of processor time a call':28} {'one at a time':>14} {'sixteen':>9}")
    for name, by in found.items():
        print(f"{name:28} {by[1]:14.1f} {by[16]:9.1f}")
    print(f"{calls} calls a round, {ROUNDS} rounds, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
