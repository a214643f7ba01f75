"""Takes all workers of a supervisor to another version, or none of them.

    prepare ──► every worker loads it beside the one it serves
                    all did ──► commit: each answers with it from now on
                    one did not ──► discard: nothing has changed

A worker that was just starting comes with the version from before; it is replaced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from modelpack.errors import ConflictError, ModelpackError
from modelpack.frameworks.source import Source
from modelpack.sdk.reimport import drop_stale_bytecode
from modelpack.server.life.channel import ChannelClosedError
from modelpack.server.life.swapping import check_swap, tag_for
from modelpack.server.observe.logs import event

if TYPE_CHECKING:
    from modelpack.server.life.handle import WorkerProcess
    from modelpack.server.life.supervisor import Supervisor


class Switching:
    """Which version is served, and how it is changed."""

    def __init__(self, supervisor: Supervisor, source: Source, tag: str) -> None:
        self._supervisor = supervisor
        self.source = source
        self.tag = tag
        self.version = 0
        """Counts what was swapped in."""
        self.lock = asyncio.Lock()
        """Held while the set of workers, or what they serve, is being changed."""

    async def swap(self, source: Source, tag: str) -> None:
        """Serve another version; raises what kept a worker from loading it, and changes nothing."""
        if self.lock.locked():
            raise ConflictError("the server is being changed", hint="try again when that is done")
        async with self.lock:
            await asyncio.to_thread(check_swap, self.source, source)
            tag = tag_for(self.source, self.tag, source, tag)
            await self._start_runners(source)
            prepared = await self._prepare(source, tag)
            was, self.source, self.tag = self.tag, source, tag
            self.version += 1
            if "MODELPACK_BUNDLE" in os.environ:  # for workers that are started from now on
                os.environ["MODELPACK_BUNDLE"] = source.folder
            answers = await self._ask_all(prepared, "commit")
            for worker, answer in zip(prepared, answers, strict=True):
                if isinstance(answer, dict):
                    worker.version = self.version
                    worker.service, worker.runner = answer["service"], answer["runner"]
            self._supervisor.crew.keep(self._leave_behind(prepared))
            service = next((one.service for one in prepared if one.service), "")
            event("swapped", service=service, tag=tag, was=was)
            self._supervisor.tell_ready(service)

    async def scale(self, replicas: int) -> None:
        """Run the service that many times, in runners or in every worker; raises what they say."""
        async with self.lock:
            if (shared := self._supervisor.shared) is not None:
                await shared.scale(replicas)
                return
            ready = self._supervisor.crew.ready
            answers = await self._ask_all(ready, "scale", replicas=replicas)
            for error in _errors(answers):
                raise error

    async def _start_runners(self, source: Source) -> None:
        """Start runners for the version that comes, if runners are shared; raises what one says."""
        if (shared := self._supervisor.shared) is not None:
            if source.code_folder is not None:
                await asyncio.to_thread(drop_stale_bytecode, source.code_folder)
            await shared.start(self.version + 1, source)

    async def _leave_behind(self, changed: list[WorkerProcess]) -> None:
        """Replace workers with another version, and end runners that nobody calls any more."""
        others = [one for one in self._supervisor.crew.present if one.version != self.version]
        await asyncio.gather(*(self._supervisor.crew.renew(worker) for worker in others))
        if (shared := self._supervisor.shared) is not None:
            await self._ask_all(changed, "settled")
            await asyncio.gather(*(worker.until() for worker in others))
            await shared.retire_before(self.version)

    async def _prepare(self, source: Source, tag: str) -> list[WorkerProcess]:
        """Let every worker load the version; returns those that have, and live."""
        ready = self._supervisor.crew.ready
        answers = await self._ask_all(
            ready, "prepare", source=source.to_text(), tag=tag, version=self.version + 1
        )
        errors = _errors(answers)
        alive = [w for w, answer in zip(ready, answers, strict=True) if not _is_gone(answer)]
        if errors or not alive:
            await self._ask_all(ready, "discard")
            if (shared := self._supervisor.shared) is not None:
                await shared.retire(self.version + 1)
            raise errors[0] if errors else ConflictError("no worker serves", hint="try again")
        return alive

    async def _ask_all(
        self, workers: list[WorkerProcess], kind: str, **fields: str | int
    ) -> list[Any]:
        """Return what each worker answers, or the error that it raises."""
        asked: list[Awaitable[Any]] = [one.channel.ask(kind, None, **fields) for one in workers]
        return await asyncio.gather(*asked, return_exceptions=True)


def _is_gone(answer: object) -> bool:
    return isinstance(answer, ChannelClosedError)


def _errors(answers: list[Any]) -> list[ModelpackError]:
    return [one for one in answers if isinstance(one, ModelpackError) and not _is_gone(one)]
