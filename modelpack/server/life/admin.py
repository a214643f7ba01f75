"""The admin socket: a few questions and orders to a running server, as JSON over HTTP.

    GET  /status                               what is served, where, by which processes
    POST /swap    {} | {"bundle": FOLDER, "tag": TAG} | {"model": FILE}
    POST /scale   {"replicas": N}
    POST /workers {"workers": N}

    curl --unix-socket /run/digits.sock http://localhost/status

A Unix socket with mode 0600: whoever may open it is the server's own user, who could as well stop it.
There is nothing else here, and no way to stop the server (threat model S13).  One request a connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httptools
import orjson

from modelpack.errors import ConflictError, ModelpackError, NotFoundError, RefusedError, UsageError
from modelpack.frameworks.source import Source
from modelpack.server.observe.logs import event, log_internal

MAX_REQUEST_BYTES = 64 * 1024
READ_TIMEOUT_S = 10.0


class Managed(Protocol):
    """A server that can be managed: one process, or a supervisor with its workers."""

    @property
    def source(self) -> Source | None:
        """Where the service that is served came from; None: it cannot be opened again."""

    async def status(self) -> dict[str, Any]:
        """Return what is served, where and by what, as JSON values."""

    async def swap(self, source: Source, tag: str) -> None:
        """Serve another version from now on; raises, and changes nothing, when it does not load."""

    async def scale(self, replicas: int) -> None:
        """Run the service that many times; raises UsageError."""

    async def set_workers(self, workers: int) -> None:
        """Have that many processes for requests; raises UsageError or ConflictError."""


async def open_admin(listener: socket.socket, managed: Managed) -> asyncio.Server:
    """Answer on the socket until it is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, body = await _answer(reader, managed)
            writer.write(_response(status, body))
            await writer.drain()
        except OSError:
            pass  # it has left
        except Exception as error:
            log_internal(error)
        finally:
            with suppress(OSError):
                writer.close()

    return await asyncio.start_unix_server(answer, sock=listener)


async def _answer(reader: asyncio.StreamReader, managed: Managed) -> tuple[int, object]:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            request = await _read(reader)
    except TimeoutError:
        return 408, _problem("request-timeout", "the request did not arrive in time")
    except (httptools.HttpParserError, ValueError) as error:
        return 400, _problem("bad-request", str(error) or "the request is malformed")
    order = _ORDERS.get((request.method, request.path))
    if order is None:
        if request.path in {path for _, path in _ORDERS}:
            return 405, _problem("method-not-allowed", f"not with {request.method}")
        return 404, _problem("not-found", "there is nothing here")
    try:
        await order(managed, _object(request.body))
        return 200, await managed.status()
    except ModelpackError as error:
        return _status_of(error), _problem(error.code, error.message, error.hint)
    except Exception as error:
        log_internal(error)
        return 500, _problem("internal", "the server made a mistake; see its log")


async def _swap(managed: Managed, body: Mapping[str, Any]) -> None:
    source, tag = _source(managed.source, body), _text(body, "tag")
    event("swap-asked", source=source.folder, tag=tag)
    await managed.swap(source, tag)


async def _scale(managed: Managed, body: Mapping[str, Any]) -> None:
    await managed.scale(_count(body, "replicas"))


async def _set_workers(managed: Managed, body: Mapping[str, Any]) -> None:
    await managed.set_workers(_count(body, "workers"))


async def _nothing(_managed: Managed, _body: Mapping[str, Any]) -> None:
    """Only look."""


_ORDERS: dict[tuple[str, str], Callable[[Managed, Mapping[str, Any]], Awaitable[None]]] = {
    ("GET", "/status"): _nothing,
    ("POST", "/swap"): _swap,
    ("POST", "/scale"): _scale,
    ("POST", "/workers"): _set_workers,
}


def _source(now: Source | None, body: Mapping[str, Any]) -> Source:
    """Return the source that a swap asks for; raises UsageError or NotFoundError."""
    if unknown := sorted(set(body) - {"bundle", "model", "tag"}):
        raise UsageError(f"unknown key '{unknown[0]}'", hint="give bundle, model or tag")
    if now is None:
        raise UsageError(
            "this server cannot open its service again",
            hint="serve it by its import string, its bundle or its model file",
        )
    if folder := _text(body, "bundle"):
        if not Path(folder).is_absolute():
            raise UsageError(f"bundle: '{folder}' is not an absolute path")
        if not Path(folder).is_dir():
            raise NotFoundError(f"no folder '{folder}'", hint="give that of an unpacked bundle")
        return Source("bundle", "", folder)
    if file := _text(body, "model"):
        path = Path(file)
        if not path.is_absolute() or not path.is_file():
            raise NotFoundError(f"no file '{file}'", hint="give the absolute path of a model.onnx")
        return Source("model", path.name, str(path.parent))
    return now


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"{key}: must be text")
    return value


def _count(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if set(body) != {key} or type(value) is not int or not 1 <= value <= 256:
        raise UsageError(f"{key}: must be a whole number from 1 to 256", hint=f'{{"{key}": 2}}')
    return value


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as cause:
        raise UsageError(f"the body is not JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise UsageError("the body must be a JSON object")
    return value


def _status_of(error: ModelpackError) -> int:
    kinds = ((UsageError, 400), (NotFoundError, 404), (ConflictError, 409), (RefusedError, 403))
    return next((status for kind, status in kinds if isinstance(error, kind)), 422)


def _problem(code: str, detail: str, hint: str | None = None) -> dict[str, str | None]:
    return {"code": code, "detail": detail, "hint": hint}


def _response(status: int, body: object) -> bytes:
    content = orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n"
    head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode() + content


_PHRASES = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 422: "Unprocessable Content",
    500: "Internal Server Error",
}  # fmt: skip


@dataclass(slots=True)
class _Request:
    """What httptools calls back for one request."""

    method: str = ""
    path: str = ""
    body: bytes = b""
    is_complete: bool = False
    url: bytes = field(default=b"", repr=False)

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ValueError("a second request")

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


async def _read(reader: asyncio.StreamReader) -> _Request:
    """Read one request; raises ValueError when it is too long or cut short."""
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    size = 0
    while not request.is_complete:
        data = await reader.read(MAX_REQUEST_BYTES)
        size += len(data)
        if not data:
            raise ValueError("the request was cut short")
        if size > MAX_REQUEST_BYTES:
            raise ValueError(f"the request is longer than {MAX_REQUEST_BYTES} bytes")
        parser.feed_data(data)
    request.method = parser.get_method().decode("latin-1")
    request.path = request.url.decode("latin-1")
    return request
