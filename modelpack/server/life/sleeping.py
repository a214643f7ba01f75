"""Process 1 of a container whose server is there only while it is wanted.

    keeper of the port ──start──► process 1 ──fork──► a server, which begins from nothing
                       ──stop───► process 1 ──SIGTERM──► it passes its connections on, drains, ends
    the engine's SIGTERM ──────► process 1 ──SIGTERM──► server … ends with its status

    $MODELPACK_SLEEPS   serial number and policy, which are passed on to the keeper
    $MODELPACK_PORT_KEEPER, $MODELPACK_PORT_GROUP    as for the server (``kept_port``)

Nothing of the service is loaded here, so what sleeps holds a few megabytes, no GPU, and costs no
processor time.  What always holds: signals and the dead are taken care of as by any process 1
(``init``); a keeper that is gone is looked for again, and the server goes on meanwhile; a server
that ends by itself is started again, a little later each time, and the third time in a row the
container ends with its status, so that the engine and whoever looks at it see it.

The messages are in ``modelpack.deploy.port_keeper``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl

from modelpack.server.life.init import HEARD, TOLD, bury_the_dead, fork, handles, hold, status_of

RETRY_S = 0.25
"""How long a keeper that does not answer is left alone."""

AGAIN_S = 0.5
"""How long after the first end in a row a server is started again; twice as long each time."""

MOST_CRASHES = 3
"""Ends in a row after which the container ends."""

STABLE_S = 10.0
"""A server that was ready and lived so long begins a new row."""

_MOST_BYTES = 4096
_EXIT_NOT_STARTED, _EXIT_USAGE = 126, 2  # as shells have them


def sleep() -> None:
    """Start and end servers as the keeper says; returns in each server, in no other process."""
    words = os.environ.pop("MODELPACK_SLEEPS")  # whatever the service starts does not sleep
    path = os.environ.get("MODELPACK_PORT_KEEPER")
    if not path:
        _say("error[usage]: MODELPACK_SLEEPS is set, and MODELPACK_PORT_KEEPER is not")
        _say("  help: both are set by the target that deploys; unset it to serve at once")
        os._exit(_EXIT_USAGE)
    group, _, name = os.environ.get("MODELPACK_PORT_GROUP", "-").partition("/")
    line = Line(path, f"sleeps {group} {name or socket.gethostname()}", words)
    # The line tells by a signal that something came: one thing to wait for.
    before = hold((*HEARD, signal.SIGIO))
    status = Sleep(line, lambda: fork(before)).run()
    if status is not None:
        os._exit(status)
    line.close()


class Line:
    """The line to the keeper, as long as there is one."""

    def __init__(self, path: str, who: str, how: str) -> None:
        """``who`` it is and ``how`` it is scaled are said first, with the state at that moment."""
        self._path = path
        self._who, self._how = who, how
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        """True while the keeper is there, as far as is known."""
        return self._socket is not None

    def open(self, state: str) -> None:
        """Look for the keeper."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.setblocking(False)  # a keeper that has its hands full is looked for again
        try:
            line.connect(self._path)
            line.send(f"{self._who} {state} {self._how}".encode())
        except OSError:
            line.close()
            return
        fcntl(line, F_SETOWN, os.getpid())
        fcntl(line, F_SETFL, fcntl(line, F_GETFL) | os.O_ASYNC)
        self._socket = line

    def say(self, words: str) -> None:
        """Tell the keeper, if it is there; else it learns the state when it is."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(words.encode())

    def hear(self) -> list[str]:
        """Return what was said since the last time; the line is closed when its end came."""
        heard: list[str] = []
        while self._socket is not None:
            try:
                said = self._socket.recv(_MOST_BYTES)
            except BlockingIOError:
                break
            except OSError:
                said = b""
            if not said:
                self.close()
            heard.append(said.decode(errors="replace"))
        return heard

    def close(self) -> None:
        """Let go of the line."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


class Sleep:
    """The server that there is, and the one that there is to be."""

    def __init__(
        self,
        line: Line,
        start: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``start`` forks: it returns 0 in the server, its process id here."""
        self._line = line
        self._start = start
        self._clock = clock
        self._child: int | None = None
        self._is_wanted = self._is_ending = self._is_over = False
        self._was_ready = False
        self._born = 0.0
        self._start_at: float | None = None
        self._crashes = 0

    @property
    def state(self) -> str:
        """``asleep``, ``awake`` or ``ending``; one that is started again soon is awake."""
        if self._is_ending:
            return "ending"
        return "awake" if self._is_wanted or self._child is not None else "asleep"

    def run(self) -> int | None:
        """Return the status to end with; in a server None."""
        while True:
            if not self._line.is_open:
                self._line.open(self.state)
            for word in self._line.hear():
                self._obey(word)
            if self._is_due():
                status = self._begin()
                if self._child == 0 or status is not None:
                    return status
            told = signal.sigtimedwait((*HEARD, signal.SIGIO), self._longest_wait_s())
            status = self._heed(told.si_signo) if told is not None else None
            if status is not None:
                return status

    def _begin(self) -> int | None:
        """Start a server; returns a status when that fails too often."""
        self._was_ready, self._born, self._start_at = False, self._clock(), None
        try:
            self._child = self._start()
        except OSError as error:  # no memory, or the limit on processes
            _say(f"error[not-started]: no process for the server: {error.strerror}")
            _say("  help: raise the limit on processes, or give it more memory")
            return self._ended(_EXIT_NOT_STARTED)
        if self._child:
            self._line.say("awake")
        return None

    def _obey(self, word: str) -> None:
        if word == "start":
            self._is_wanted = True
        elif word == "stop":
            self._is_wanted, self._start_at, self._crashes = False, None, 0
            if self._child is not None:
                self._is_ending = True
                self._line.say("ending")
                self._signal(signal.SIGTERM)
            else:
                self._line.say("asleep")
        elif word == "ready":
            self._was_ready = self._child is not None

    def _is_due(self) -> bool:
        is_time = self._start_at is None or self._clock() >= self._start_at
        return self._is_wanted and self._child is None and is_time

    def _longest_wait_s(self) -> float:
        waits = [3600.0]
        if not self._line.is_open:
            waits.append(RETRY_S)
        if self._start_at is not None:
            waits.append(max(self._start_at - self._clock(), 0.0))
        return min(waits)

    def _heed(self, number: int) -> int | None:
        """Do what a signal asks for; returns a status when the container is to end."""
        if number == signal.SIGCHLD:
            ended = bury_the_dead(self._child or -1)
            return None if ended is None else self._ended(status_of(ended))
        if number in TOLD:
            self._is_over = True
            if self._child is None:
                return 0
            self._signal(number)
        elif number != signal.SIGIO and self._child is not None and handles(self._child, number):
            self._signal(number)
        return None

    def _ended(self, status: int) -> int | None:
        self._child, was_told, self._is_ending = None, self._is_ending, False
        if self._is_over:
            return status
        if was_told:  # it may be wanted again by now
            self._line.say("asleep")
            return None
        lived_s = self._clock() - self._born
        self._crashes = 1 if self._was_ready and lived_s >= STABLE_S else self._crashes + 1
        self._line.say(f"crashed {status}")
        if self._crashes >= MOST_CRASHES:
            return status
        self._start_at = self._clock() + AGAIN_S * 2.0 ** (self._crashes - 1)
        return None

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self._child is not None:
                os.kill(self._child, number)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
