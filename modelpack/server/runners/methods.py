"""A method of the service as a runner calls it: plain values come out, or a stream of them.

    instance ──plain_method──► (**values) ──method──encode──► plain         sync, or async as it is
    instance ──open_stream───► MethodStream ──next, encode──► plain, piece by piece

The same in the serving process and in a process of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from modelpack.sdk.api import ApiSpec
from modelpack.server.batching.rows import column_marker
from modelpack.server.problems import BadOutput
from modelpack.server.runners.threads import Worker

_END = object()


class PlainStream(Protocol):
    """Pieces of a streamed answer, each already plain."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return itself."""

    def __anext__(self) -> Awaitable[Any]:
        """Return the next piece; raises what the generator raises, or BadOutput."""

    async def aclose(self) -> None:
        """Let the generator end where it stands."""


OpenStream = Callable[[Mapping[str, Any]], PlainStream]
"""Begins a stream for decoded arguments; nothing runs before the first piece is asked for."""


def plain_method(api: ApiSpec, instance: object) -> Callable[..., Any]:
    """Return the api's method with its answer turned into plain values; it raises BadOutput too.

    Async when the api is.  What it returns is what ``ApiSpec.encode`` gives, with columns of a
    batched answer still tuples; for an answer that is a file, its bytes.
    """
    method: Callable[..., Any] = getattr(instance, api.attribute)
    encode = _encoder(api)
    if not api.is_async:

        def plain(**values: Any) -> Any:
            answer = method(**values)
            try:
                return encode(answer)
            except Exception as cause:  # user classes take part
                raise bad_output(cause) from cause

        return plain

    async def plain_async(**values: Any) -> Any:
        answer = await method(**values)
        try:
            return encode(answer)
        except Exception as cause:
            raise bad_output(cause) from cause

    return plain_async


def bad_output(cause: Exception) -> BadOutput:
    """Return what says that an answer cannot be encoded."""
    return BadOutput(f"{type(cause).__name__}: {cause}")


def _encoder(api: ApiSpec) -> Callable[[Any], Any]:
    """Return what turns an answer into plain values; it raises anything."""
    returns = api.returns
    encode: Callable[[Any], Any] = returns.encode
    if returns.is_file and not api.is_stream:
        encode = returns.encode_bytes  # type: ignore[attr-defined]
    marker = column_marker(returns) if api.batch is not None else None
    if marker is None:
        return encode
    return lambda answer: marker(encode(answer))


class MethodStream:
    """The pieces that a generator method yields, one at a time as they are asked for.

    A sync generator is advanced in ``worker``, so several streams take turns there; None: where
    the caller is.  A method that returns an iterable is as good as a generator.
    """

    def __init__(
        self,
        api: ApiSpec,
        instance: object,
        values: Mapping[str, Any],
        worker: Worker | None,
        *,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """``on_close`` is called once, when the stream has been closed."""
        self._method = partial(getattr(instance, api.attribute), **values)
        self._is_async = api.is_async
        self._encode = _encoder(api)
        self._worker = worker
        self._on_close = on_close
        self._iterator: Any = None

    def __aiter__(self) -> MethodStream:
        return self

    async def __anext__(self) -> Any:
        """Return the next piece; raises what the generator raises, or BadOutput."""
        if self._iterator is None:
            self._iterator = await self._open()
        if hasattr(self._iterator, "__anext__"):
            value = await anext(self._iterator, _END)
        else:
            value = await self._in_thread(partial(next, self._iterator, _END))
        if value is _END:
            raise StopAsyncIteration
        try:
            return self._encode(value)
        except Exception as cause:
            raise bad_output(cause) from cause

    async def aclose(self) -> None:
        """Let the generator end where it stands; raises what its clean-up raises."""
        iterator, self._iterator = self._iterator, iter(())
        try:
            if hasattr(iterator, "aclose"):
                await iterator.aclose()
            elif hasattr(iterator, "close"):
                await self._in_thread(iterator.close)
        finally:
            on_close, self._on_close = self._on_close, None
            if on_close is not None:
                on_close()

    async def _open(self) -> Any:
        if self._is_async:
            produced = self._method()
            if inspect.isawaitable(produced):
                produced = await produced
        else:
            produced = await self._in_thread(self._method)
        return aiter(produced) if hasattr(produced, "__aiter__") else iter(produced)

    async def _in_thread(self, job: Callable[[], Any]) -> Any:
        return job() if self._worker is None else await self._worker.run(job)
