"""The process that runs the service, as the one that reads and writes files knows it.

    Launch ──start──► python -m modelpack.server.offline ◄──socket──► LocalEngine.send, receive
                          └─ it died: another one, and what it had is asked for once more, row by row

What always holds: each chunk that was sent is answered once, or the run ends with an error.  A row that
kills the process is a bad row with the code ``runner-crashed``; the other rows of its chunk are answered.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.errors import (
    BatchError,
    ModelpackError,
    NotFoundError,
    UsageError,
    UserCodeError,
)
from modelpack.offline.hello import Hello
from modelpack.server.offline.frames import read_message, to_bytes

CRASHED = "runner-crashed"

_MOST_DEATHS = 20
"""Deaths in a row, without a chunk that was answered in between."""
_MOST_RIDDLES = 3
"""Of these, with no row that could be the reason."""
_END_WITHIN_S = 30.0

Reply = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Launch:
    """How the process of a service is started on this machine."""

    python: str
    order: Mapping[str, Any]
    """Its first message: source, settings, api, constants, batch size, time-out."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables to set over those of this process."""
    is_isolated: bool = False
    """True for a bundle: nothing of this process's Python gets in."""
    folder: str | None = None
    """Where it is started; None: here."""
    replicas: int = 1


class Engine(Protocol):
    """Answers chunks, several at a time."""

    @property
    def hello(self) -> Hello:
        """What the api takes and gives."""

    @property
    def slots(self) -> int:
        """How many chunks may be on their way."""

    def send(self, number: int, message: Mapping[str, Any]) -> None:
        """Ask for a chunk."""

    def receive(self) -> Reply:
        """Wait for the answer of any chunk; raises BatchError when there will be none."""

    def readings(self) -> list[Any]:
        """Return what was counted, as ``server.observe.snapshot.to_plain`` has it."""

    def close(self) -> None:
        """End it; what is on its way is lost."""


class LocalEngine:
    """One process on this machine."""

    def __init__(self, launch: Launch) -> None:
        """Start it and wait until it has loaded the service; raises what keeps it from that."""
        self._launch = launch
        self._sent: dict[int, dict[str, Any]] = {}
        self._careful: deque[int] = deque()
        self._waiting: list[int] = []
        self._at: tuple[int, int] | None = None
        self._deaths = self._riddles = 0
        self.said: dict[str, Any] = {}
        """What the process said of itself: ``hello`` as it came."""
        self._channel, self._process, self.hello = self._start()

    @property
    def slots(self) -> int:
        """See ``Engine``: one in the works for each replica, one that waits, one that is written."""
        return 2 * self._launch.replicas + 1

    def send(self, number: int, message: Mapping[str, Any]) -> None:
        """See ``Engine``."""
        self._sent[number] = dict(message)
        if self._careful:
            self._waiting.append(number)
        else:
            self._write(number)

    def receive(self) -> Reply:
        """See ``Engine``."""
        while True:
            message = read_message(self._channel)
            if message is None:
                self._revive()
            elif (failed := message.get("failed")) is not None:
                raise error_from(failed)
            elif "at" in message:
                self._at = message["chunk"], message["at"]
            elif "chunk" in message:
                return self._answered(message)

    def readings(self) -> list[Any]:
        """See ``Engine``; those of a process that died are lost."""
        self._channel.sendall(to_bytes({"readings": True}))
        while (message := read_message(self._channel)) is not None:
            if "readings" in message:
                return list(message["readings"])
        return []

    def close(self) -> None:
        """See ``Engine``; its shut-down hooks have half a minute."""
        self._channel.close()
        try:
            self._process.wait(timeout=_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> tuple[socket.socket, subprocess.Popen[bytes], Hello]:
        launch = self._launch
        ours, theirs = socket.socketpair()
        flags = ["-I"] if launch.is_isolated else ["-P"]
        words = [launch.python, *flags, "-m", "modelpack.server.offline"]
        with theirs:
            process = subprocess.Popen(
                [*words, str(theirs.fileno()), str(os.getpid())],
                env={**_own_variables(), **launch.environ},
                cwd=launch.folder,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for this process, which ends the other one when it has tidied up.
                process_group=0,
            )
        try:
            try:
                ours.sendall(to_bytes(launch.order))
                message = read_message(ours)
            except ConnectionError:
                message = None
            if message is None:
                raise BatchError(f"the service's process {_end_of(process)} before it was ready")
            if (failed := message.get("failed")) is not None:
                raise error_from(failed)
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        self.said = message["hello"]
        return ours, process, Hello.read(self.said)

    def _write(self, number: int) -> None:
        with suppress(ConnectionError):  # it is dead, as the next read will show
            self._channel.sendall(to_bytes(self._sent[number]))

    def _answered(self, message: dict[str, Any]) -> Reply:
        number = message["chunk"]
        self._deaths = self._riddles = 0
        self._at = None
        asked = self._sent.pop(number)
        for place in asked.get("dead", ()):
            message["bad"].append([place, CRASHED, "the service's process died of it", []])
        message["bad"].sort(key=lambda bad: bad[0])
        if self._careful and self._careful[0] == number:
            self._careful.popleft()
            self._go_on()
        return message

    def _revive(self) -> None:
        """Start another process; what the dead one had is asked for again, one chunk at a time."""
        how = _end_of(self._process)
        self._channel.close()
        self._deaths += 1
        if self._at is not None and self._at[0] in self._sent:
            number, place = self._at
            self._sent[number].setdefault("dead", []).append(place)
        else:
            self._riddles += 1
        if self._deaths > _MOST_DEATHS or self._riddles > _MOST_RIDDLES:
            raise BatchError(
                f"the service's process {how}, for the {self._deaths}th time",
                hint="its own output says more; the rows that are done are kept",
            )
        self._at = None
        self._channel, self._process, self.hello = self._start()
        again = [number for number in self._sent if number not in self._waiting]
        self._careful = deque(again)
        for number in again:
            self._sent[number]["careful"] = True
        self._go_on()

    def _go_on(self) -> None:
        """Ask for the next chunk that is run row by row, or for all that waited for those."""
        if self._careful:
            self._write(self._careful[0])
            return
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            self._write(number)


def error_from(failed: Mapping[str, Any]) -> ModelpackError:
    """Return what a service said of its failure as an error here."""
    kinds: dict[str, type[ModelpackError]] = {
        UserCodeError.code: UserCodeError,
        NotFoundError.code: NotFoundError,
        UsageError.code: UsageError,
    }
    kind = kinds.get(str(failed.get("code")), BatchError)
    return kind(str(failed.get("message")), hint=failed.get("hint"))


def _own_variables() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _end_of(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended that has hung up."""
    try:
        status = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "hung up"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
