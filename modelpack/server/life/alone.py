"""A server of one process, as it is managed.

    signals, admin socket, companion ──► Alone ──► Server

``supervisor`` is the same for several.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from modelpack.errors import ConflictError, UsageError
from modelpack.frameworks.source import Source
from modelpack.server.life.admin import Managed
from modelpack.server.life.lifecycle import OnReady, Server
from modelpack.server.life.outside import Outside
from modelpack.server.life.swapping import check_swap, tag_for

Companion = Callable[[Managed], Awaitable[None]]
"""Runs beside the server once it is ready, until the server ends."""


class Alone(Managed):
    """A server of one process, as it is managed."""

    def __init__(
        self,
        server: Server,
        outside: Outside,
        companion: Companion | None,
    ) -> None:
        self._server = server
        self._outside = outside
        self._companion = companion
        self._beside: asyncio.Future[None] | None = None
        server.front.reload = self.reload

    def stop(self) -> None:
        """Begin to end; asked for again, end without waiting."""
        if self._server.state == "draining":
            self._server.force()
        else:
            self._outside.stopping()
            self._server.stop()

    async def run(self, on_ready: OnReady | None) -> int:
        """Serve to the end; returns the exit status."""

        def ready(url: str) -> None:
            now = self._server.versions.current
            self._outside.ready(url, now.spec.name, now.tag)
            if on_ready is not None:
                on_ready(url)
            if self._companion is not None:
                self._beside = asyncio.ensure_future(self._companion(self))

        await self._outside.open(self)
        try:
            return await self._server.run(ready)
        finally:
            if self._beside is not None:
                self._beside.cancel()
            self._outside.close()

    @property
    def source(self) -> Source | None:
        """Where the service that is served came from."""
        return self._server.versions.current.source

    async def status(self) -> dict[str, Any]:
        """Return what is served, where and by what."""
        server = self._server
        now, place = server.versions.current, server.place
        return {
            "state": server.state,
            "service": now.spec.name,
            "tag": now.tag,
            **server.facts,
            "pid": os.getpid(),
            "workers": [{"pid": os.getpid(), "state": server.state}],
            "replicas": server.versions.replicas,
            "runner": place.kind if place is not None else None,
        }

    async def swap(self, source: Source, tag: str) -> None:
        """Serve another version from now on."""
        self._check_ready()
        versions = self._server.versions
        now = versions.current
        await asyncio.to_thread(check_swap, now.source, source)
        await versions.prepare(source, tag_for(now.source, now.tag, source, tag))
        versions.commit()
        self._outside.ready(self._server.url, versions.current.spec.name, versions.current.tag)

    async def reload(self) -> None:
        """Serve the same source anew."""
        if self.source is None:
            raise UsageError("this server cannot open its service again")
        await self.swap(self.source, "")

    async def scale(self, replicas: int) -> None:
        """Run the service that many times."""
        self._check_ready()
        await self._server.versions.scale(replicas)

    async def set_workers(self, workers: int) -> None:
        """Refuse: nobody is there to start another one."""
        if workers > 1:
            raise UsageError(
                "this server was started with one worker",
                hint="start it with --workers 2 or more to change their number later",
            )

    def _check_ready(self) -> None:
        if self._server.state != "ready":
            raise ConflictError(f"the server is {self._server.state}", hint="try again later")
