"""Fetches events and sends answers, until the platform ends the process.

    open ──it failed──► init/error, status 1
      └─► next ─► ask ─► response ─► next …          one at a time, or AWS_LAMBDA_MAX_CONCURRENCY
                    └──► error, when an event has no answer

With ``MODELPACK_LAMBDA_INVOKE_MODE=response_stream`` answers are sent as they are made; it has to be
what the function URL was set to (``InvokeMode``), which the event does not tell.  Between two events the
process may be frozen: nothing here has a clock that would notice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from time import perf_counter

import uvloop

from modelpack.config.settings import ServerSettings
from modelpack.errors import LambdaRuntimeError, ModelpackError, UsageError
from modelpack.frameworks.source import Source
from modelpack.server.lambda_.events import (
    STREAMED,
    Answered,
    InvocationFailedError,
    prelude_of,
    result_of,
)
from modelpack.server.lambda_.function import Function
from modelpack.server.lambda_.runtime import Invocation, RuntimeApi
from modelpack.server.life.fitting import Room, ensure_temporary_folder, fitted
from modelpack.server.life.stopping import StopSignals
from modelpack.server.observe.logs import configured, event, log_internal

MODE = "MODELPACK_LAMBDA_INVOKE_MODE"
_TRACE = "_X_AMZN_TRACE_ID"


def serve_events(source: Source, settings: ServerSettings, *, tag: str = "") -> int:
    """Answer events until the end; returns the exit status.

    Raises UsageError for variables that cannot be, LambdaRuntimeError when nobody can be asked for
    events, and what kept the service from being made, which Lambda has been told then.
    """
    loop = Loop(RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"]), os.environ)
    settings = lambda_settings(settings, source)
    with (
        configured(settings.log_format, settings.log_level),
        StopSignals(settings.grace_s) as signals,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        signals.call(runner.get_loop(), loop.stop)
        return runner.run(loop.run(source, settings, tag))


def lambda_settings(settings: ServerSettings, source: Source) -> ServerSettings:
    """Return settings that fit: one process, which has no shared memory for others."""
    from dataclasses import replace

    ensure_temporary_folder()
    if settings.runner == "process":
        settings = replace(settings, runner="auto")
    return fitted(settings, Room.here(source), is_alone=True)


class Loop:
    """Fetches events for one service."""

    def __init__(self, api: RuntimeApi, environ: Mapping[str, str]) -> None:
        """Raises UsageError for variables that cannot be."""
        self._api = api
        mode = environ.get(MODE, "buffered").lower()
        if mode not in ("buffered", "response_stream"):
            raise UsageError(
                f"{MODE}: must be buffered or response_stream, got '{mode[:40]}'",
                hint="set it to what the function URL's InvokeMode is",
            )
        self._streams = mode == "response_stream"
        width = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
        self._width = max(1, int(width)) if width.isdigit() else 1
        self._waiting: set[asyncio.Future[Invocation]] = set()
        self._is_over = False

    def stop(self) -> None:
        """Fetch no more events; those that were fetched are answered."""
        self._is_over = True
        for one in self._waiting:
            one.cancel()

    async def run(self, source: Source, settings: ServerSettings, tag: str) -> int:
        """Load the service and answer events; returns the exit status."""
        began = perf_counter()
        try:
            function = await self._opened(source, settings, tag)
        except ModelpackError as error:
            await self._api.fail_init(error.code, error.message)
            raise
        took_s = round(perf_counter() - began, 3)
        event("ready", platform="lambda", service=function.name, tag=tag, s=took_s)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._width):
                    group.create_task(self._fetch(function))
        except* LambdaRuntimeError as several:
            first: BaseException = several
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        finally:
            status = await function.close()
        return status

    async def _opened(self, source: Source, settings: ServerSettings, tag: str) -> Function:
        is_shared = self._width > 1
        function = await asyncio.to_thread(Function, source, settings, tag=tag, is_shared=is_shared)
        await function.open()
        return function

    async def _fetch(self, function: Function) -> None:
        while not self._is_over:
            coming = asyncio.ensure_future(self._api.next())
            self._waiting.add(coming)
            await asyncio.wait((coming,))
            self._waiting.discard(coming)
            if coming.cancelled():  # by ``stop``
                return
            invocation = coming.result()
            if self._width == 1:  # one at a time: it is that of whatever runs
                _set_trace(invocation.trace)
            await self._answer(function, invocation)
            await function.flush()

    async def _answer(self, function: Function, invocation: Invocation) -> None:
        """Answer one event; whatever goes wrong is said to the platform."""
        try:
            if self._streams:
                await self._answer_streamed(function, invocation)
                return
            result = await function.ask(
                invocation.event, request_id=invocation.id, deadline_ms=invocation.deadline_ms
            )
        except InvocationFailedError as failed:
            event(
                "invocation-failed",
                level=logging.WARNING,
                code=failed.kind,
                request_id=invocation.id,
            )
            await self._api.fail(invocation.id, failed.kind, failed.message)
        except (LambdaRuntimeError, OSError, EOFError):
            raise
        except Exception as error:
            log_internal(error)
            await self._api.fail(invocation.id, "internal", "the server failed; its log says more")
        else:
            await self._api.respond(invocation.id, result)

    async def _answer_streamed(self, function: Function, invocation: Invocation) -> None:
        async with function.asking(
            invocation.event, request_id=invocation.id, deadline_ms=invocation.deadline_ms
        ) as (request, answer):
            if request.kind == "direct":
                if answer.status >= 400:
                    result_of(request, await answer.whole())  # which raises
                kind = dict(answer.headers).get(b"content-type", b"application/octet-stream")
                pieces, content_type = answer.pieces(), kind.decode("latin-1")
            elif request.kind == "v2":
                prelude = prelude_of(answer.status, answer.headers)
                pieces, content_type = _behind(prelude, answer.pieces()), STREAMED
            else:  # nobody streams to a REST API or a load balancer
                whole = await answer.whole()
                result = result_of(request, Answered(whole.status, whole.headers, whole.body))
                await self._api.respond(invocation.id, result)
                return
            await self._api.stream(invocation.id, pieces, content_type)


async def _behind(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for one in others:
        yield one


def _set_trace(trace: str | None) -> None:
    """Let X-Ray's libraries find the trace of the invocation, as Lambda's own runtimes do."""
    if trace is None:
        with suppress(KeyError):
            del os.environ[_TRACE]
    else:
        os.environ[_TRACE] = trace
