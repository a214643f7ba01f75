"""What runs on a node, without Ray: the relay over real sockets, the child as a real process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from modelpack_ray.node import relay
from modelpack_ray.node.child import Child
from modelpack_ray.node.relay import Relay
from modelpack_ray.node.service import service_env

_WITHIN_S = 60.0

FAKE_SERVER = '''\
"""Stands for the server: notes its address, answers /readyz, ends when it is told to."""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

if os.environ.get("BREAKS"):
    print(json.dumps({"event": "failed", "error": "no weights for you"}), flush=True)
    sys.exit(1)
server = HTTPServer(("127.0.0.1", 0), Ready)
print(json.dumps({"event": "hello", "pid": os.getpid()}), flush=True)
url = f"http://127.0.0.1:{server.server_address[1]}"
with open(os.environ["MODELPACK_RUN_RECORD"] + ".part", "w") as file:
    json.dump({"url": url}, file)
os.rename(os.environ["MODELPACK_RUN_RECORD"] + ".part", os.environ["MODELPACK_RUN_RECORD"])
server.serve_forever()
'''


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A program that is Python, but for ``-m modelpack.server``."""
    server = tmp_path / "server.py"
    server.write_text(FAKE_SERVER)
    program = tmp_path / "python"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *"-c "*) exec {sys.executable} "$@";; esac\n'
        f"exec {sys.executable} {server}\n"
    )
    program.chmod(0o755)
    return program


def child_at(python: Path, folder: Path, log: Path | None = None, **env: str) -> Child:
    return Child(python, env={**os.environ, **env}, folder=folder, log_file=log, grace_s=5.0)


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_a_child_is_ready_when_it_is_made_and_gone_when_it_is_stopped(
    python: Path, tmp_path: Path
) -> None:
    log = tmp_path / "server.log"
    child = child_at(python, tmp_path, log)
    child.check()
    pid = json.loads(log.read_text())["pid"]
    child.stop()
    child.stop()
    assert is_gone(pid)
    with pytest.raises(RuntimeError, match="has ended"):
        child.check()


def test_a_child_that_never_gets_ready_says_why(python: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended before it was ready: no weights for you"):
        child_at(python, tmp_path, tmp_path / "server.log", BREAKS="1")


REPLICA = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from modelpack_ray.node.child import Child
child = Child(Path(sys.argv[2]), env=dict(os.environ), folder=Path(sys.argv[3]),
              log_file=Path(sys.argv[3], "server.log"), grace_s=5.0)
print("ready", flush=True)
sys.stdin.read()
"""


def replica(python: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a process with a child, as a replica is one; return it and the id of the child."""
    source = str(Path(relay.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", REPLICA, source, str(python), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, int(json.loads((folder / "server.log").read_text())["pid"])


def test_the_server_ends_with_its_replica_even_when_that_is_killed(
    python: Path, tmp_path: Path
) -> None:
    process, pid = replica(python, tmp_path)
    with process:
        process.kill()
    wait_for(lambda: is_gone(pid))


def test_a_replica_ends_with_its_server(python: Path, tmp_path: Path) -> None:
    process, pid = replica(python, tmp_path)
    with process:
        os.kill(pid, signal.SIGKILL)
        assert process.wait(_WITHIN_S) == 1


def test_the_service_sees_its_own_variables_and_none_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the cluster")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("MODELPACK_SECRET_TOKEN", "of the service")
    env = service_env({"env": {"A": "b"}, "bundle": "digits:1"}, Path("/b"))
    assert "RAY_AUTH_TOKEN" not in env
    assert "MODELPACK_SECRET_TOKEN" not in env
    assert (env["A"], env["TOKEN"], env["CUDA_VISIBLE_DEVICES"]) == ("b", "of the service", "3")
    assert (env["MODELPACK_HOST"], env["MODELPACK_PORT"]) == ("127.0.0.1", "0")


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Any]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[list[str]]:
    """A server of bytes behind the relay; yields the requests that came, head and body."""
    heads: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            heads.append(head)
            await answer(reader, writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    relay.CHILD = SimpleNamespace(url=f"http://127.0.0.1:{port}")  # type: ignore[assignment]
    try:
        yield heads
    finally:
        relay.CHILD = None
        listening.close()
        await listening.wait_closed()


class Client:
    """What Ray's proxy is to a replica: gives the messages of a request, keeps those of the answer."""

    def __init__(self, app: Relay, *messages: dict[str, Any], **scope: Any) -> None:
        self.app = app
        self.messages = list(messages) or [{"type": "http.request", "body": b""}]
        self.sent: list[dict[str, Any]] = []
        self.scope = {
            "type": "http",
            "method": "POST" if messages else "GET",
            "path": "/digits/predict",
            "raw_path": b"/digits/predict",
            "root_path": "/digits",
            "query_string": b"",
            "headers": [(b"host", b"models.example"), (b"connection", b"keep-alive")],
            **scope,
        }

    async def receive(self) -> dict[str, Any]:
        if self.messages:
            return self.messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def run(self) -> Client:
        await self.app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


async def closed(app: Relay) -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")

    await app({"type": "lifespan"}, receive, send)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
    """Answer with the body that came."""
    body = b""
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            body = await reader.readexactly(int(line.partition(":")[2]))
        if line.startswith("transfer-encoding: chunked"):
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
    start = b"HTTP/1.1 201 Created\r\nx-mine: \xe9\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
    writer.write(start + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


def test_a_request_reaches_the_server_below_its_route_and_its_answer_comes_back() -> None:
    async def run() -> None:
        app = Relay()
        async with server(echo) as heads:
            body = {"type": "http.request", "body": b'{"x": [[1]]}'}
            client = await Client(
                app, body, raw_path=b"/digits/a%2Fb%20c", query_string=b"q=%41"
            ).run()
            await closed(app)
        assert heads[0].startswith("POST /a%2Fb%20c?q=%41 HTTP/1.1\r\n")
        assert "models.example" in heads[0]
        assert "user-agent" not in heads[0].lower()
        assert (client.status, client.body) == (201, b'{"x": [[1]]}')
        headers = client.sent[0]["headers"]
        assert (b"x-mine", b"\xe9") in headers
        assert [value for name, value in headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
        assert b"connection" not in dict(headers)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("scope", "line"),
    [
        ({"path": "/digits", "raw_path": b"/digits"}, "GET / HTTP"),
        ({"path": "/digitsx", "raw_path": b"/digitsx", "root_path": ""}, "GET /digitsx HTTP"),
        ({"path": "/digits/é", "raw_path": None}, "GET /"),
        ({"path": "/readyz", "raw_path": b"/readyz", "root_path": "/"}, "GET /readyz HTTP"),
    ],
)
def test_the_path_is_that_below_the_route(scope: dict[str, Any], line: str) -> None:
    async def run() -> None:
        app = Relay()
        async with server(echo) as heads:
            await Client(app, **scope).run()
            await closed(app)
        assert heads[0].startswith(line)

    asyncio.run(run())


def test_a_body_in_pieces_is_streamed() -> None:
    async def run() -> None:
        app = Relay()
        async with server(echo) as heads:
            pieces = [
                {"type": "http.request", "body": b"one ", "more_body": True},
                {"type": "http.request", "body": b"", "more_body": True},
                {"type": "http.request", "body": b"two", "more_body": False},
            ]
            client = await Client(app, *pieces).run()
            await closed(app)
        assert "chunked" in heads[0].lower()
        assert client.body == b"one two"

    asyncio.run(run())


def test_a_stream_is_passed_on_piece_by_piece() -> None:
    """The second piece is written only after the first one has arrived at the client."""

    async def run() -> None:
        app, has_come = Relay(), asyncio.Event()

        async def stream(_: Any, writer: asyncio.StreamWriter, __: str) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await asyncio.wait_for(has_come.wait(), _WITHIN_S)
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

        async with server(stream):
            client = Client(app)

            async def send(message: Any) -> None:
                client.sent.append(dict(message))
                if message.get("body") == b"one":
                    has_come.set()

            await app(client.scope, client.receive, send)
            await closed(app)
        assert client.body == b"onetwo"

    asyncio.run(run())


def test_a_client_that_leaves_ends_the_request_at_the_server() -> None:
    async def run() -> None:
        app, begun, ended = Relay(), asyncio.Event(), asyncio.Event()

        async def hang(reader: asyncio.StreamReader, _: Any, __: str) -> None:
            begun.set()
            await reader.read()  # until the other side closes
            ended.set()

        async with server(hang):
            task = asyncio.create_task(Client(app).run())
            await asyncio.wait_for(begun.wait(), _WITHIN_S)
            task.cancel()  # as Serve does
            await asyncio.wait_for(ended.wait(), _WITHIN_S)
            await closed(app)

    asyncio.run(run())


def test_an_answer_that_is_cut_off_is_no_whole_answer() -> None:
    async def run() -> None:
        app = Relay()

        async def cut(_: Any, writer: asyncio.StreamWriter, __: str) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            await writer.drain()

        async with server(cut):
            client = Client(app)
            with pytest.raises(Exception, match=r"(?i)payload"):
                await client.run()
            await closed(app)
        assert all(message.get("more_body") for message in client.sent[1:])

    asyncio.run(run())


def test_a_server_that_is_not_there_is_503_with_a_problem() -> None:
    async def run() -> None:
        app = Relay()
        client = await Client(app).run()
        assert client.status == 503
        assert json.loads(client.body)["code"] == "not-ready"
        relay.CHILD = SimpleNamespace(url="http://127.0.0.1:9")  # type: ignore[assignment]
        try:
            again = await Client(app).run()
        finally:
            relay.CHILD = None
            await closed(app)
        assert again.status == 503

    asyncio.run(run())
