"""Calls of gRPC at a deployment's ports: one by one, and without a pause while it is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.deploy.supervised import wait_for

CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
HOST = "127.0.0.1"


@contextmanager
def channel(port: int) -> Iterator[grpc.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    with grpc.insecure_channel(f"{HOST}:{port}", options=options) as found:
        yield found


def check(port: int) -> bytes:
    with channel(port) as one:
        answer: bytes = one.unary_unary(CHECK)(b"", timeout=60)
        return answer


# In a process of its own, so that what it costs is not ours.
CALLERS = """
import json, sys, threading, grpc

answered, failed, is_over = {}, [], threading.Event()
own = [("grpc.use_local_subchannel_pool", 1)]
method = "/inference.GRPCInferenceService/ServerMetadata"  # a server that ends answers it, too

def call(name, once):
    answered[name] = 0
    while not is_over.is_set():
        try:
            once()
            answered[name] += 1
        except grpc.RpcError as error:
            failed.append(f"{name}: {error.code()} {error.details()}")

def stay(at):
    with grpc.insecure_channel(at, own) as channel:
        once = channel.unary_unary(method)
        call("stays at " + at, lambda: once(b"", timeout=60))

def come(at):
    def once():
        with grpc.insecure_channel(at, own) as channel:
            return channel.unary_unary(method)(b"", timeout=60)
    call("comes to " + at, once)

threads = [threading.Thread(target=way, args=(at,)) for at in sys.argv[1:] for way in (stay, come)]
for one in threads:
    one.start()
for _ in sys.stdin:
    print(json.dumps([answered, failed]), flush=True)
is_over.set()
for one in threads:
    one.join()
print(json.dumps([answered, failed]), flush=True)
"""


class Callers:
    """Who calls without a pause: on one connection, and on a new one each time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answered(self) -> dict[str, int]:
        """Return how many calls were answered until now; there is no failed one."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        answered, failed = json.loads(self._process.stdout.readline())
        assert failed == []
        return dict(answered)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert len(self._read()) == 4


@contextmanager
def calling(*ports: int) -> Iterator[Callers]:
    argv = [sys.executable, "-c", CALLERS, *(f"{HOST}:{port}" for port in ports)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        callers = Callers(process)
        try:
            wait_for(lambda: len(callers.answered()) == 4 and all(callers.answered().values()))
            yield callers
            callers.end()
        finally:
            process.kill()
