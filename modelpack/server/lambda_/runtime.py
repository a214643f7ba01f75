"""The Runtime API of Lambda, version 2018-06-01, over plain HTTP.

    GET  /runtime/invocation/next              waits for an event; the process may be frozen meanwhile
    POST /runtime/invocation/ID/response       the answer, whole or in chunks
    POST /runtime/invocation/ID/error          there is none
    POST /runtime/init/error                   the service could not be made

Each request has a connection of its own: one that was kept over a freeze may be dead without
anybody having said so, and on the loopback a new one costs next to nothing.  There is no time-out,
as the specification asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson

from modelpack.errors import LambdaRuntimeError

VERSION = "2018-06-01"
_MAX_HEAD = 256 * 1024
_TRIES = 5
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event."""

    id: str
    event: bytes
    """JSON."""
    deadline_ms: int | None
    """When the function times out, in milliseconds since 1970; None: it was not said."""
    trace: str | None
    """X-Ray's header."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of the Runtime API."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RuntimeApi:
    """Speaks with the Runtime API at ``host:port``."""

    def __init__(self, address: str) -> None:
        self._address = address
        host, _, port = address.rpartition(":")
        self._host, self._port = (host, int(port)) if port.isdigit() and host else (address, 80)

    async def next(self) -> Invocation:
        """Return the next event; raises LambdaRuntimeError when there is nobody to ask."""
        for left in reversed(range(_TRIES)):
            try:
                said = await self._ask("GET", "invocation/next")
                if said.status == 200 and "lambda-runtime-aws-request-id" in said.headers:
                    break
                why = f"status {said.status}"
            except (OSError, EOFError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
            if not left:
                raise LambdaRuntimeError(
                    f"no event from the Runtime API at '{self._address}': {why}",
                    hint="AWS_LAMBDA_RUNTIME_API is set by Lambda; unset it to serve over HTTP",
                )
            await asyncio.sleep(_PAUSE_S)
        deadline = said.headers.get("lambda-runtime-deadline-ms", "")
        return Invocation(
            id=said.headers["lambda-runtime-aws-request-id"],
            event=said.body,
            deadline_ms=int(deadline) if deadline.isdigit() else None,
            trace=said.headers.get("lambda-runtime-trace-id"),
        )

    async def respond(self, invocation: str, result: bytes) -> None:
        """Send the answer, which is JSON; one that is too long becomes an error."""
        said = await self._post(f"invocation/{invocation}/response", result, {})
        if said.status == 413:
            text = f"the answer has {len(result)} bytes, more than Lambda takes"
            await self.fail(invocation, "response-too-large", text)

    async def stream(
        self, invocation: str, pieces: AsyncIterator[bytes], content_type: str
    ) -> None:
        """Send an answer piece by piece; what ends the pieces early is said behind them."""
        path = f"invocation/{invocation}/response"
        headers = {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Content-Type": content_type,
            "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        }
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_HEAD)
        try:
            writer.write(self._head("POST", path, headers))
            end = b"0\r\n\r\n"
            try:
                async for piece in pieces:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
            except OSError:
                raise
            except Exception as error:
                end = _trailers(type(error).__name__, str(error))
            writer.write(end)
            await writer.drain()
            await _read(reader)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def fail(self, invocation: str, kind: str, message: str) -> None:
        """Say that an invocation has no answer."""
        await self._post(f"invocation/{invocation}/error", *_error(kind, message))

    async def fail_init(self, kind: str, message: str) -> None:
        """Say that there is no service, so that nothing will be asked."""
        with suppress(OSError, EOFError, ValueError):
            await self._ask("POST", "init/error", *_error(kind, message))

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Said:
        """Post something for an invocation; once more when the connection broke unanswered."""
        try:
            return await self._ask("POST", path, body, headers)
        except (OSError, EOFError, ValueError):
            await asyncio.sleep(_PAUSE_S)
        try:
            return await self._ask("POST", path, body, headers)
        except (OSError, EOFError, ValueError) as cause:
            raise LambdaRuntimeError(
                f"the Runtime API at '{self._address}' takes no answer: {cause}",
                hint="Lambda starts the function again",
            ) from cause

    async def _ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Said:
        """Send one request; raises OSError, EOFError and ValueError."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_HEAD)
        try:
            own = {"Content-Type": "application/json", **(headers or {})}
            if method == "POST":
                own["Content-Length"] = str(len(body))
            writer.write(self._head(method, path, own) + body)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} /{VERSION}/runtime/{path} HTTP/1.1", f"Host: {self._address}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["User-Agent: modelpack", "Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def _error(kind: str, message: str) -> tuple[bytes, dict[str, str]]:
    body = {"errorMessage": message, "errorType": kind, "stackTrace": []}
    return orjson.dumps(body), {"Lambda-Runtime-Function-Error-Type": f"modelpack.{kind}"}


def _trailers(kind: str, message: str) -> bytes:
    import base64

    body = base64.b64encode(orjson.dumps({"errorMessage": message, "errorType": kind}))
    lines = b"Lambda-Runtime-Function-Error-Type: %b\r\nLambda-Runtime-Function-Error-Body: %b\r\n"
    return b"0\r\n" + lines % (kind.encode(), body) + b"\r\n"


async def _read(reader: asyncio.StreamReader) -> Said:
    """Read an answer; raises OSError, EOFError (it breaks off) and ValueError (it is none)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Said(status, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    return b"".join(pieces)
