"""A small Runtime API, and functions that fetch their events from it.

RuntimeApi ──next──► a function, in a process of its own ──response, error──► Outcome
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json

WAIT_S = 30.0
PREFIX = "/2018-06-01/runtime/"


@dataclass
class Outcome:
    """What a function said of one invocation, or of its start."""

    kind: str
    """``response``, ``error`` or ``init``."""
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str] = field(default_factory=dict)
    pieces: int = 1

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RuntimeApi:
    """The Runtime API of one function, as Lambda has it."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, bytes, int]] = queue.Queue()
        self.outcomes: dict[str, Outcome] = {}
        self.changed = threading.Condition()
        self.breaks_next = 0
        """So many times the connection breaks instead of giving an event."""
        self.largest = 6 * 1024 * 1024
        self._count = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                assert self.path == f"{PREFIX}invocation/next"
                if owner.breaks_next:
                    owner.breaks_next -= 1
                    self.close_connection = True
                    return
                one = owner.next_event()
                if one is None:
                    self.close_connection = True
                    return
                request_id, event, deadline_ms = one
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline_ms))
                arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
                self.send_header("Lambda-Runtime-Trace-Id", f"Root=1-{request_id}")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:
                pieces = self._body()
                trailers = self._trailers if pieces is not None else {}
                body = b"".join(pieces)
                headers = {name.lower(): value for name, value in self.headers.items()}
                words = self.path.removeprefix(PREFIX).split("/")
                too_large = words[-1] == "response" and len(body) > owner.largest
                if not too_large:
                    kind = "init" if words[0] == "init" else words[-1]
                    name = "init" if kind == "init" else words[1]
                    outcome = Outcome(kind, headers, body, trailers, len(pieces))
                    owner.said(name, outcome)
                self.send_response(413 if too_large else 202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _body(self) -> list[bytes]:
                self._trailers: dict[str, str] = {}
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return [self.rfile.read(int(self.headers.get("Content-Length", 0)))]
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                while line := self.rfile.readline().strip():
                    name, _, value = line.decode().partition(": ")
                    self._trailers[name.lower()] = value
                return pieces

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a function that was ended asks no more
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def next_event(self) -> tuple[str, bytes, int] | None:
        return self.events.get()

    def said(self, name: str, outcome: Outcome) -> None:
        with self.changed:
            self.outcomes[name] = outcome
            self.changed.notify_all()

    def send(self, event: Any, *, within_s: float = 20.0) -> str:
        """Queue an event; returns the id of its invocation."""
        self._count += 1
        request_id = f"id-{self._count}"
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.events.put((request_id, data, int((time.time() + within_s) * 1000)))
        return request_id

    def wait(self, name: str) -> Outcome:
        """Return what was said of an invocation, or of the start (``init``)."""
        with self.changed:
            assert self.changed.wait_for(lambda: name in self.outcomes, WAIT_S), "nothing was said"
            return self.outcomes[name]

    def invoke(self, event: Any, *, within_s: float = 20.0) -> Outcome:
        return self.wait(self.send(event, within_s=within_s))

    def close(self) -> None:
        for _ in range(8):  # whoever still waits for an event
            self.events.put(("over", b"{}", 0))
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


SERVICE = '''
import asyncio, os, time
from collections.abc import Iterator
import modelpack

@modelpack.service
class Many:
    """Adds, and more."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1)

    @modelpack.api
    def count(self, to: int, fails: bool = False) -> Iterator[int]:
        yield from range(to)
        if fails:
            raise RuntimeError("on purpose")

    @modelpack.api
    async def wait(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"

    @modelpack.api
    def trace(self) -> str:
        return os.environ.get("_X_AMZN_TRACE_ID", "none")

    @modelpack.api
    def picture(self, data: bytes) -> bytes:
        return data[::-1]

    @modelpack.api
    def long(self, size: int) -> str:
        return "x" * size
'''


def write_bundle(folder: Path, code: str = SERVICE, service: str = "service:Many") -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "service.py").write_text(code)
    manifest = BundleManifest(
        service=service,
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256="0" * 64,
        apis=(),
        settings={},
    )
    (folder / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    return folder


OURS = (sys.executable, "-I", "-m", "modelpack.server")
AWS = (sys.executable, "-m", "awslambdaric", "modelpack.server.lambda_.handler.handler")

Begin = Callable[..., tuple[RuntimeApi, Any]]


@contextmanager
def running(who: str, bundle: Path, **environ: str) -> Iterator[tuple[RuntimeApi, Any]]:
    """Run a function in a process of its own; gives its Runtime API and the process."""
    api = RuntimeApi()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    process = subprocess.Popen(
        OURS if who == "ours" else AWS,
        env={
            **clean,
            "MODELPACK_BUNDLE": str(bundle),
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "MODELPACK_LOG_FORMAT": "json",
            "AWS_LAMBDA_FUNCTION_NAME": "test",
            **environ,
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd="/",
    )
    try:
        yield api, process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        api.close()


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a function; it is ended after the test."""
    with ExitStack() as stack:
        yield lambda who, bundle, **environ: stack.enter_context(running(who, bundle, **environ))


@pytest.fixture
def code() -> str:
    """The service that the functions of these tests have."""
    return SERVICE


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write an unpacked bundle of some code, or of ``SERVICE``."""
    return lambda code=SERVICE: write_bundle(tmp_path / "bundle", code)


@pytest.fixture(scope="module", params=["ours", "awslambdaric"])
def function(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RuntimeApi]:
    """The Runtime API of a function with our loop, and of one with AWS's own client."""
    bundle = write_bundle(tmp_path_factory.mktemp("function") / "bundle")
    with running(request.param, bundle) as (api, _):
        yield api


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeApi]:
    """A function whose answers are sent as they are made."""
    bundle = write_bundle(tmp_path_factory.mktemp("streaming") / "bundle")
    with running("ours", bundle, MODELPACK_LAMBDA_INVOKE_MODE="RESPONSE_STREAM") as (api, _):
        yield api
