"""Keeps one service process running, detached from whoever asked for it.

    python -m modelpack.deploy.supervisor NAME
        command.json ──► child, in a process group of its own ──output──► service.log
        state.json   ◄── what becomes of it
        ended by itself ──► back-off ──► child again
        SIGTERM ──► SIGTERM to the child, its grace, SIGKILL to its group ──► exit 0

What always holds: the child cannot outlive the supervisor, also when that is killed, because the
kernel kills the child then; there is one thread; nothing but the standard library and a few small
modules is imported.

It says its process id on standard output once it is in charge, and then lets go of the terminal.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from modelpack.deploy.command import (
    LOCK_FILE,
    LOG_FILE,
    ChildState,
    Command,
    Phase,
    folder_of,
    read_command,
    write_state,
)
from modelpack.deploy.logfile import LogWriter
from modelpack.deploy.process import ProcessId
from modelpack.deploy.references import resolve
from modelpack.errors import UsageError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
STABLE_AFTER_S = 30.0
"""A child that lived so long starts the back-off anew."""

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


@dataclass(slots=True)
class Stop:
    """Turns SIGTERM and SIGINT into a flag, and every signal into something to select on."""

    wakeup: int = -1
    _is_wanted: bool = False

    def listen(self) -> None:
        """Install the handlers."""
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._want)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def is_wanted(self) -> bool:
        """Return whether a stop was asked for by now."""
        return self._is_wanted

    def wait(self, longest_s: float) -> None:
        """Return after so many seconds, or as soon as a stop is wanted."""
        deadline = time.monotonic() + longest_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.wakeup, selectors.EVENT_READ)
            while not self._is_wanted and (left_s := deadline - time.monotonic()) > 0:
                if selector.select(left_s):
                    self.drain()

    def drain(self) -> None:
        """Forget the signals that have come, so that the next one is seen."""
        with suppress(BlockingIOError):
            os.read(self.wakeup, _CHUNK)

    def _want(self, *_: object) -> None:
        self._is_wanted = True


@dataclass(slots=True)
class Supervisor:
    """Runs the command of a folder until it is told to stop."""

    folder: Path
    command: Command
    log: LogWriter
    stop: Stop
    me: ProcessId | None = field(default_factory=lambda: ProcessId.of(os.getpid()))
    restarts: int = 0
    back_off: BackOff = field(default_factory=BackOff)

    def run(self) -> None:
        """Keep the child running; returns when it has been stopped."""
        while not self.stop.is_wanted():
            born = time.monotonic()
            detail = self._live_once()
            if self.stop.is_wanted():
                break
            delay_s = self.back_off.next_delay_s(time.monotonic() - born)
            self._say("waiting", detail=detail)
            self._log_event("service-ended", detail=detail, again_in_s=delay_s)
            self.stop.wait(delay_s)
            self.restarts += 1
        self._say("stopped")

    def _live_once(self) -> str:
        """Start the child and see it through; returns how it ended."""
        try:
            child = start_child(self.command)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        except UsageError as error:
            return f"cannot be started: {error.message}"
        self._say("up", child=child.pid)
        assert child.stdout is not None  # noqa: S101
        with child.stdout as output:
            os.set_blocking(output.fileno(), False)
            self._watch(child, output.fileno())
            _kill_group(child.pid)  # what it started goes with it; its id is not free yet
            code = child.wait()
            while self._copy_output(output.fileno()):
                pass
        return f"killed by signal {-code}" if code < 0 else f"exit {code}"

    def _watch(self, child: subprocess.Popen[bytes], output: int) -> None:
        """Write its output down until it has ended; make it end when a stop is wanted."""
        kill_at: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self.stop.wakeup, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_READ)
            while not _has_ended(child):
                if self.stop.is_wanted() and kill_at is None:
                    kill_at = time.monotonic() + self.command.grace_s
                    os.kill(child.pid, signal.SIGTERM)
                if kill_at is not None and time.monotonic() >= kill_at:
                    return
                for key, _ in selector.select(1.0 if kill_at is None else 0.1):
                    if key.fd == self.stop.wakeup:
                        self.stop.drain()
                    elif not self._copy_output(output):
                        selector.unregister(output)  # it closed its output and lives on

    def _copy_output(self, output: int) -> bool:
        """Write down what there is; False when there is nothing (any more)."""
        try:
            data = os.read(output, _CHUNK)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def _say(self, phase: Phase, *, child: int | None = None, detail: str | None = None) -> None:
        state = ChildState(
            phase=phase,
            since=_now(),
            child=child,
            restarts=self.restarts,
            failures=self.back_off.failures,
            detail=detail,
            supervisor=None if self.me is None else self.me.to_json(),
        )
        with suppress(OSError):  # a full disk must not end the service
            write_state(self.folder, state)

    def _log_event(self, event: str, **fields: str | float) -> None:
        line = {"time": _now(), "level": "warning", "event": event, **fields}
        self.log.write(json.dumps(line).encode() + b"\n")


def start_child(command: Command) -> subprocess.Popen[bytes]:
    """Start the command so that it dies with this process; raises OSError and UsageError."""
    env = {**command.env, **resolve(command.secrets)}
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    supervisor = os.getpid()

    def die_with_supervisor() -> None:  # in the child, before the program is loaded
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)

    return subprocess.Popen(
        command.argv,
        env=env,
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=die_with_supervisor,  # noqa: PLW1509  there is one thread
    )


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Look without reaping, so that its process id, and its group's, stays taken."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _take_charge(folder: Path) -> int:
    """Hold the folder for as long as this process lives; raises BlockingIOError."""
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _let_go_of_terminal() -> None:
    """Tell the launcher who is in charge, and read and write nothing of its any more."""
    os.write(1, f"{os.getpid()}\n".encode())
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)
    os.close(nothing)


def main(arguments: Sequence[str]) -> int:
    """Supervise the deployment of that name in a process of its own session."""
    folder = folder_of(arguments[0])
    command = read_command(folder)
    if os.fork():
        os._exit(0)
    os.setsid()
    try:
        _take_charge(folder)
    except BlockingIOError:
        sys.stderr.write("another supervisor is in charge\n")
        return 1
    stop = Stop()
    stop.listen()
    supervisor = Supervisor(folder, command, LogWriter(folder / LOG_FILE), stop)
    _let_go_of_terminal()
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
