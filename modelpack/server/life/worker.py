"""One of several processes that read requests and write answers: a server under a supervisor.

    python -m modelpack.server.life.worker PARENT CHANNEL LISTENER METRICS SHARE SLOT

    first line of the channel ──► settings, source, tag
    ready, readings, leaving  ──► supervisor
    supervisor ──► accept, drain, retire, force, prepare / commit / discard, scale, readings

The sockets are inherited.  The worker is killed with its supervisor.  A terminal's Ctrl-C and a
group's SIGTERM reach it too: it only says so, since the supervisor knows whether all of them end or
this one alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace

import orjson
import uvloop

from modelpack.config.settings import ServerSettings, settings_from
from modelpack.errors import ModelpackError
from modelpack.frameworks.source import Source
from modelpack.server.http.sharing import Share
from modelpack.server.life.channel import Channel, Handler, Message, error_to
from modelpack.server.life.gathering import gather_through
from modelpack.server.life.lifecycle import Server, Surroundings
from modelpack.server.life.orphans import tie_to
from modelpack.server.life.shared import RunnerViews
from modelpack.server.life.stopping import leave
from modelpack.server.life.worker_args import Given
from modelpack.server.observe.logs import configured
from modelpack.server.observe.snapshot import Plain, to_plain

EXIT_NOT_MADE = 3
"""The service could not be made; the reason went through the channel."""

_TOLD_S = 1.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What the supervisor says first."""

    settings: ServerSettings
    source: Source
    tag: str
    version: int
    """Counts what was swapped in before."""
    listens: bool
    """True: answer probes from the start; else accept nobody until told to."""

    @classmethod
    def read(cls, end: socket.socket) -> Orders:
        """Read them from the channel, and not a byte more; raises EOFError."""
        line = bytearray()
        while not line.endswith(b"\n"):
            seen = end.recv(65536, socket.MSG_PEEK)
            if not seen:
                raise EOFError
            line += end.recv(seen.find(b"\n") + 1 or len(seen))
        plain = orjson.loads(bytes(line))
        source = Source.from_text(plain["source"])
        settings = settings_from(ServerSettings, plain["settings"])
        return cls(settings, source, plain["tag"], plain["version"], plain["listens"])

    @property
    def shares_runners(self) -> bool:
        """True when the supervisor has the runners."""
        return self.settings.runner == "process"


class Worker:
    """A server, and the line to the supervisor."""

    def __init__(
        self, orders: Orders, server: Server, channel: Channel, views: RunnerViews
    ) -> None:
        self._orders = orders
        self._views = views
        self._server = server
        self._channel = channel
        self._is_over = False
        server.front.reload = self._reload

    async def run(self) -> int:
        """Serve until told to stop; returns the exit status."""
        channel, server = self._channel, self._server
        listening = asyncio.ensure_future(channel.serve(self._handlers()))
        listening.add_done_callback(self._hung_up)
        telling = asyncio.ensure_future(self._keep_telling())
        try:
            status = await server.run(self._ready, is_quiet=not self._orders.listens)
        finally:
            self._is_over = True
            telling.cancel()
        self._tell_readings()
        await channel.finish()
        return status

    def _hung_up(self, _listening: object) -> None:
        """End: without a supervisor nobody would replace this process or stop it."""
        if not self._is_over:
            os._exit(1)

    def leave(self) -> None:
        """Say that this process was told to stop, and let no new request count on it."""
        self._server.warn()
        self._channel.tell("leaving")

    def _ready(self, _url: str) -> None:
        self._channel.tell("ready", **self._facts())

    def _facts(self) -> dict[str, str]:
        versions = self._server.versions
        kind = versions.place.kind if versions.place is not None else ""
        return {"service": versions.current.spec.name, "runner": kind}

    async def _reload(self) -> None:
        """Let all workers serve the same source anew."""
        await self._channel.ask("reload")

    def _handlers(self) -> dict[str, Handler]:
        server = self._server
        return {
            "accept": lambda _: server.listen(),
            "drain": lambda _: server.stop(),
            "retire": lambda _: server.retire(),
            "force": lambda _: server.force(),
            "readings": lambda _: self._readings(),
            "prepare": self._prepare,
            "commit": self._commit,
            "discard": lambda _: server.versions.discard(),
            "scale": lambda message: server.versions.scale(message["replicas"]),
            "settled": lambda _: server.versions.settled(),
            **self._views.handlers(),
        }

    async def _prepare(self, message: Message) -> None:
        source = Source.from_text(message["source"])
        self._views.version = message["version"]
        await self._server.versions.prepare(source, message["tag"])

    def _commit(self, _message: Message) -> dict[str, str]:
        self._server.versions.commit()
        return self._facts()

    def _readings(self) -> list[Plain]:
        readings = self._server.readings()
        if self._orders.shares_runners:
            readings = [replace(one, runners=None) for one in readings]  # who has them counts them
        return to_plain(readings)

    def _tell_readings(self) -> None:
        self._channel.tell("counted", readings=self._readings())

    async def _keep_telling(self) -> None:
        """Send the counts every second, so that they outlive this process."""
        while True:
            await asyncio.sleep(_TOLD_S)
            self._tell_readings()


def main(words: list[str]) -> int:
    """Run a worker; returns its exit status."""
    given = Given(*map(int, words))
    tie_to(given.parent)
    # Its Linux wheel sends telemetry unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGINT, lambda *_: None)  # not ignored: children would inherit that
    end = socket.socket(fileno=given.channel)
    try:
        orders = Orders.read(end)
        return _serve(given, orders, end)
    except EOFError:
        return 1
    except ModelpackError as error:
        # The loop has not begun, or has ended: the socket is ours alone.
        end.setblocking(True)
        end.sendall(orjson.dumps({"type": "failed", "error": error_to(error)}) + b"\n")
        return EXIT_NOT_MADE


def _serve(given: Given, orders: Orders, end: socket.socket) -> int:
    settings = orders.settings
    with (
        configured(settings.log_format, settings.log_level),
        socket.socket(fileno=given.listener) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_run(given, orders, listener, end.dup()))


async def _run(given: Given, orders: Orders, listener: socket.socket, end: socket.socket) -> int:
    channel = await Channel.open(end)
    views = RunnerViews(channel)
    views.version = orders.version
    around = Surroundings(
        metrics_listener=socket.socket(fileno=given.metrics) if given.metrics >= 0 else None,
        share=Share(given.share, given.slot),
        gather=gather_through(channel),
        is_one_of_several=True,
        runners=views.open if orders.shares_runners else lambda _: None,
    )
    spec = orders.source.open()
    server = Server(
        spec, orders.settings, listener, tag=orders.tag, source=orders.source, around=around
    )
    worker = Worker(orders, server, channel, views)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.leave)
    return await worker.run()


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
