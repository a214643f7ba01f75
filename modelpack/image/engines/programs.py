"""Runs the program of a container engine: a stream in, lines out, and an end in any case.

    argv (never a shell) + environment ──► process ◄── feed (a thread writes it to its input)
                                              └──► lines, standard output and errors together

Whatever ends the block, the process has ended too: asked first, then by force.  It stands in a session
of its own, so that Ctrl-C reaches it through us, once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from modelpack.errors import ToolMissingError

ASK_TIMEOUT_S = 60.0
_PATIENCE_S = 10.0


class Running:
    """A program at work."""

    def __init__(self, process: subprocess.Popen[bytes], feed: Iterator[bytes] | None) -> None:
        self._process = process
        self._feed = feed
        self._failure: BaseException | None = None
        self._feeder = threading.Thread(target=self._write, name="context", daemon=True)
        self._feeder.start()

    def lines(self) -> Iterator[str]:
        """Give what it says, without line ends; raises what the feed raised."""
        for line in self._process.stdout or ():
            yield line.decode(errors="replace").rstrip("\r\n")
        self._feeder.join()
        if self._failure is not None:
            raise self._failure

    def status(self) -> int:
        """Wait for its end and return its exit status."""
        return self._process.wait()

    def end(self) -> None:
        """Ask it to end, then make it."""
        if self._process.poll() is None:
            for number, patience_s in ((signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, None)):
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience_s)
                    break
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._feeder.join(_PATIENCE_S)

    def _write(self) -> None:
        pipe = self._process.stdin
        if pipe is None or self._feed is None:
            return
        try:
            self._copy(self._feed, pipe)
        except BrokenPipeError:
            pass  # it ended; its own words say why
        except BaseException as failure:
            # A context that ends early could look whole: its reader ends before it sees the end.
            self._failure = failure
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @staticmethod
    def _copy(feed: Iterator[bytes], pipe: IO[bytes]) -> None:
        for chunk in feed:
            pipe.write(chunk)
        pipe.close()


@contextmanager
def running(
    argv: Sequence[str],
    *,
    feed: Iterator[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a program and give it; ``environment`` is added to ours.  Raises ToolMissingError."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    except OSError as cause:
        raise _missing(argv[0], cause) from cause
    program = Running(process, feed)
    try:
        yield program
    finally:
        program.end()


def ask(argv: Sequence[str], *, timeout_s: float | None = ASK_TIMEOUT_S) -> tuple[int, str, str]:
    """Run a short command; return status, output and errors.  Raises ToolMissingError."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"'{argv[0]}' does not answer within {timeout_s:.0f} s"
    except OSError as cause:
        raise _missing(argv[0], cause) from cause
    return (
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def _missing(program: str, cause: OSError) -> ToolMissingError:
    return ToolMissingError(
        f"'{program}' cannot be started: {cause.strerror}",
        hint="install it, or choose another builder with --engine",
    )
