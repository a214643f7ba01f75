"""Connections that speak gRPC: bytes of messages in, bytes of messages out.

    send(Request(path=method, body=message), deadline) ──channel──► Reply(status, trailers, message)

A status of gRPC becomes the one of HTTP that the server gives for the same; the words of our servers
are in the metadata behind a call (``modelpack-code``, ``retry-after``, ``x-request-id``).  grpcio makes
and keeps the connections and looks for proxies; it sends nothing again by itself here.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

from modelpack.client import exchange
from modelpack.client.calls import FOREVER_S
from modelpack.client.errors import CallError, CallLostError
from modelpack.client.place import Place, Tls
from modelpack.client.problems import error_of
from modelpack.client.reply import Reply, Request
from modelpack.errors import ToolMissingError, UsageError

_STATUSES = {
    "INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
"""Statuses of HTTP by those of gRPC (https://grpc.io/docs/guides/status-codes)."""

_NOT_SENT = ("failed to connect", "connections to all backends failing", "DNS resolution failed",
             "Name resolution failure")  # fmt: skip
"""How grpcio begins to say that nothing was sent."""

_TRIED = re.compile(r"^(?:\w+: )?ipv[46]:\S+: ")
"""How it begins to say what happened at an address."""


class GrpcWire:
    """Sends requests and waits for the answers."""

    def __init__(self, place: Place, tls: Tls) -> None:
        """Raises ToolMissingError without the packages of gRPC."""
        self.place = place
        self._grpc = library()
        self._credentials = _credentials(self._grpc, place, tls)
        self._channel: Any = None
        self._lock = threading.Lock()

    def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; raises CallLostError and CallTimeoutError when there is none."""
        left_s = _left(deadline, self.place)
        metadata = _metadata(request.headers)
        channel = self._open()
        try:
            if request.is_stream:
                call = channel.stream_stream(request.path)(
                    iter([bytes(request.body)]), timeout=left_s, metadata=metadata
                )
                return Reply(200, dict(request.headers), bytearray(), _Pieces(self.place, call))
            body, call = channel.unary_unary(request.path).with_call(
                bytes(request.body), timeout=left_s, metadata=metadata
            )
        except self._grpc.RpcError as error:
            return failed(self.place, error, error.trailing_metadata())
        return Reply(200, _trailers(call.trailing_metadata()), bytearray(body))

    def close(self) -> None:
        """Close the connections."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _open(self) -> Any:
        with self._lock:
            if self._channel is None:
                target, options = self.place.address, _options(self.place)
                self._channel = (
                    self._grpc.insecure_channel(target, options)
                    if self._credentials is None
                    else self._grpc.secure_channel(target, self._credentials, options)
                )
            return self._channel


class _Pieces:
    """The messages of a stream."""

    def __init__(self, place: Place, call: Any) -> None:
        self._place, self._call = place, call

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._call
        except library().RpcError as error:
            raise ended(self._place, error, error.trailing_metadata()) from None

    def close(self) -> None:
        """Want no more of it."""
        self._call.cancel()


class AsyncGrpcWire:
    """Sends requests and awaits the answers."""

    def __init__(self, place: Place, tls: Tls) -> None:
        """Raises ToolMissingError without the packages of gRPC."""
        self.place = place
        self._grpc = library()
        self._credentials = _credentials(self._grpc, place, tls)
        self._channel: Any = None
        self._loop: Any = None

    async def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; raises CallLostError and CallTimeoutError when there is none."""
        left_s = _left(deadline, self.place)
        metadata = _metadata(request.headers)
        channel = self._open()
        try:
            if request.is_stream:
                call = channel.stream_stream(request.path)(
                    _only(bytes(request.body)), timeout=left_s, metadata=metadata
                )
                pieces = _AsyncPieces(self.place, call)
                return Reply(200, dict(request.headers), bytearray(), pieces)
            call = channel.unary_unary(request.path)(
                bytes(request.body), timeout=left_s, metadata=metadata
            )
            body = await call
            return Reply(200, _trailers(await call.trailing_metadata()), bytearray(body))
        except self._grpc.RpcError as error:
            return failed(self.place, error, error.trailing_metadata())

    async def close(self) -> None:
        """Close the connections."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            options, self._loop = _options(self.place), loop
            aio = import_module("grpc.aio")
            if self._credentials is None:
                self._channel = aio.insecure_channel(self.place.address, options)
            else:
                self._channel = aio.secure_channel(self.place.address, self._credentials, options)
        return self._channel


class _AsyncPieces:
    """The messages of a stream."""

    def __init__(self, place: Place, call: Any) -> None:
        self._place, self._call = place, call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for message in self._call:
                yield message
        except library().RpcError as error:
            raise ended(self._place, error, error.trailing_metadata()) from None

    def close(self) -> None:
        """Want no more of it."""
        self._call.cancel()


def library() -> Any:
    """Return grpcio; raises ToolMissingError."""
    try:
        import_module("google.protobuf")
        return import_module("grpc")
    except ImportError:
        raise ToolMissingError(
            "grpc:// needs packages that are not installed",
            hint="pip install 'modelpack-cli[grpc]'",
        ) from None


def failed(place: Place, error: Any, trailers: Any) -> Reply:
    """Return the answer that a failed call had; raises the error for a call without one."""
    headers = _trailers(trailers)
    code, details = error.code().name, str(error.details() or "")
    if "modelpack-code" not in headers:
        if code == "DEADLINE_EXCEEDED":
            raise exchange.not_in_time(place) from None
        if code == "UNAVAILABLE":
            raise _lost(place, details) from None
    title, _, detail = details.partition(": ")
    problem = {"title": title, "detail": detail, "code": headers.get("modelpack-code", "")}
    body = bytearray(json.dumps(problem).encode())
    status = _STATUSES.get(code, 500)
    return Reply(status, {**headers, "content-type": "application/problem+json"}, body)


def ended(place: Place, error: Any, trailers: Any) -> CallError:
    """Return the error with which a stream ended."""
    try:
        return error_of(failed(place, error, trailers), "")
    except CallError as lost:
        return lost


def _lost(place: Place, details: str) -> CallLostError:
    lost = exchange.broken(place, _why(details))
    lost.may_have_run = not details.startswith(_NOT_SENT)
    if not lost.may_have_run:
        lost.hint = "is the server running, and is that its port for gRPC?"
    return lost


def _why(details: str) -> str:
    """Return what grpcio says of a connection, without what is known: which address was tried."""
    said = details[:400].lower()
    if "http/2" in said or "http1" in said:
        return "what answers there does not speak gRPC"
    said = _TRIED.sub("", said.rpartition("last error: ")[2])
    return said[:200] or "it is not available"


def _left(deadline: float, place: Place) -> float | None:
    """Return the seconds until a deadline; None: there is none."""
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise exchange.not_in_time(place)
    return None if left_s > FOREVER_S / 2 else left_s


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items())


def _trailers(trailers: Any) -> dict[str, str]:
    return {key: value for key, value in trailers or () if isinstance(value, str)}


def _options(place: Place) -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.enable_http_proxy", 0 if place.is_here else 1),
    ]


def _credentials(grpc: Any, place: Place, tls: Tls) -> Any:
    if not place.is_tls:
        return None
    if not tls.verify:
        raise UsageError(
            "gRPC has no connection without a check of the certificate",
            hint="name the file of its authority: ca, or --ca",
        )
    tls.context()  # says what is wrong with the files; grpcio only fails to connect
    ca, cert, key = (
        None if file is None else Path(file).read_bytes()
        for file in (tls.ca, tls.cert, tls.key or tls.cert)
    )
    return grpc.ssl_channel_credentials(ca, key if cert else None, cert)


async def _only(message: bytes) -> AsyncIterator[bytes]:
    yield message
