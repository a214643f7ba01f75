"""``modelpack serve --grpc-port`` in a process of its own, and a client of gRPC's own kind.

serve_grpc(folder, …)   a server: ``.target``, ``.url``, ``.call(…)``, ``.stop()``
served                  one for all tests of a module, with the service below
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelpack.server.grpc.messages import message

WAIT_S = 60.0

SERVICE = """
import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np

import modelpack

T = modelpack.Tensor


@dataclass
class Types:
    flag: T["bool", "n"]
    i8: T["int8", "n"]
    i16: T["int16", "n"]
    i32: T["int32", "n"]
    i64: T["int64", "n"]
    u8: T["uint8", "n"]
    u16: T["uint16", "n"]
    u32: T["uint32", "n"]
    u64: T["uint64", "n"]
    f32: T["float32", "n"]
    f64: T["float64", "n"]
    text: T["str", "n"]


@modelpack.service
class Demo:
    FACTOR = 2

    @modelpack.api(batch=True)
    def predict(self, x: T["float32", "batch", 4]) -> T["float32", "batch", 4]:
        return x * self.FACTOR

    @modelpack.api
    def types(
        self, flag: T["bool", "n"], i8: T["int8", "n"], i16: T["int16", "n"],
        i32: T["int32", "n"], i64: T["int64", "n"], u8: T["uint8", "n"], u16: T["uint16", "n"],
        u32: T["uint32", "n"], u64: T["uint64", "n"], f32: T["float32", "n"],
        f64: T["float64", "n"], text: T["str", "n"],
    ) -> Types:
        return Types(flag, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, text)

    @modelpack.api
    def half(self, x: T["float16", "n"]) -> T["float16", "n"]:
        return x

    @modelpack.api
    def label(self, text: str, times: int = 2) -> str:
        return text * times

    @modelpack.api(batch=True)
    def together(self, x: T["int64", "batch"]) -> T["int64", "batch"]:
        time.sleep(0.02)  # meanwhile others gather
        return np.full_like(x, len(x))

    @modelpack.api
    async def slow(self, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            Demo.dropped = getattr(Demo, "dropped", 0) + 1
            raise
        return seconds

    @modelpack.api
    def dropped_so_far(self) -> int:
        return getattr(Demo, "dropped", 0)

    @modelpack.api
    def fail(self, x: int) -> int:
        raise RuntimeError("of a kind that nobody may see")

    @modelpack.api
    def pid(self) -> int:
        return os.getpid()

    @modelpack.api
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            if number == 5:
                raise RuntimeError("five is too many")
            yield number
"""


def project(folder: Path, text: str = SERVICE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "service.py").write_text(text)
    (folder / "modelpack.yaml").write_text("name: demo\nservice: service:Demo\n")
    return folder


@dataclass
class Served:
    """A server with gRPC, and one connection to it."""

    process: subprocess.Popen[bytes]
    log: Path
    target: str
    url: str
    channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def channel(self) -> grpc.Channel:
        if not self.channels:
            self.channels.append(self.connect(max_receive_message_length=-1))
        return self.channels[0]

    def connect(self, **options: Any) -> grpc.Channel:
        """A connection of its own, to be closed."""
        named = [(f"grpc.{name}", value) for name, value in options.items()]
        return grpc.insecure_channel(self.target, options=named)

    def send(self, path: str, body: bytes, **more: Any) -> bytes:
        """Call a method with the bytes of its message."""
        method = self.channel.unary_unary(path)
        answer: bytes = method(body, timeout=more.pop("timeout", 20), **more)
        return answer

    def call(self, path: str, request: Any, answer: str, **more: Any) -> Any:
        """Call a method; ``answer`` is the name of the message that comes back."""
        return message(answer).FromString(self.send(path, request.SerializeToString(), **more))

    def infer(self, **fields: Any) -> Any:
        """Call ModelInfer."""
        more = {key: fields.pop(key) for key in ("metadata", "timeout") if key in fields}
        request = message("inference.ModelInferRequest")(**fields)
        path = "/inference.GRPCInferenceService/ModelInfer"
        return self.call(path, request, "inference.ModelInferResponse", **more)

    def refused(self, **fields: Any) -> tuple[str, str]:
        """Call ModelInfer, which fails; returns its status and what it says."""
        return refusal(lambda: self.infer(**fields))

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [one for one in self.log.read_text().splitlines() if one.startswith("{")]
        return [one for one in map(json.loads, lines) if one["event"] == name]

    def stop(self) -> int:
        for channel in self.channels:
            channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def begin(folder: Path, log: Path, *words: object, target: bool = True) -> Served:
    """Start a server; it is ready when this returns."""
    program = Path(sys.executable).with_name("modelpack")
    arguments = [program, "serve", "--port", "0", "--grpc-port", "0", *words]
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, arguments)), cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("{") and '"ready"' in line:
                ready = json.loads(line)
                return Served(process, log, ready["grpc"], ready["url"])
        time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.fail(f"'modelpack serve' did not get ready:\n{log.read_text()}")


@contextmanager
def starting(tmp: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*words: object, text: str = SERVICE) -> Served:
        folder = project(tmp / f"project-{len(started)}", text)
        started.append(begin(folder, tmp / f"log-{len(started)}", *words))
        return started[-1]

    yield start
    statuses = [one.stop() for one in started]
    assert statuses == [0] * len(started), [one.log.read_text() for one in started]


@pytest.fixture
def serve_grpc(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start servers that end with the test, each with status 0."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests of a module."""
    with starting(tmp_path_factory.mktemp("grpc")) as start:
        yield start()


@pytest.fixture(scope="session")
def start_grpc() -> Callable[..., Any]:
    """Return what starts servers in a folder, for as long as it is open."""
    return starting


@pytest.fixture(scope="session")
def make() -> Callable[[str], Any]:
    """Return the class of a message."""
    return message


@pytest.fixture(scope="session")
def why() -> Callable[..., tuple[str, str]]:
    """Return status and text of a call that fails."""
    return refusal


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``server``, ``client`` and ``ca``, each ``.crt`` and ``.key``."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(line: str) -> None:
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)

    new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    address = "-x509 -days 2 -subj /CN=server -addext subjectAltName=IP:127.0.0.1"
    openssl(f"{new} {address} -keyout server.key -out server.crt")
    openssl(f"{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.crt")
    openssl(f"{new} -subj /CN=client -keyout client.key -out client.csr")
    openssl(
        "x509 -req -days 2 -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt"
    )
    return folder
