"""One runner process, as its parent sees it.

    Order ──► Popen, its order over the control channel ──ready──► info, page ──► ended (status)
                                                       └──failed──► an error that says why

The process group is its own: a signal that a terminal or a service manager sends to the server's
group is the server's to decide about.  It dies with the thread that started it, so that has to be one
that lasts (the main one).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from modelpack.config.settings import ServerSettings, changed_settings
from modelpack.errors import ModelpackError, UserCodeError
from modelpack.frameworks.machine import thread_variables, threads_for
from modelpack.frameworks.source import Source
from modelpack.server.life.init import why_killed
from modelpack.server.runners.process.arena import ArenaError
from modelpack.server.runners.process.child import CONTROL_BYTES
from modelpack.server.runners.process.link import RunnerInfo
from modelpack.server.runners.process.page import PageView

_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a runner process is to do."""

    id: int
    number: int
    """Which of the replicas it is, from 0: it says which device it takes."""
    copies: int
    """How many equal ones share the machine."""
    source: Source
    settings: ServerSettings
    socket: Path

    def to_text(self) -> str:
        """Return what the process reads first."""
        return json.dumps(
            {
                "source": self.source.to_text(),
                "settings": changed_settings(self.settings),
                "socket": str(self.socket),
                "number": self.number,
                "copies": self.copies,
            }
        )


class Spawned:
    """A runner process from its start to its end."""

    def __init__(self, order: Order, *, on_leave: Callable[[Spawned], None]) -> None:
        """Start it; raises OSError.  ``on_leave`` is called when it asks to be relieved."""
        self._loop = asyncio.get_running_loop()
        self._on_leave = on_leave
        self._order = order
        self._began = monotonic()
        self._page: PageView | None = None
        self._answers = 0
        self.ready: asyncio.Future[ModelpackError | None] = self._loop.create_future()
        """None when it takes calls, else why it does not."""
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """Its exit status; below 0: the signal that killed it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _start(order, theirs)
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        self._control = ours
        self.info = RunnerInfo(order.id, self._process.pid, str(order.socket))
        self._tell(order.to_text())
        self._watched = os.pidfd_open(self._process.pid)
        self._loop.add_reader(ours.fileno(), self._read)
        self._loop.add_reader(self._watched, self._end)

    def drain(self) -> None:
        """Have it end after what it has."""
        self._tell(json.dumps({"drain": {}}))

    def kill(self) -> None:
        """End it at once, and whatever it started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def answers(self) -> int:
        """Calls that it has answered."""
        return self._answers if self._page is None else self._page.answers

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return monotonic() - self._began

    @property
    def silence_s(self) -> float:
        """Seconds since its event loop last turned; 0 while it loads."""
        return 0.0 if self._page is None else self._page.beat_age_s

    @property
    def is_busy(self) -> bool:
        """True while a call runs in it."""
        return self._page is not None and self._page.is_busy

    @property
    def how_it_ended(self) -> str:
        """What its exit status says, in words."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        if why := why_killed(-status):
            return f"killed, because {why}"
        with suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"

    def _tell(self, text: str) -> None:
        with suppress(OSError):  # it is gone: the end says so
            self._control.send(text.encode())

    def _read(self) -> None:
        """Take a message of the process."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            message = json.loads(data) if data else {}
            if not data:
                self._loop.remove_reader(self._control.fileno())
            elif "ready" in message and descriptors:
                self._page = PageView(descriptors[0])
                _set(self.ready, None)
            elif "failed" in message:
                _set(self.ready, error_of(message["failed"]))
            elif "leave" in message:
                self._on_leave(self)
        except (ValueError, ArenaError, OSError, KeyError, TypeError, AttributeError) as error:
            _set(self.ready, UserCodeError(f"the runner process talks nonsense: {error}"))
            self.kill()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _end(self) -> None:
        """Bury the process."""
        # What it started goes with it: until it is reaped its number is its own.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._loop.remove_reader(self._watched)
        os.close(self._watched)
        status = self._process.wait()
        self._read()  # its last words may still be there
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        page, self._page = self._page, None
        if page is not None:
            self._answers = page.answers
            page.close()
        with suppress(OSError):
            self._order.socket.unlink(missing_ok=True)
        said = f"a runner process ended before it was ready: {self.how_it_ended}"
        hint = "its output above may say why; 'runner: thread' loads the service in the server"
        _set(self.ready, UserCodeError(said, hint=hint))
        _set(self.ended, status)


def _start(order: Order, control: socket.socket) -> subprocess.Popen[bytes]:
    threads = threads_for(order.settings.threads, order.copies)
    # -P: what lies in the current folder must not be imported in place of a library.
    flags = ["-I"] if sys.flags.isolated else ["-P"]
    module = "modelpack.server.runners.process.child"
    return subprocess.Popen(
        [sys.executable, *flags, "-m", module, str(control.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=_STANDARD_ERROR,
        pass_fds=[control.fileno()],
        process_group=0,
        env={**os.environ, **thread_variables(threads)},
    )


def error_of(failed: Any) -> ModelpackError:
    """Return the error that a process says it ended with."""
    message, hint = str(failed["message"]), failed.get("hint")
    error = UserCodeError(message, hint=None if hint is None else str(hint))
    code, exit_code = str(failed["code"]), int(failed["exit_code"])
    if (code, exit_code) == (error.code, error.exit_code):
        return error
    kind = type("RunnerFailed", (ModelpackError,), {"code": code, "exit_code": exit_code})
    other: ModelpackError = kind(message, hint=error.hint)
    return other


def _set(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)
