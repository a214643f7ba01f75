"""A real Ray cluster of two nodes on this machine: processes of ``ray start``, ended by their own ids.

    ray_packages.txt ──uv, once──► cache/peers/ray-…/bin/ray ──► Nodes: head, second (both --block)

Everything listens on free ports of the loopback interface and asks for a token.  ``ray stop`` is never
called: it would end every Ray of the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = Path(__file__).with_name("ray_packages.txt")
_WITHIN_S = 240.0
_TRIES = 3
_HOME = os.environ.get("HOME", "")


def environment() -> Path:
    """Return the folder with the programs of an environment with Ray Serve; made once."""
    if named := os.environ.get("RAY_SERVE_BIN"):
        return Path(named)
    from uv import find_uv_bin

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(_HOME, ".cache")) / "modelpack" / "peers"
    digest = hashlib.sha256(_PACKAGES.read_bytes()).hexdigest()[:12]
    folder = cache / f"ray-{version}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            python = folder / "bin" / "python"
            for words in (
                ["venv", "-q", "--python", sys.executable, str(folder)],
                ["pip", "install", "-q", "--python", str(python), "-r", str(_PACKAGES)],
            ):
                env = {**os.environ, "HOME": _HOME}
                subprocess.run([find_uv_bin(), *words], env=env, check=True)
            (folder / "whole").touch()
    return folder / "bin"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Nodes:
    """A head and, once it is asked for, a second node; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_hex(16)
        self._bin = environment()
        self._folder = folder
        # Paths of sockets are short.
        self._temp = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._port, self.dashboard_port, self.http_port, client = free_ports(4)
        self.address = f"http://127.0.0.1:{self.dashboard_port}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        self._head_words = [
            "--head",
            f"--port={self._port}",
            f"--dashboard-port={self.dashboard_port}",
            "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={client}",
            f"--temp-dir={self._temp}",
        ]

    @property
    def env(self) -> Mapping[str, str]:
        """What the processes of Ray see."""
        return {
            "PATH": f"{self._bin}:/usr/bin:/bin",
            "HOME": _HOME,
            "MODELPACK_CACHE": str(self._folder / "cache"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_NUM_REDIS_GET_RETRIES": "120",  # seconds that a node waits for the head
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            # A node that is gone is missed after a second, not after half a minute.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "4",
        }

    def __enter__(self) -> Nodes:
        try:
            # The second one waits for the head by itself.
            self._start("head", *self._head_words)
            self._start("second", f"--address=127.0.0.1:{self._port}")
            for name in list(self._running):
                self._wait_for(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.end(name, signal.SIGKILL)
        deadline = time.monotonic() + _WITHIN_S
        while left := self._left():
            if time.monotonic() > deadline:
                for process in left:
                    os.kill(process, signal.SIGKILL)
                break
            time.sleep(0.1)
        shutil.rmtree(self._temp, ignore_errors=True)

    def _left(self) -> list[int]:
        """Return the ids of processes that were started for this cluster's folder, and still run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._temp.encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def add(self, name: str) -> None:
        """Start one more node."""
        self._start(name, f"--address=127.0.0.1:{self._port}")
        self._wait_for(name)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a node by the id of its process; what belongs to it ends with it."""
        process = self._running.pop(name)
        process.send_signal(number)
        try:
            process.wait(_WITHIN_S)
        finally:
            process.kill()

    def lose(self, name: str) -> None:
        """End all processes of a node at one moment, as when its machine goes."""
        process = self._running.pop(name)
        family = _family(process.pid)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none of them sees another one go
            for one in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, number)
        process.wait(_WITHIN_S)

    def _start(self, name: str, *words: str) -> None:
        self._words[name] = words
        ports = free_ports(7)
        log = (self._folder / f"{name}.log").open("wb")
        kinds = (
            "node-manager-port",
            "object-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "metrics-export-port",
            "runtime-env-agent-port",
        )
        with log:
            self._running[name] = subprocess.Popen(
                [
                    str(self._bin / "ray"),
                    "start",
                    *words,
                    "--node-ip-address=127.0.0.1",
                    "--num-cpus=6",
                    "--object-store-memory=80000000",
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                    *(f"--{kind}={port}" for kind, port in zip(kinds, ports, strict=False)),
                    "--disable-usage-stats",
                    "--block",
                ],
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_for(self, name: str) -> None:
        """Wait until the node says that it is up.

        One that gave up is started again: Ray waits 30 s for itself (``_private/node.py``), which may be
        too short on a machine that has much else to do.
        """
        log, deadline = self._folder / f"{name}.log", time.monotonic() + _WITHIN_S
        tries = _TRIES
        while b"Ray runtime started" not in log.read_bytes():
            if self._running[name].poll() is not None:
                tries -= 1
                assert tries, log.read_text()[-2000:]
                self._start(name, *self._words[name])
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)


def _family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found
