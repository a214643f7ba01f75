"""A container engine of another machine, through ssh.

    ssh://USER@HOST:PORT/SOCKET ──tunnel──► ssh -N -L OURS:SOCKET ──► unix://OURS

One ssh process of this machine serves all calls of a command and ends with it.  It is the user's own
``ssh``, with his configuration, keys and known hosts; it asks nobody anything.  The Docker SDK has
a way of its own, which reads whole blocks of a pipe and so stands still in the middle of a stream.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from functools import cache
from pathlib import Path

from modelpack.errors import ToolMissingError

USUAL_SOCKET = "/var/run/docker.sock"
CHECK_SSH = "see that 'ssh HOST docker version' works without a question"
"""What to do when an engine does not answer through ssh."""

_START_S = 30.0


@cache
def tunnel(address: str) -> str:
    """Return the ``unix://`` address at which the engine answers here, as long as this process runs.

    Raises ToolMissingError when there is no ssh, or it does not come through.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise ToolMissingError(
            f"the engine at '{address}' is asked through ssh, which is not here",
            hint="install OpenSSH's client",
        )
    folder = tempfile.mkdtemp(prefix="modelpack-ssh-")
    ours = Path(folder, "engine.sock")
    process = subprocess.Popen(
        [ssh, *_words(address, ours)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for us: what we then put right still needs it
    )
    atexit.register(_end, process, folder)
    until = time.monotonic() + _START_S
    while not ours.is_socket():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            error = _failed(address, process)
            _end(process, folder)
            raise error
        time.sleep(0.02)
    return f"unix://{ours}"


def host_of(address: str) -> str | None:
    """Return the machine that an engine's address names; None: this one."""
    parts = urllib.parse.urlsplit(address)
    return None if parts.scheme in ("unix", "npipe", "") else parts.hostname


def _words(address: str, ours: Path) -> list[str]:
    parts = urllib.parse.urlsplit(address)
    socket = parts.path if parts.path not in ("", "/") else USUAL_SOCKET
    words = ["-N", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
    words += ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]
    words += ["-L", f"{ours}:{socket}"]
    words += ["-p", str(parts.port)] if parts.port else []
    words += ["-l", urllib.parse.unquote(parts.username)] if parts.username else []
    return [*words, "--", parts.hostname or ""]


def _failed(address: str, process: subprocess.Popen[str]) -> ToolMissingError:
    lines = (process.stderr.read() if process.stderr is not None else "").strip().splitlines()
    why = lines[-1][:200] if lines else "it did not come through in time"
    return ToolMissingError(
        f"no container engine answers at '{address}': ssh says: {why}",
        hint=CHECK_SSH,
    )


def _end(process: subprocess.Popen[str], folder: str) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr is not None:
        process.stderr.close()
    shutil.rmtree(folder, ignore_errors=True)
