"""Answers chunks of rows with one api of a service.

    chunk ──RowReader──► groups ──ask──► batcher ──► answers, put together in the order of the rows
                           └──it failed: in halves, until only the row fails that is the reason

Several chunks are in the works at a time, so the runner never waits for the next one.  What always
holds: a row of a chunk is in its answer once, or among its bad rows once; when nothing can run the
service, no row is blamed for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from time import perf_counter
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.server.batching.rows import merge
from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.logs import log_internal
from modelpack.server.observe.snapshot import to_plain
from modelpack.server.observe.stats import ApiStats, Reading
from modelpack.server.offline.call import Refusal, ask
from modelpack.server.offline.frames import receive, to_bytes
from modelpack.server.offline.rows import Bad, Group, RowReader, halves_of
from modelpack.server.runners.place import Place

TICK_S = 0.1
"""How often time-outs are looked for."""

_PATIENCE_S = 60.0
_PAUSE_S = 0.5
_MOST_CALLS = 64
"""Calls of an async api without a batch that run at a time."""


class OfflineEndpoint(Endpoint):
    """An api whose rows come from a file."""

    def __init__(self, api: ApiSpec, settings: ServerSettings) -> None:
        super().__init__(api, settings)
        self.decoding = api
        """The variant of the api that says how a body is read where the method runs."""

    def read_as(self, api: ApiSpec) -> None:
        """Decode as that variant says."""
        super().read_as(api)
        self.decoding = api


class Serving:
    """The service, for as long as there are chunks."""

    def __init__(
        self,
        channel: socket.socket,
        endpoint: OfflineEndpoint,
        place: Place,
        constants: dict[str, Any],
    ) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._place = place
        self._reader = RowReader(endpoint.decoding, constants)
        self._writing = asyncio.Lock()
        # What is queued waits there; calls of an async api without a batch begin all at once.
        is_crowd = endpoint.api.is_stream or (endpoint.api.is_async and endpoint.api.batch is None)
        self._room: AbstractAsyncContextManager[Any] = (
            asyncio.Semaphore(_MOST_CALLS) if is_crowd else nullcontext()
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until the other side is gone, or hangs up with nothing left to answer."""
        ticking = asyncio.ensure_future(self._tick())
        try:
            while (message := await receive(self._channel)) is not None:
                task = asyncio.ensure_future(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            ticking.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(ticking, *self._tasks, return_exceptions=True)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        try:
            reply = await self._reply(message)
        except Refusal as why:
            reply = {"failed": {"code": why.code, "message": why.detail, "hint": None}}
        except Exception as error:
            log_internal(error)
            said = f"{type(error).__name__}: {error}"
            reply = {"failed": {"code": "internal", "message": said, "hint": None}}
        await self._send(reply)

    async def _reply(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if "readings" in message:
            return {"readings": to_plain(self._readings())}
        number = message["chunk"]
        began = perf_counter()
        groups, bad = self._reader.read(message, frozenset(message.get("dead", ())))
        if message.get("careful"):
            groups = [one for group in groups for one in self._singles(group)]
            done = [await self._run_carefully(number, group) for group in groups]
        else:
            done = await asyncio.gather(*[self._run(group) for group in groups])
        answers = [pair for pairs, _ in done for pair in pairs]
        bad += [one for _, worse in done for one in worse]
        good, answer = self._joined(answers)
        return {
            "chunk": number,
            "good": good,
            "answer": answer,
            "bad": [one.to_plain() for one in sorted(bad, key=lambda one: one.place)],
            "run_s": perf_counter() - began,
        }

    def _joined(self, answers: Sequence[tuple[Group, Any]]) -> tuple[list[int], Any]:
        """Return the places in order, and the answers for them: columns, or one answer a row."""
        if not answers:
            return [], None
        places = [place for group, _ in answers for place in group.places]
        parts = [answer for _, answer in answers]
        return places, parts if self._endpoint.api.batch is None else _whole(parts)

    async def _run(self, group: Group) -> tuple[list[tuple[Group, Any]], list[Bad]]:
        """Return the answers of a group, and which of its rows have none."""
        try:
            async with self._room:
                return [(group, await self._asked(group))], []
        except Refusal as why:
            if why.is_passing:
                raise
            if len(group.places) == 1:
                return [], [Bad(group.places[0], why)]
        answers: list[tuple[Group, Any]] = []
        bad: list[Bad] = []
        for half in halves_of(group, self._endpoint.api.batched):
            more, worse = await self._run(half)
            answers += more
            bad += worse
        return answers, bad

    async def _run_carefully(
        self, number: int, group: Group
    ) -> tuple[list[tuple[Group, Any]], list[Bad]]:
        """Run one row, having said so: should this process die of it, it is known which it was."""
        await self._send({"chunk": number, "at": group.places[0]})
        return await self._run(group)

    def _singles(self, group: Group) -> list[Group]:
        if len(group.places) == 1:
            return [group]
        first, second = halves_of(group, self._endpoint.api.batched)
        return self._singles(first) + self._singles(second)

    async def _asked(self, group: Group) -> Any:
        """Ask; while nothing can run the service, and it is not for long, ask again."""
        end = perf_counter() + _PATIENCE_S
        while True:
            try:
                return await ask(self._endpoint, group.arguments)
            except Refusal as why:
                if not why.is_passing or perf_counter() > end:
                    raise
            await asyncio.sleep(_PAUSE_S)

    def _readings(self) -> list[Reading]:
        return [self._endpoint.reading(), Reading(ApiStats(""), None, 0, runners=self._place.stats)]

    async def _send(self, message: Mapping[str, Any]) -> None:
        data = to_bytes(message)
        async with self._writing:
            with suppress(ConnectionError):  # nobody reads any more: the next read ends this
                await asyncio.get_running_loop().sock_sendall(self._channel, data)

    async def _tick(self) -> None:
        while True:
            self._endpoint.expire()
            await asyncio.sleep(TICK_S)


def _whole(parts: list[Any]) -> Any:
    """Return the answers of several calls as one; rows of different shapes become a list."""
    try:
        return merge(parts)
    except ValueError:
        return merge([_listed(part) for part in parts])


def _listed(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return {key: _listed(column) for key, column in answer.items()}
    if isinstance(answer, tuple):
        return tuple(_listed(column) for column in answer)
    return list(answer)
