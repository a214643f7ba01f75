"""Servers under test: ours, by the public command, and nginx with a static body.

our_server("mlp.onnx", …) ──modelpack serve --port 0──► Running(url, tree)
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aims.machine import Pins, Tree

READY_S = 120.0
ECHO = """\
import modelpack


@modelpack.service
class Echo:
    @modelpack.api
    def echo(self, x: list[float]) -> list[float]:
        return x
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A server under test."""

    name: str
    url: str
    tree: Tree


def write_echo(folder: Path) -> Path:
    """Write the project of W0 and return its folder."""
    project = folder / "echo"
    project.mkdir(parents=True, exist_ok=True)
    (project / "service.py").write_text(ECHO)
    return project


@contextmanager
def our_server(
    source: str | Path,
    pins: Pins,
    *,
    name: str = "modelpack",
    cwd: Path,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Running]:
    """Serve a source as users do; ``settings`` become ``MODELPACK_…`` variables."""
    variables = {f"MODELPACK_{key.upper()}": str(value) for key, value in (settings or {}).items()}
    words = [sys.executable, "-m", "modelpack", "serve", str(source), "--port", "0"]
    with started([*pins.server, *words], cwd, {"MODELPACK_LOG_LEVEL": "warning", **variables}) as (
        process,
        log,
    ):
        yield Running(name, _url_in(log, process), Tree(process.pid))


@contextmanager
def started(
    words: Sequence[str], cwd: Path, environ: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a program meanwhile, in a group of its own, its output in a file; stopped afterwards."""
    log = cwd / f"log-{time.monotonic_ns()}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(words),
            cwd=cwd,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield process, log
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], within_s: float = 20.0) -> None:
    """End a program and whatever it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=within_s)
    # Only what it left behind in its own group; it is no error when that is nothing.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _url_in(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("http://"):
                return line.strip()
        time.sleep(0.005)
    raise RuntimeError(f"a server did not get ready:\n{log.read_text(errors='replace')[-2000:]}")


def wait_until_it_answers(
    url: str, process: subprocess.Popen[bytes], log: Path, body: bytes | None, content_type: str
) -> None:
    """Ask until an answer of the 2xx kind comes; raises RuntimeError with the log when none does."""
    deadline = time.monotonic() + READY_S
    request = urllib.request.Request(url, data=body, headers={"content-type": content_type})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    why = ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(request, timeout=10):
                return
        except urllib.error.HTTPError as error:
            why = f"{error.code} {error.read(500)!r}"
        except OSError as error:
            why = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"no answer at {url}: {why}\n{log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


NGINX = """\
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""


def nginx_missing() -> str:
    """Return why nginx cannot be measured, or ''."""
    return "" if shutil.which("nginx") else "'nginx' is not installed"


@contextmanager
def nginx(body: str, pins: Pins, *, cwd: Path) -> Iterator[Running]:
    """Run nginx with one process that answers everything with the body."""
    folder = cwd / "nginx"
    folder.mkdir(exist_ok=True)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, body=body))
    words = [*pins.server, "nginx", "-p", str(folder), "-c", str(config)]
    with started(words, cwd, {}) as (process, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url, process, log, None, "text/plain")
        yield Running("nginx, static body", url, Tree(process.pid))
