"""The client for event loops: a call is awaited.

    AsyncClient(url) ── await .predict(x=…) ──► value
                     ── await .chat(prompt=…) ──► AsyncStream: async for piece in …

One client serves all tasks of one event loop and keeps its connections between calls.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Self

from modelpack.client.calls import (
    Describe,
    Options,
    Pause,
    Reader,
    Send,
    Step,
    Steps,
    Value,
    deadline_of,
)
from modelpack.client.errors import CallError
from modelpack.client.opening import UNSET, changed, open_async
from modelpack.client.place import Tls
from modelpack.client.reply import Answer, Reply
from modelpack.client.retry import Retry
from modelpack.client.schema import Service


class AsyncClient:
    """Calls the apis of one server, from an event loop.

    The parameters are those of ``Client``.  Its apis are methods to be awaited; a name that the
    server does not have is noticed when it is called.  A call that is cancelled leaves the queue of
    the server.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float | None = 60.0,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        priority: str | None = None,
        verify: bool = True,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        form: str = "auto",
    ) -> None:
        self._options = Options(
            timeout_s=timeout_s, retry=retry or Retry(), headers=headers or {}, priority=priority
        )
        tls = Tls(verify=verify, ca=ca, cert=cert, key=key)
        self._wire, self._caller = open_async(url, tls, form)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    async def service(self) -> Service:
        """Return what the server offers: name, version, apis.  Raises CallError."""
        if self._caller.service is not None:
            return self._caller.service
        return await self._described(Describe(None, self._options, deadline_of(self._options)))

    async def call(
        self,
        api: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = UNSET,
        retry: Retry = UNSET,
        headers: Mapping[str, str] = UNSET,
        priority: str | None = UNSET,
        request_id: str | None = UNSET,
    ) -> Answer:
        """Call an api by name; returns and raises as ``Client.call``."""
        options = changed(
            self._options,
            {
                "timeout_s": timeout_s,
                "retry": retry,
                "headers": headers,
                "priority": priority,
                "request_id": request_id,
            },
        )
        return await self._called(api, (), arguments or {}, options)

    async def reload(self) -> Service:
        """Read once more what the server offers.  Raises CallError."""
        return await self._run(self._caller.described(self._options))

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> AsyncRemoteApi:
        if name.startswith("_"):
            raise AttributeError(name)
        return AsyncRemoteApi(self, name)

    def __repr__(self) -> str:
        return f"AsyncClient('{self._wire.place.url}')"

    async def _called(
        self, name: str, positional: tuple[Any, ...], named: Mapping[str, Any], options: Options
    ) -> Answer:
        answer, reply, api = await self._run(self._caller.called(name, positional, named, options))
        if reply.pieces is None:
            return answer
        return replace(answer, value=AsyncStream(reply, self._caller.dialect.reader(api, reply)))

    async def _run(self, steps: Steps[Value]) -> Value:
        """Do what a call asks for, step by step."""
        outcome: Reply | Service | None = None
        error: CallError | None = None
        while True:
            try:
                step = steps.send(outcome) if error is None else steps.throw(error)
            except StopIteration as done:
                value: Value = done.value
                return value
            outcome = error = None
            try:
                outcome = await self._done(step)
            except CallError as failed:
                error = failed

    async def _done(self, step: Step) -> Reply | Service | None:
        if isinstance(step, Send):
            return await self._wire.send(step.request, step.deadline)
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return await self._described(step)

    async def _described(self, step: Describe) -> Service:
        async with self._lock_here():
            known = self._caller.service
            if known is not None and known is not step.known:
                return known
            return await self._run(self._caller.described(step.options, step.deadline))

    def _lock_here(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


class AsyncRemoteApi:
    """One api of a server, as a function of its parameters that is awaited."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._client = client
        self.__name__ = self.__qualname__ = name

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return what the api returns; for a stream, an AsyncStream.  Raises as ``Client.call``."""
        client = self._client
        answer = await client._called(self.__name__, arguments, named, client._options)
        return answer.value


class AsyncStream:
    """The pieces of a stream, as they come; to be read to its end, or closed.

    Raises CallError where the api fails on its way, after the pieces that came before.
    """

    def __init__(self, reply: Reply, reader: Reader) -> None:
        self._pieces = reply.pieces
        self._values = self._read(reader)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._values

    async def __anext__(self) -> Any:
        return await anext(self._values)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Want no more of it: the server stops making it."""
        await self._values.aclose()
        self._pieces.close()

    async def _read(self, reader: Reader) -> AsyncGenerator[Any, None]:
        try:
            async for data in self._pieces:
                for value in reader.feed(data):
                    yield value
            for value in reader.end():
                yield value
        finally:
            self._pieces.close()
