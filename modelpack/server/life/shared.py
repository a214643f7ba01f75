"""Runner processes that all workers of a supervisor share.

    supervisor: SharedRunners ──RunnerManager, one for each version──► runner processes
                     │ runner-up, runner-gone, runner-hope              ▲ private sockets
                     ▼                                                  │
    worker:     RunnerViews ──RunnerView──► ProcessPlace ───────────────┘
                     └── kill-runner, scale-runners ──► supervisor

The supervisor starts and ends them; what goes through them it never sees.  While versions are swapped
there are two sets of runners.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.server.life.channel import Channel, ChannelClosedError, Handler, Message
from modelpack.server.observe.stats import ApiStats, Reading, RunnerStats
from modelpack.server.runners.process.link import RunnerInfo
from modelpack.server.runners.process.manager import OnHope, OnRunner, RunnerManager
from modelpack.server.runners.process.places import private_folder


class Tells(Protocol):
    """Sends a message to every worker."""

    def __call__(self, kind: str, /, **fields: object) -> None:
        """Send it."""


class SharedRunners:
    """The runners, on the supervisor's side."""

    def __init__(self, settings: ServerSettings, tell: Tells) -> None:
        self._settings = settings
        self._tell = tell
        self._sets: dict[int, RunnerManager] = {}
        self._folders: dict[int, Path] = {}
        self._ups = self._asked_for = 0

    async def start(self, version: int, source: Source) -> None:
        """Start the runners of a version and wait until they are ready; raises what one says."""
        folder = self._folders[version] = private_folder()
        manager = self._sets[version] = RunnerManager(
            source,
            self._settings,
            folder,
            lambda info: self._up(version, info),
            lambda info: self._tell("runner-gone", version=version, info=asdict(info)),
            on_hope=lambda hope: self._tell("runner-hope", version=version, hope=hope),
        )
        self._asked_for += self._settings.replicas
        try:
            await manager.start(self._settings.replicas)
        except BaseException:
            await self.retire(version)
            raise

    async def retire(self, version: int) -> bool:
        """End the runners of a version; returns False when one did not end well."""
        manager, folder = self._sets.pop(version, None), self._folders.pop(version, None)
        is_clean = await manager.close() if manager is not None else True
        if folder is not None:
            with suppress(OSError):
                shutil.rmtree(folder)
        return is_clean

    async def retire_before(self, version: int) -> None:
        """End the runners of all versions before that one."""
        await asyncio.gather(*(self.retire(one) for one in list(self._sets) if one < version))

    async def close(self) -> bool:
        """End all; returns False when one did not end well."""
        return all(await asyncio.gather(*(self.retire(version) for version in list(self._sets))))

    async def scale(self, replicas: int) -> None:
        """Have that many runners of every version; raises what a new one says."""
        for manager in list(self._sets.values()):
            await manager.scale(replicas)
            self._asked_for += max(0, replicas - self._settings.replicas)
        self._settings = replace(self._settings, replicas=replicas)

    def handlers(self) -> dict[str, Handler]:
        """Return what answers the workers."""
        return {"runners": self._list, "kill-runner": self._kill, "scale-runners": self._scale}

    def reading(self) -> Reading:
        """Return what the metrics show of the runners: workers that share them would count twice."""
        running = sum(len(manager.running) for manager in self._sets.values())
        replaced = self._ups - self._asked_for
        restarts = {"process": replaced} if replaced > 0 else {}
        return Reading(ApiStats(""), None, 0, runners=RunnerStats({"process": running}, restarts))

    def _up(self, version: int, info: RunnerInfo) -> None:
        self._ups += 1
        self._tell("runner-up", version=version, info=asdict(info))

    def _list(self, message: Message) -> dict[str, Any]:
        manager = self._sets.get(message["version"])
        if manager is None:
            return {"infos": [], "hope": True}
        return {"infos": [asdict(one) for one in manager.running], "hope": manager.has_hope}

    def _kill(self, message: Message) -> None:
        manager = self._sets.get(message["version"])
        if manager is not None:
            manager.kill(message["runner"], message["why"])

    async def _scale(self, message: Message) -> None:
        await self.scale(message["replicas"])


class RunnerViews:
    """The runners of every version, on a worker's side."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._views: dict[int, RunnerView] = {}
        self.version = 0
        """The version that is opened next."""

    def open(self, _source: object = None) -> RunnerView:
        """Return the runners of the version that is opened now."""
        view = self._views[self.version] = RunnerView(self._channel, self.version)
        return view

    def handlers(self) -> dict[str, Handler]:
        """Return what takes the supervisor's messages."""
        return {
            "runner-up": lambda message: self._pass(message, RunnerView.up),
            "runner-gone": lambda message: self._pass(message, RunnerView.gone),
            "runner-hope": lambda message: self._pass(message, RunnerView.hope),
        }

    def _pass(self, message: Message, to: Callable[[RunnerView, Message], None]) -> None:
        view = self._views.get(message["version"])
        if view is not None:
            to(view, message)


class RunnerView:
    """The runners of one version, as ``ProcessPlace`` wants them."""

    def __init__(self, channel: Channel, version: int) -> None:
        self._channel = channel
        self._version = version
        self._known: dict[int, RunnerInfo] = {}
        self._watchers: list[tuple[OnRunner, OnRunner, OnHope]] = []
        self._asking: asyncio.Future[None] | None = None

    def watch(self, on_up: OnRunner, on_gone: OnRunner, on_hope: OnHope) -> None:
        """Tell of every change, and first of the runners that are there."""
        self._watchers.append((on_up, on_gone, on_hope))
        for info in self._known.values():
            on_up(info)
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())

    def kill(self, runner_id: int, why: str) -> None:
        """End a runner at once; another one takes its place."""
        self._channel.tell("kill-runner", version=self._version, runner=runner_id, why=why)

    async def scale(self, count: int) -> None:
        """Have that many runners; raises what a new one says that fails."""
        await self._channel.ask("scale-runners", replicas=count)

    def up(self, message: Message) -> None:
        """Take note of a runner that takes calls."""
        info = _info(message["info"])
        if info.id not in self._known:
            self._known[info.id] = info
            for on_up, _, _ in self._watchers:
                on_up(info)

    def gone(self, message: Message) -> None:
        """Take note of a runner that is no more."""
        info = self._known.pop(message["info"]["id"], None)
        if info is not None:
            for _, on_gone, _ in self._watchers:
                on_gone(info)

    def hope(self, message: Message) -> None:
        """Take note of whether any runner is likely soon."""
        for _, _, on_hope in self._watchers:
            on_hope(message["hope"])

    async def _ask(self) -> None:
        with suppress(ChannelClosedError):
            found = await self._channel.ask("runners", version=self._version)
            for info in found["infos"]:
                self.up({"info": info})
            if not found["hope"]:
                self.hope(found)


def _info(plain: Mapping[str, Any]) -> RunnerInfo:
    return RunnerInfo(int(plain["id"]), int(plain["pid"]), str(plain["socket"]))
