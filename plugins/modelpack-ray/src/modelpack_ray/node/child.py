"""The bundle's server as a process beside the replica: started, watched, ended.

    Child ──thread──► Popen ──► lines ──► log file       record file ──► address ──► /readyz
      thread lives as long as the process does: the kernel ends the server with the thread

The server listens on a free port of the loopback interface and notes it in a file (``modelpack.server``
does so for ``MODELPACK_RUN_RECORD``).
"""

from __future__ import annotations

import collections
import json
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_LOOK_EVERY_S = 0.1
_CALL_S = 5.0
_LAST_LINES = 20
_LOG_BYTES = 8 << 20
_MARGIN_S = 5.0

# The child is killed when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2)).
_TIED = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Child:
    """The server; ready when the constructor returns."""

    def __init__(
        self,
        python: Path,
        *,
        env: Mapping[str, str],
        folder: Path,
        log_file: Path | None,
        grace_s: float,
    ) -> None:
        """Start it; raises RuntimeError with its last words when it ends before it is ready."""
        self._scratch = tempfile.TemporaryDirectory(prefix="modelpack-ray-")
        self._record = Path(self._scratch.name) / "server.json"
        self._argv = [str(python), "-I", "-u", "-m", "modelpack.server"]
        self._env = {**env, "MODELPACK_RUN_RECORD": str(self._record)}
        self._folder, self._grace_s = folder, grace_s
        self._log = _Log(log_file)
        self._last: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._is_wanted = True
        self._is_ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="modelpack-server", daemon=True).start()
        self._begun.wait()
        self.url = self._wait_until_ready()
        self._is_ready = True

    def check(self) -> None:
        """Raise RuntimeError when it is gone."""
        if self._ended.is_set():
            raise RuntimeError(f"modelpack: the server has ended: {self._why()}")

    def stop(self) -> None:
        """Let it end what it is doing, and end it after its time; safe to repeat."""
        self._is_wanted = False
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            if not self._ended.wait(self._grace_s + _MARGIN_S):
                self._process.kill()
                self._ended.wait(_MARGIN_S)
        self._scratch.cleanup()

    def _run(self) -> None:
        """Start it, hand on what it says, and see its end; the whole life of the thread."""
        try:
            tied = [self._argv[0], "-I", "-S", "-c", _TIED, str(os.getpid()), *self._argv]
            process = subprocess.Popen(
                tied,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self._last.append(str(error))
            self._ended.set()
            self._begun.set()
            return
        self._process = process
        self._begun.set()
        with process:
            for line in process.stdout or ():
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                self._last.append(text)
                self._log.write(text)
        self._log.close()
        self._ended.set()
        if self._is_wanted and self._is_ready:
            os._exit(1)  # a replica without its server is none

    def _wait_until_ready(self) -> str:
        """Return its URL once it answers; as long as it takes: whoever deploys has the clock."""
        while True:
            if self._ended.is_set():
                why = self._why()
                self.stop()
                raise RuntimeError(f"modelpack: the server has ended before it was ready: {why}")
            url = self._address()
            if url is not None and _is_ready(url):
                return url
            time.sleep(_LOOK_EVERY_S)

    def _address(self) -> str | None:
        try:
            url = json.loads(self._record.read_bytes())["url"]
        except (OSError, ValueError, KeyError):
            return None
        return str(url).rstrip("/")

    def _why(self) -> str:
        """Return the line that most likely says why, else how it ended."""
        errors = [line for line in self._last if "error" in line.lower()]
        if errors:
            return _said(errors[-1])
        status = self._process.returncode if self._process is not None else None
        if status is not None and status < 0:
            return f"signal {signal.Signals(-status).name}"
        return _said(self._last[-1]) if self._last else f"exit status {status}"


def _said(line: str) -> str:
    """Return what a line says: the ``error`` of an event, else the line without ``error[CODE]:``."""
    try:
        return str(json.loads(line)["error"])
    except (ValueError, KeyError, TypeError):
        return re.sub(r"^error\[[a-z-]+\]: ", "", line)


def _is_ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=_CALL_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


class _Log:
    """Takes lines: a file that does not grow for ever, else the worker's own output."""

    def __init__(self, file: Path | None) -> None:
        self._file = None
        if file is not None:
            self._file = logging.handlers.RotatingFileHandler(
                file, maxBytes=_LOG_BYTES, backupCount=1, delay=True
            )

    def write(self, line: str) -> None:
        if self._file is None:
            sys.stderr.write(f"{line}\n")
        else:
            self._file.emit(
                logging.LogRecord("modelpack", logging.INFO, "", 0, "%s", (line,), None)
            )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
