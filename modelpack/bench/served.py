"""Serves a project, a model or a bundle for the time of a run, as ``modelpack serve`` would.

    SOURCE ──modelpack serve --port 0──► its URL on standard output ──► load ──► SIGTERM

It is the public command in a process of its own, so what is measured is what is served.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import BenchError
from modelpack.progress import Progress

READY_WITHIN_S = 300.0
"""Making the environment of a bundle is part of it."""
_STOP_WITHIN_S = 40.0
_URL = re.compile(rb"^(https?://\S+)\n", re.MULTILINE)
_LINES_SHOWN = 2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Served:
    """A server that was started for this run."""

    url: str
    admin_socket: Path
    pid: int


@contextmanager
def serving(
    source: str | None, *, progress: Progress, environ: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Serve meanwhile; raises BenchError with the server's own words when it does not start."""
    what = "the project here" if source is None else f"'{source}'"
    with tempfile.TemporaryDirectory(prefix="modelpack-bench-") as name:
        folder = Path(name)
        admin = folder / "admin.sock"
        variables = {
            **os.environ,
            "MODELPACK_LOG_FORMAT": "text",
            "MODELPACK_LOG_LEVEL": "warning",
            "MODELPACK_ADMIN_SOCKET": str(admin),
            **(environ or {}),
        }
        words = [sys.executable, "-m", "modelpack", "serve", *([source] if source else [])]
        out, err = folder / "out", folder / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            server = subprocess.Popen(
                [*words, "--port", "0"],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                # Ctrl-C is for the load; the server is stopped when that has ended.
                process_group=0,
                preexec_fn=_dying_with_this_process(),  # noqa: PLW1509  it makes one system call
            )
        try:
            with progress.step(f"serve {what}"):
                url = _wait_for_url(server, what, out, err)
            yield Served(url, admin, server.pid)
        finally:
            _stop(server)


def _dying_with_this_process() -> Callable[[], None] | None:
    """Return what a child calls to be stopped when this process is killed; None: not to be had."""
    if sys.platform != "linux":
        return None
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_for_signal() -> None:  # in the child, before the program is loaded
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_signal


def _wait_for_url(server: subprocess.Popen[bytes], what: str, out: Path, err: Path) -> str:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if match := _URL.search(out.read_bytes()):
            return match[1].decode()
        if server.poll() is not None:
            break
        time.sleep(0.02)
    said = [line for line in err.read_text(errors="replace").splitlines() if line.strip()]
    first = next((i for i, line in enumerate(said) if line.startswith("error[")), -_LINES_SHOWN)
    lines = said[first:][:_LINES_SHOWN] if said else ["it was not ready in time"]
    raise BenchError("\n".join([f"{what} could not be served", *lines]))


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
