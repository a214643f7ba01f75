"""A worker process as its supervisor sees it.

    spawn ─► starting ─"ready"─► ready ─retire / drain─► ending ─► gone
                └── dies, or says "failed" ──────────────────────► gone

The process gets its sockets by inheritance and its orders through a socket pair.  It is started by
the main thread, which lives as long as the supervisor: the kernel kills it with that thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic

import orjson

from modelpack.config.settings import ServerSettings
from modelpack.errors import ModelpackError
from modelpack.frameworks.source import Source
from modelpack.server.life.channel import Channel
from modelpack.server.life.worker_args import Given

_REAP_STEP_S = 0.01
_REAP_S = 5.0


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker."""

    slot: int
    """Its place among the others, the lowest that was free."""
    version: int
    """Which of the versions that were swapped in it was started with, or has taken."""
    process: subprocess.Popen[bytes]
    channel: Channel
    began: float = field(default_factory=monotonic)
    state: str = "starting"
    """``starting``, ``ready``, ``ending`` or ``gone``."""
    accepts: bool = False
    """True when it accepts connections."""
    service: str = ""
    runner: str = ""
    """Where its methods run."""
    error: ModelpackError | None = None
    """Why the service could not be made."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever ``state`` changes."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def name(self) -> str:
        """What its counts are kept under: no two workers ever have the same."""
        return f"{self.slot}-{self.pid}-{self.began}"

    def become(self, state: str) -> None:
        """Change the state, and wake who waits for that."""
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, *states: str) -> None:
        """Return once it is in one of the states, or gone."""
        while self.state not in (*states, "gone"):
            await self.changed.wait()

    async def reap(self) -> int:
        """Wait for the end of the process, and force it when it takes long; returns its status."""
        end = monotonic() + _REAP_S
        while (status := self.process.poll()) is None:
            if monotonic() >= end:
                self.process.kill()
            await asyncio.sleep(_REAP_STEP_S)
        return status


async def spawn(
    slot: int,
    version: int,
    *,
    settings: ServerSettings,
    source: Source,
    tag: str,
    listens: bool,
    listener: socket.socket,
    metrics: socket.socket | None,
    share: int,
) -> WorkerProcess:
    """Start a worker; call it from the main thread.  Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        given = Given(
            parent=os.getpid(),
            channel=theirs.fileno(),
            listener=listener.fileno(),
            metrics=metrics.fileno() if metrics is not None else -1,
            share=share,
            slot=slot,
        )
        inherited = [number for number in given.descriptors if number >= 0]
        process = subprocess.Popen(
            [*python(), "-m", "modelpack.server.life.worker", *given.words()],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
        )
    orders = {
        "settings": asdict(settings),
        "source": source.to_text(),
        "tag": tag,
        "version": version,
        "listens": listens,
    }
    ours.sendall(orjson.dumps(orders) + b"\n")
    ours.setblocking(False)
    channel = await Channel.open(ours)
    return WorkerProcess(slot, version, process, channel, accepts=listens)


def python() -> Sequence[str]:
    """Return this interpreter, as careful as this process was started.

    ``-P``: nothing in the current folder stands in for a module of Python.
    """
    careful = ["-I"] if sys.flags.isolated else ["-P"]
    return [sys.executable, *careful, *(["-O"] * sys.flags.optimize)]
