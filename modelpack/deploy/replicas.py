"""One server process of a local deployment, started again when it ends by itself.

    start ─► up ──ended by itself──► waiting (back-off) ──► up
              ├──retire──► retiring ──resume──► up
              └──stop: SIGTERM, its grace, SIGKILL to its group──► ending ──► gone
    output ──► the log of its group, with its number where there are several

What always holds: the process cannot outlive this one, also when that is killed, because the kernel
kills it then; what it starts goes with it; its own port is its own, from first to last.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from modelpack.deploy.command import Command
from modelpack.deploy.keeping.sleepers import MOST_RETIRING_S
from modelpack.deploy.logfile import LogWriter
from modelpack.deploy.ports import port_of, reserve
from modelpack.deploy.references import resolve
from modelpack.deploy.report import GOING, Phase, ReplicaReport, now
from modelpack.deploy.watching import Watch
from modelpack.errors import ModelpackError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
STABLE_AFTER_S = 30.0
"""A process that lived so long starts the back-off anew."""

FOREVER = float("inf")

_PR_SET_PDEATHSIG = 1
_CHUNK = 65536


@dataclass(slots=True)
class BackOff:
    """How long to wait before the next start: twice as long each time, up to a minute."""

    failures: int = 0
    """Ends in a row, none of them after a long life."""

    def next_delay_s(self, lived_s: float) -> float:
        """Note one end and return the wait in seconds."""
        if lived_s >= STABLE_AFTER_S:
            self.failures = 0
        self.failures += 1
        return min(FIRST_DELAY_S * 2.0 ** min(self.failures - 1, 20), LONGEST_DELAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the replicas of a group have in common."""

    group: str
    command: Command
    host: str
    door: str
    """Path of the socket where they ask for the port that they share."""
    environ: Mapping[str, str]
    """Variables that references of secrets speak of."""
    is_numbered: bool
    """Whether lines in the log begin with the number of who wrote them."""
    log: LogWriter
    watch: Watch
    umask: int
    """What the processes begin with, as of whoever started the supervisor."""


class Replica:
    """One process, or the wait for the next one.  Raises PortInUseError."""

    def __init__(self, number: int, place: Place, changed: Callable[[], None]) -> None:
        """``changed`` is called whenever its report is another one."""
        self.number = number
        self._place: Place
        self._changed = changed
        self._holder = reserve(place.host)
        self._child: subprocess.Popen[bytes] | None = None
        self._lines = _Lines(place.log)
        self.move(place)
        self._born = self._at = 0.0
        self._restarts = 0
        self._back_off = BackOff()
        self._detail: str | None = None
        self._since = now()
        self.phase: Phase = "waiting"
        """How it is; see ``ReplicaReport``."""
        self.is_gone = False
        """True when it was told to end, and has."""
        self._start()

    @property
    def report(self) -> ReplicaReport:
        """How it is."""
        return ReplicaReport(
            number=self.number,
            phase=self.phase,
            since=self._since,
            port=port_of(self._holder),
            child=None if self._child is None else self._child.pid,
            restarts=self._restarts,
            failures=self._back_off.failures,
            detail=self._detail,
        )

    def move(self, place: Place) -> None:
        """Be at a place that differs in nothing the process knows of."""
        self._place = place
        self._lines.mark = b"%d | " % self.number if place.is_numbered else b""

    def retire(self) -> None:
        """Take note that it is to go once it has answered what it has; safe to repeat."""
        if self._child is None:
            self.stop()
        elif self.phase == "up":
            self._become("retiring")
            self._at = time.monotonic() + MOST_RETIRING_S

    def resume(self) -> None:
        """Take note that it is to stay."""
        if self.phase == "retiring":
            self._become("up")

    def stop(self) -> None:
        """Let it end, within its grace; safe to repeat."""
        if self.phase == "ending":
            return
        if self._child is None:
            self._leave()
            return
        self._become("ending")
        self._at = time.monotonic() + self._place.command.grace_s
        os.kill(self._child.pid, signal.SIGTERM)

    def tick(self) -> float:
        """Do what is due; return the moment, monotonic, at which something is due by the clock."""
        if self._child is not None:
            is_late = self.phase in GOING and time.monotonic() >= self._at
            if _has_ended(self._child) or (is_late and self.phase == "ending"):
                self._bury(self._child)
            elif is_late:
                self.stop()
        elif self.phase == "waiting" and not self.is_gone and time.monotonic() >= self._at:
            self._restarts += 1
            self._start()
        return self._at if self.phase != "up" and not self.is_gone else FOREVER

    def _start(self) -> None:
        """Start the process, or wait when that fails."""
        place = self._place
        own = {
            "MODELPACK_PORT": str(port_of(self._holder)),
            "MODELPACK_PORT_KEEPER": place.door,
            "MODELPACK_PORT_GROUP": f"{place.group}/{self.number}",
        }
        self._born = time.monotonic()
        try:
            secrets = resolve(place.command.secrets, place.environ)
            child = start_child(place.command, {**secrets, **own}, place.umask)
        except OSError as error:
            self._wait(f"cannot be started: {error.strerror or error}")
            return
        except ModelpackError as error:
            self._wait(f"cannot be started: {error.message}")
            return
        self._child = child
        assert child.stdout is not None  # noqa: S101
        os.set_blocking(child.stdout.fileno(), False)
        place.watch.add(child.stdout.fileno(), self._copy_output)
        self._become("up")

    def _bury(self, child: subprocess.Popen[bytes]) -> None:
        """Take leave of a process that has ended, or has had its time to."""
        _kill_group(child.pid)  # what it started goes with it; its id is not free yet
        code = child.wait()
        while self._copy_output():
            pass
        self._lines.end()
        assert child.stdout is not None  # noqa: S101
        self._place.watch.remove(child.stdout.fileno())
        child.stdout.close()
        self._child = None
        if self.phase in GOING:
            self._leave()
        else:
            self._wait(f"killed by signal {-code}" if code < 0 else f"exit {code}")

    def _wait(self, detail: str) -> None:
        """Begin to wait for the next start."""
        delay_s = self._back_off.next_delay_s(time.monotonic() - self._born)
        self._at = time.monotonic() + delay_s
        self._detail = detail
        self._become("waiting")
        said = {"event": "service-ended", "detail": detail, "again_in_s": delay_s}
        mark = f"{self.number} | " if self._place.is_numbered else ""
        say(self._place.log, said, level="warning", mark=mark)

    def _leave(self) -> None:
        self.is_gone = True
        self._holder.close()
        self._become("ending")

    def _copy_output(self) -> bool:
        """Write down what there is; False when there is nothing (any more)."""
        if self._child is None or self._child.stdout is None:
            return False
        handle = self._child.stdout.fileno()
        try:
            data = os.read(handle, _CHUNK)
        except BlockingIOError:
            return False
        self._lines.write(data)
        if not data:
            self._place.watch.remove(handle)  # it closed its output, and may live on
        return bool(data)

    def _become(self, phase: Phase) -> None:
        self.phase = phase
        self._since = now()
        self._changed()


class _Lines:
    """Writes output to a log, each line behind a mark, where there is one."""

    def __init__(self, log: LogWriter) -> None:
        self.mark = b""
        self._log = log
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Write the lines that are whole by now; without a mark, all there is."""
        if not self.mark:
            self._log.write(self._rest + data)
            self._rest = b""
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _CHUNK:  # that is no line that anybody reads
            lines, self._rest = [*lines, self._rest], b""
        if lines:
            self._log.write(b"".join(b"%s%s\n" % (self.mark, line) for line in lines))

    def end(self) -> None:
        """Write a last line that lacks its newline."""
        if self._rest:
            self.write(b"\n")


def say(
    log: LogWriter, fields: Mapping[str, object], *, level: str = "info", mark: str = ""
) -> None:
    """Write an event of the supervisor to a log, one line of JSON behind a mark."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": at, "level": level, **fields}
    log.write(f"{mark}{json.dumps(line)}\n".encode())


def start_child(command: Command, more: Mapping[str, str], umask: int) -> subprocess.Popen[bytes]:
    """Start the command, with more variables, so that it dies with this process; raises OSError."""
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    supervisor = os.getpid()

    def die_with_supervisor() -> None:  # in the child, before the program is loaded
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)

    return subprocess.Popen(
        command.argv,
        env={**command.env, **more},
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        umask=umask,
        preexec_fn=die_with_supervisor,  # noqa: PLW1509  there is one thread
    )


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Look without reaping, so that its process id, and its group's, stays taken."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
