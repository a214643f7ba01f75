"""The service as a function: loaded once, then asked by events.

    Function.open(source) ──► loaded, warm
    ask(event, deadline) ──request_of──► exchange ──► the application of the server ──result_of──► JSON

It is the same server as behind a port, without one: the same queue, limits, contracts and metrics.
A request may take as long as the invocation has left, less a moment to send the answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time
from typing import Any

import orjson

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.sdk.service import ServiceSpec
from modelpack.server.lambda_.events import InvocationFailedError, Request, request_of, result_of
from modelpack.server.lambda_.exchange import BrokenOffError, Exchange, exchange
from modelpack.server.life.lifecycle import Server, Surroundings
from modelpack.server.wishes import TIMEOUT

SPARE_MS = 50
"""What is kept of an invocation's time to send its answer."""

FLUSH_S = 2.0
"""Longest that sending payloads may keep the next event waiting."""

_REQUEST_ID = b"x-request-id"


class Function:
    """A service that is asked by events."""

    def __init__(
        self, source: Source, settings: ServerSettings, *, tag: str = "", is_shared: bool = False
    ) -> None:
        """Import the service; raises what ``Source.open`` does.

        ``is_shared``: several events may be under way at once, and share batches.
        """
        # Never listens; the server takes nobody in before it is told to.
        self._socket = socket.socket()
        around = Surroundings(is_one_of_several=True)
        spec = source.open() if is_shared else _without_waiting(source.open())
        self.name = spec.name
        self._server = Server(spec, settings, self._socket, tag=tag, around=around)
        self._running: asyncio.Future[int] | None = None

    async def open(self) -> None:
        """Load the service and warm it up; raises what kept it from that."""
        is_ready = asyncio.Event()
        self._running = asyncio.ensure_future(
            self._server.run(lambda _: is_ready.set(), is_quiet=True)
        )
        waiting = asyncio.ensure_future(is_ready.wait())
        await asyncio.wait((self._running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not is_ready.is_set():
            self._running.result()

    async def flush(self) -> None:
        """Send what the payload log holds: from now on the process may be frozen."""
        if self._server.payloads is not None:
            await self._server.payloads.flush(FLUSH_S)

    async def close(self) -> int:
        """End the service; returns the exit status."""
        self._server.stop()
        status = 0 if self._running is None else await self._running
        self._socket.close()
        return status

    async def ask(self, event: bytes, *, request_id: str, deadline_ms: int | None) -> bytes:
        """Return the answer to an event, as JSON; raises InvocationFailedError."""
        async with self.asking(event, request_id=request_id, deadline_ms=deadline_ms) as (
            request,
            answer,
        ):
            try:
                return result_of(request, await answer.whole())
            except BrokenOffError as error:
                raise InvocationFailedError("broken-off", str(error)) from error

    @asynccontextmanager
    async def asking(
        self, event: bytes, *, request_id: str, deadline_ms: int | None
    ) -> AsyncIterator[tuple[Request, Exchange]]:
        """Send what an event asks, and yield it and its answer; raises InvocationFailedError."""
        request = request_of(_parsed(event), self._default_path)
        names = {name for name, _ in request.headers}
        if _REQUEST_ID not in names:
            request.headers.append((_REQUEST_ID, request_id.encode("latin-1")))
        if deadline_ms is not None and TIMEOUT not in names:
            left_ms = max(1, deadline_ms - SPARE_MS - int(time() * 1000))
            request.headers.append((TIMEOUT, b"%d" % left_ms))
        try:
            async with exchange(self._server.versions.switch, request) as answer:
                yield request, answer
        except BrokenOffError as error:
            raise InvocationFailedError("broken-off", str(error)) from error

    @property
    def _default_path(self) -> str:
        route: str = self._server.versions.current.catalog.default.api.route
        return route


def _without_waiting(spec: ServiceSpec) -> ServiceSpec:
    """Return a service whose calls never wait for company: there is one at a time."""
    apis = tuple(
        api
        if api.batch is None
        else replace(api, batch=replace(api.batch, max_wait_ms=0.0, latency_ms=None))
        for api in spec.apis
    )
    return replace(spec, apis=apis)


def _parsed(event: bytes) -> Any:
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise InvocationFailedError("bad-event", f"the event is not JSON: {error}") from None
