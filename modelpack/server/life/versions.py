"""The versions of the service in this process: the one that answers, the next one, those that end.

    prepare(source) ─► loads and warms up beside the current one ─► commit() ─► it answers
                          └─► it failed, or discard(): nothing has changed
    the one before ─► finishes its calls ─► shut-down hooks ─► gone; its counts stay

Tasks and guests (models that SageMaker loads) belong to the process: they outlive its versions.
What always holds: every route changes at one moment of the event loop; a request is answered by the
version that was there when its head was read; a version that does not load changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from modelpack.config.settings import ServerSettings
from modelpack.errors import ConflictError, ModelpackError, UserCodeError
from modelpack.frameworks.source import Source
from modelpack.sdk.reimport import TakenOut, taken_out
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.registry import guests_of
from modelpack.server.http.front import Front
from modelpack.server.life.generation import Generation, Switch
from modelpack.server.observe.logs import event
from modelpack.server.observe.processes import Processes
from modelpack.server.observe.snapshot import Gather, Totals
from modelpack.server.observe.stats import Reading
from modelpack.server.observe.watching import Watching
from modelpack.server.runners.place import Place, open_place

if TYPE_CHECKING:
    from modelpack.server.observe.payloads.log import PayloadLog
    from modelpack.server.runners.process.place import Runners
    from modelpack.server.tasks.engine import Tasks


_LET_GO_S = 0.1
"""How long the threads of a version may take to let go of it, before it is collected."""


class Versions:
    """What the connections of one process are answered by."""

    def __init__(
        self,
        settings: ServerSettings,
        front: Front,
        state: ServerState,
        *,
        fast_lane: bool,
        gather: Gather,
        runners: Callable[[Source | None], Runners | None],
    ) -> None:
        """``runners`` gives what ``open_place`` takes under that name, for each version its own."""
        self.tasks: Tasks | None = None
        """Those of the process, which outlive its versions; None: it takes none."""
        self.payloads: PayloadLog | None = None
        """Takes what goes in and out of all versions; None: nobody does."""
        self._settings = settings
        self._front = front
        self._state = state
        self._fast_lane = fast_lane
        self._gather = gather
        self._runners = runners
        self._totals = Totals()
        self._processes = Processes()
        self._next: _Next | None = None
        self._ending: dict[Generation, asyncio.Task[bool]] = {}
        self._is_clean = True
        self._count = 0  # of versions that were made
        self._guests = guests_of(settings, self._code_folders)

    def begin(self, spec: ServiceSpec, tag: str, source: Source | None) -> None:
        """Take the first version, which is not loaded yet; raises UsageError."""
        self._watching = Watching(self._settings, spec.name, self.payloads)
        if self._guests is not None:
            self._guests.watching = self._watching
        self.current = self._make(spec, tag, source)
        self._front.problem_writer = self.current.faces.problem_writer
        self.switch = Switch(self.current.app)
        self.metrics = Switch(self.current.metrics)

    async def load(self) -> None:
        """Load the first version; raises what ``open_place`` raises."""
        self.current.place = await self._open(self.current)
        self._route()

    async def prepare(self, source: Source, tag: str) -> None:
        """Load another version beside the current one; it answers from ``commit`` on.

        Raises ConflictError while another is being prepared, and what ``Source.open`` and
        ``open_place`` raise.
        """
        if self._next is not None:
            raise ConflictError(
                "another version is being loaded", hint="try again when it has been taken"
            )
        self._next = coming = _Next()
        try:
            old = self.current.source
            async with self._guests.importing if self._guests else nullcontext():
                spec = await asyncio.to_thread(coming.open, source, old, self.current.spec)
                coming.generation = generation = self._make(spec, tag, source)
            generation.place = await self._open(generation)
            if self._next is not coming:
                await generation.end()
                raise ConflictError("the server is stopping")
        except BaseException as error:
            await self.discard()
            if isinstance(error, ModelpackError) or not isinstance(error, Exception):
                raise
            text = f"the new version does not load: {type(error).__name__}: {error}"
            raise UserCodeError(text, hint="the old version goes on") from error

    def commit(self) -> None:
        """Let the version that was prepared answer from now on."""
        coming = self._next
        if coming is None or coming.generation is None or coming.generation.place is None:
            raise ConflictError("no version was prepared")
        old, self.current, self._next = self.current, coming.generation, None
        if self.current.source is not None and "MODELPACK_BUNDLE" in os.environ:
            os.environ["MODELPACK_BUNDLE"] = self.current.source.folder
        self._route()
        self._ending[old] = asyncio.ensure_future(self._end(old))
        event("swapped", service=self.current.spec.name, tag=self.current.tag, was=old.tag)

    async def discard(self) -> None:
        """Forget the version that was being prepared, if there is one."""
        coming, self._next = self._next, None
        if coming is None:
            return
        coming.put_back()
        if coming.generation is not None:
            coming.generation.close()
            await coming.generation.end()

    async def scale(self, replicas: int) -> None:
        """Run the current version, and those to come, that many times; raises as ``Place.scale``."""
        if self.current.place is not None:
            await self.current.place.scale(replicas)
        self._settings = replace(self._settings, replicas=replicas)

    @property
    def replicas(self) -> int:
        """How often the service runs."""
        return self._settings.replicas

    def _route(self) -> None:
        """Point everything that leads to an endpoint at the current version."""
        front = self._front
        self.switch.app = self.current.app
        self.metrics.app = self.current.metrics
        front.socket_paths = self.current.mounts.paths
        front.problem_writer = self.current.faces.problem_writer
        if self._fast_lane:
            front.fast = self.current.fast_routes
        front.forget()

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints of every version that may still have calls, and those of the guests."""
        own = [one for version in (self.current, *self._ending) for one in version.endpoints]
        return [*own, *self._guests.endpoints] if self._guests else own

    @property
    def place(self) -> Place | None:
        """Where the current version runs; None: it is not loaded."""
        return self.current.place

    def readings(self) -> list[Reading]:
        """Return the counts of all versions, those that are gone too."""
        for version in (self.current, *self._ending):
            self._totals.update(version.name, version.readings())
        if self._guests:
            self._totals.update("guests", [one.reading() for one in self._guests.endpoints])
        return self._totals.readings()

    async def settled(self) -> None:
        """Return when only the current version is left."""
        while self._ending:
            await asyncio.wait(self._ending.values())

    async def close(self) -> bool:
        """End every version, its calls being over; returns False when a shut-down hook failed."""
        await self.discard()
        if self._guests:
            self._guests.refuse()
        for version in list(self._ending):
            version.close()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._ending.values())
        self.current.close()
        self._is_clean = await self.current.end() and self._is_clean
        if self._guests:
            self._is_clean = await self._guests.close() and self._is_clean
        return self._is_clean

    def _code_folders(self) -> list[Path]:
        """Return where the modules of all versions are imported from, the coming one's too."""
        coming = self._next.generation if self._next is not None else None
        there = [self.current, *self._ending, *([coming] if coming is not None else [])]
        sources = [version.source for version in there if version.source is not None]
        return [one.code_folder for one in sources if one.code_folder is not None]

    def _make(self, spec: ServiceSpec, tag: str, source: Source | None) -> Generation:
        self._count += 1
        return Generation(
            spec,
            self._settings,
            self._front,
            tag=tag,
            number=self._count,
            source=source,
            watching=self._watching,
            gather=self._gather,
            processes=self._processes,
            tasks=self.tasks,
            guests=self._guests,
        )

    async def _open(self, version: Generation) -> Place:
        place = await open_place(
            version.spec,
            version.endpoints,
            self._settings,
            source=version.source,
            runners=self._runners(version.source),
        )
        try:
            await version.mounts.start()
        except BaseException:
            await place.close()
            raise
        return place

    async def _end(self, version: Generation) -> bool:
        """Let a version finish its calls, then close it; returns False when a hook failed."""
        began = monotonic()
        limit_s = max(self._settings.grace_s, self._settings.request_timeout_s)
        is_whole = await version.finish(self._state, limit_s)
        version.close()
        self._front.forget()
        is_clean = await version.end()
        self._totals.update(version.name, version.readings())
        self._totals.retire(version.name)
        del self._ending[version]
        self._is_clean = self._is_clean and is_clean
        took_s = round(monotonic() - began, 3)
        event("version-ended", tag=version.tag, clean=is_whole and is_clean, s=took_s)
        del version
        await asyncio.sleep(_LET_GO_S)
        settle()
        return is_clean


class _Next:
    """A version that is being loaded."""

    def __init__(self) -> None:
        self.generation: Generation | None = None
        self._before: TakenOut | None = None
        self._is_given_up = False

    def open(self, source: Source, old: Source | None, running: ServiceSpec) -> ServiceSpec:
        """Import the service, and take over what the running one has loaded; not on the loop."""
        folders = {one.code_folder for one in (source, old) if one is not None} - {None}
        self._before = taken_out(folder for folder in folders if folder is not None)
        try:
            spec = source.open()
            for model in spec.models.values():
                model.adopt(running.models.values())
        finally:
            if self._is_given_up:  # meanwhile: nobody waits for this thread any more
                self.put_back()
        return spec

    def put_back(self) -> None:
        """Let the modules of before be the ones that are imported."""
        self._is_given_up = True
        if self._before is not None:
            self._before.put_back()


def settle() -> None:
    """Tell the garbage collector that what is there now stays: it need not look at it again."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
