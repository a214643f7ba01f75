"""What the main process of a server is to the rest of this machine.

admin socket          questions and orders          (admin)
run/PID.json          so that ``modelpack servers`` finds it
$NOTIFY_SOCKET        the service manager is told   (notify)
process 1             buries the dead               (orphans)
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from modelpack.config.settings import ServerSettings
from modelpack.errors import ModelpackError
from modelpack.server.http.listening import addresses
from modelpack.server.life.admin import Managed, open_admin
from modelpack.server.life.notify import Notifier
from modelpack.server.life.orphans import SWEEP_S, Undertaker
from modelpack.server.life.record import RunRecord
from modelpack.server.life.sockets import private_socket
from modelpack.server.observe.logs import event, log_internal


class Outside:
    """Opened before the server, closed after it."""

    def __init__(self, settings: ServerSettings, record: RunRecord | None) -> None:
        self._settings = settings
        self._record = record
        self._notifier = Notifier()
        self._stack = ExitStack()
        self._socket: socket.socket | None = None
        self._closing: list[Callable[[], object]] = []

    def __enter__(self) -> Outside:
        """Take the admin socket; raises as ``private_socket`` does when one was asked for."""
        if self._settings.admin_socket is not None:
            path = Path(self._settings.admin_socket).absolute()
            self._socket = self._stack.enter_context(private_socket(path))
            if self._record is not None:
                self._record = RunRecord(self._record.file, path)
        elif self._record is not None:
            try:
                self._socket = self._stack.enter_context(private_socket(self._record.socket))
            except (ModelpackError, OSError) as error:  # nobody asked: it does without
                event("no-admin-socket", level=logging.DEBUG, error=str(error))
                self._record = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Take socket and note away."""
        if self._record is not None:
            self._record.remove()
        self._stack.close()

    async def open(self, managed: Managed) -> None:
        """Answer on the admin socket, and do the duties of process 1; called on the event loop."""
        if self._socket is not None:
            self._closing.append((await open_admin(self._socket, managed)).close)
        if os.getpid() == 1:
            self._closing.append(asyncio.ensure_future(_bury_the_dead()).cancel)

    def ready(self, url: str, service: str, tag: str) -> None:
        """Let everybody know that requests are answered."""
        self._notifier.tell("READY=1")
        if self._record is not None:
            try:
                where = addresses(url, self._settings)
                self._record.write(**where, service=service, tag=tag)
            except OSError as error:
                event("no-record", level=logging.DEBUG, error=str(error))

    def stopping(self) -> None:
        """Let the service manager know that the end has begun."""
        self._notifier.tell("STOPPING=1")

    def close(self) -> None:
        """Answer nobody any more; called on the event loop."""
        for close in self._closing:
            close()


async def _bury_the_dead() -> None:
    undertaker = Undertaker()
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            undertaker.sweep()
        except Exception as error:
            log_internal(error)
