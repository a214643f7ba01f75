"""Applications below a path: reached untouched, with their lifespan, over http and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import modelpack
from modelpack.errors import UserCodeError
from modelpack.sdk.mounts import Mount
from modelpack.server.web.mounts import Mounts

Start = Callable[..., Any]

told: list[str] = []


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    told.append("started")
    yield {"greeting": "hello"}
    told.append("stopped")


async def greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.state.greeting} {request.url.path} {request.url.query}")


async def upload(request: Request) -> PlainTextResponse:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return PlainTextResponse(str(size), headers={"x-request-id": "its own"})


async def stream(_request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


async def fail(_request: Request) -> PlainTextResponse:
    raise RuntimeError("a secret")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            if text == "fail":
                raise RuntimeError("a secret")
            await socket.send_text(f"{socket.state.greeting} {text}")
    except WebSocketDisconnect as gone:
        told.append(f"gone {gone.code}")


async def shy(socket: WebSocket) -> None:
    if socket.query_params.get("fail"):
        raise RuntimeError("a secret")
    await socket.close()


APP = Starlette(
    routes=[
        Route("/", greet),
        Route("/page", greet),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/fail", fail),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/shy", shy),
    ],
    lifespan=lifespan,
)


@modelpack.mount("/ui", APP)
@modelpack.service
class Demo:
    @modelpack.api
    def echo(self, text: str) -> str:
        return text


@pytest.fixture
def server(start: Start, lane: str) -> Any:
    told.clear()
    return start(Demo, lane)


def open_socket(server: Any, path: str, **more: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", **more)


# --- http -----------------------------------------------------------------------------------------


def test_a_mounted_application_answers_below_its_path(server: Any) -> None:
    for path in ("/ui/", "/ui/page"):
        answer = server.client.get(path + "?a=1")
        assert (answer.status_code, answer.text) == (200, f"hello {path} a=1")

    assert server.post("/echo", {"text": "still here"}).json() == "still here"
    assert server.client.get("/uix").status_code == 404


def test_the_bare_path_leads_to_the_application(server: Any) -> None:
    answer = server.client.get("/ui?a=1")

    assert (answer.status_code, answer.headers["location"]) == (307, "/ui/?a=1")


def test_its_answers_have_a_request_id_unless_they_bring_one(server: Any) -> None:
    given = server.client.get("/ui/page", headers={"x-request-id": "mine"})
    made = server.client.get("/ui/page")
    brought = server.client.post("/ui/upload", content=b"abc")

    assert given.headers["x-request-id"] == "mine"
    assert made.headers["x-request-id"]
    assert brought.headers.get_list("x-request-id") == ["its own"]


def test_bodies_and_answers_pass_in_pieces(server: Any) -> None:
    def pieces() -> Any:
        for _ in range(50):
            yield b"x" * 10_000

    assert server.client.post("/ui/upload", content=pieces()).text == "500000"
    assert server.client.get("/ui/stream").text == "0\n1\n2\n"


def test_a_body_that_is_too_long_is_refused_however_it_comes(start: Start, lane: str) -> None:
    server = start(Demo, lane, max_body_bytes=1000)

    def pieces() -> Any:
        for _ in range(3):
            yield b"x" * 500

    assert server.client.post("/ui/upload", content=b"x" * 1001).status_code == 413
    assert server.client.post("/ui/upload", content=pieces()).status_code == 413


def test_when_it_fails_the_client_is_told_no_more_than_that(server: Any) -> None:
    answer = server.client.get("/ui/fail")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert server.client.get("/ui/page").status_code == 200


# --- lifespan -------------------------------------------------------------------------------------


def test_its_lifespan_runs_with_the_service(server: Any) -> None:
    assert told == ["started"]
    assert server.stop() == 0
    assert told == ["started", "stopped"]


def test_an_application_without_a_lifespan_is_mounted_all_the_same(start: Start) -> None:
    async def plain(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @modelpack.service
    @modelpack.mount("/plain", plain)
    class Other:
        @modelpack.api
        def echo(self, text: str) -> str:
            return text

    server = start(Other)

    assert server.client.get("/plain/").status_code == 204
    assert server.stop() == 0


def test_one_that_does_not_start_stops_the_service(start: Start) -> None:
    @asynccontextmanager
    async def broken(_app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    @modelpack.mount("/broken", Starlette(lifespan=broken))
    @modelpack.mount("/ui", APP)
    @modelpack.service
    class Other:
        @modelpack.api
        def echo(self, text: str) -> str:
            return text

    told.clear()
    with pytest.raises(UserCodeError, match=r"'/broken' did not start: RuntimeError: no database"):
        start(Other)

    assert told == ["started", "stopped"]


def test_one_that_never_starts_does_not_hold_up_the_end() -> None:
    async def stuck(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        await asyncio.Event().wait()

    async def scenario() -> bool:
        starting = asyncio.ensure_future(Mounts([Mount("/stuck", stuck)], "127.0.0.1").start())
        await asyncio.sleep(0.01)
        starting.cancel()
        await asyncio.wait((starting,), timeout=10)
        return starting.cancelled()

    assert asyncio.run(scenario())


# --- WebSockets -----------------------------------------------------------------------------------


def test_a_websocket_reaches_the_application(server: Any) -> None:
    with open_socket(server, "/ui/echo") as socket:
        for text in ("one", "two", "x" * 100_000):
            socket.send(text)
            assert socket.recv(timeout=20) == f"hello {text}"
        assert socket.response is not None
        assert socket.response.headers["x-request-id"]

    server.wait_until(lambda: told[1:] == ["gone 1000"])
    server.wait_until(lambda: not server.server._state.connections)


def test_what_comes_right_behind_the_handshake_is_read(server: Any) -> None:
    handshake = (
        b"GET /ui/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frame = b"\x81\x82\0\0\0\0hi"
    with server.connect() as connection:
        connection.sendall(handshake + frame)
        got = b""
        while b"hello hi" not in got:
            got += connection.recv(1000)

    assert got.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("path", ["/echo", "/ui", "/uix/echo", "/livez"])
def test_nowhere_else_are_websockets_opened(server: Any, path: str) -> None:
    with pytest.raises(InvalidStatus):
        open_socket(server, path)


def test_an_unknown_path_and_a_refusal_close_the_handshake(server: Any) -> None:
    for path in ("/ui/other", "/ui/shy"):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server, path)
        assert refused.value.response.status_code == 403


def test_an_application_that_fails_ends_its_websocket_only(server: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server, "/ui/shy?fail=1")
    with open_socket(server, "/ui/echo") as socket:
        socket.send("fail")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)

    assert refused.value.response.status_code == 500
    assert b"secret" not in (refused.value.response.body or b"")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert server.client.get("/ui/page").status_code == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Sec-WebSocket-Version: 12", 426),
        ("Sec-WebSocket-Version: 13", 400),
        ("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short", 400),
    ],
)
def test_a_malformed_handshake_is_a_problem(server: Any, line: str, status: int) -> None:
    head = "GET /ui/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket"

    (answer,) = server.send(f"{head}\r\n{line}\r\n\r\n".encode())

    assert answer.status == status
    assert json.loads(answer.body)["code"] == "bad-request"


def test_a_message_may_not_be_longer_than_a_body(start: Start) -> None:
    server = start(Demo, "fast", max_body_bytes=1000)
    with open_socket(server, "/ui/echo") as socket:
        socket.send("x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_open_websockets_are_said_goodbye_to_at_the_end(server: Any) -> None:
    with open_socket(server, "/ui/echo") as socket:
        socket.send("one")
        socket.recv(timeout=20)
        server.loop.call_soon_threadsafe(server.server.stop)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert server.stop() == 0
    assert told == ["started", "gone 1012", "stopped"]


# --- who may ask ----------------------------------------------------------------------------------


def test_on_this_machine_only_known_hosts_are_answered(server: Any) -> None:
    """Else a page of somebody else could reach it by DNS rebinding."""
    answer = server.client.get("/ui/page", headers={"host": "evil.example"})

    assert (answer.status_code, answer.json()["code"]) == (403, "host-refused")
    assert server.client.get("/ui/page", headers={"host": "localhost:1"}).status_code == 200


def test_on_all_addresses_every_host_is(start: Start) -> None:
    server = start(Demo, host="0.0.0.0")

    answer = server.client.get("/ui/page", headers={"host": "digits.example.org"})

    assert answer.status_code == 200


def test_a_page_of_another_origin_may_not_open_a_websocket(server: Any) -> None:
    own = f"http://127.0.0.1:{server.port}"
    with open_socket(server, "/ui/echo", origin=own) as socket:
        socket.send("own")
        assert socket.recv(timeout=20) == "hello own"

    for origin in ("http://evil.example", "http://127.0.0.1:1", "http://localhost", "null"):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server, "/ui/echo", origin=origin)
        assert refused.value.response.status_code == 403


def test_origins_can_be_allowed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_ALLOWED_HOSTS", "pages.example.org")
    server = start(Demo)

    with open_socket(server, "/ui/echo", origin="https://pages.example.org") as socket:
        socket.send("hi")
        assert socket.recv(timeout=20) == "hello hi"
