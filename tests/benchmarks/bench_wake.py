"""How long a service that sleeps takes to its first answer, beside one that is started cold.

    python -m tests.benchmarks.bench_wake [--runs 5] [--project FOLDER --path /API --body JSON]

Real processes on loopback: the keeper of a port, process 1, the server.  The three kinds take turns:

    cold start    from the start of a server to its first 200, asked every ten milliseconds
    wake          from the request at the sleeping port to its answer
    wake, 20      the same for twenty clients at once, until the last one has his answer

Medians with the least and the most, in milliseconds; then what sleeps needs, in MB of its own (Pss).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.deploy.autoscale.policy import Policy
from tests.server.life.conftest import DOUBLER, post, read_answer, wait_until
from tests.server.life.conftest import PROGRAM as SERVER
from tests.server.life.kept import Keeper, Place, begin_place

WAIT_S = 60.0
CLIENTS = 20
NAPPING = Policy(
    min_replicas=0, max_replicas=1, every_s=0.5, window_s=0, up_s=0, down_s=0, idle_s=0.1
)


@dataclass(frozen=True)
class Asked:
    """A service and one request to it."""

    folder: Path
    request: bytes


@dataclass
class Found:
    """What was measured."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def lines(self) -> Iterator[str]:
        for name, all_s in self.seconds.items():
            ms = [one * 1000 for one in all_s]
            yield f"{name:<14} {statistics.median(ms):6.0f} ms  ({min(ms):.0f} to {max(ms):.0f})"
        for name, size in self.bytes.items():
            yield f"{name:<14} {size / 1e6:6.1f} MB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--path", default="/double")
    parser.add_argument("--body", default='{"x":[1]}')
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = asked.project or doubler(Path(folder))
        wanted = Asked(project.resolve(), post(asked.path, asked.body))
        for line in measure(wanted, Path(folder), asked.runs).lines():
            print(line)


def doubler(folder: Path) -> Path:
    """Write a service that loads nothing."""
    (folder / "service.py").write_text(DOUBLER.format(factor=2))
    return folder


def measure(asked: Asked, folder: Path, runs: int) -> Found:
    """Return what so many runs show."""
    found = Found()
    keeper = Keeper(folder / "port.sock")
    keeper.start()
    place = begin_place(keeper, "a/1", asked.folder, folder / "place.log", NAPPING)
    try:
        wait_until(lambda: is_asleep(keeper, place), WAIT_S)
        assert keeper.process is not None
        found.bytes = {
            "process 1": own_bytes(place.process.pid),
            "keeper": own_bytes(keeper.process.pid),
        }
        for _ in range(runs):
            found.add("cold start", cold_start_s(asked))
            for name, clients in (("wake", 1), (f"wake, {CLIENTS}", CLIENTS)):
                wait_until(lambda: is_asleep(keeper, place), WAIT_S)
                found.add(name, wake_s(asked, keeper, clients))
    finally:
        place.end()
        keeper.stop()
    return found


def is_asleep(keeper: Keeper, place: Place) -> bool:
    """Say whether the place is known and has no server."""
    return keeper.scaled("a").get("awake") == 0 and place.server is None


def cold_start_s(asked: Asked) -> float:
    """Return the seconds from the start of a server to its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    given = {"settings": {"port": address[1]}, "tag": "", "source": ("code", "", str(asked.folder))}
    command = [sys.executable, "-P", "-c", SERVER, json.dumps(given)]
    began = time.perf_counter()
    with started(command):
        wait_until(lambda: is_answered(address, asked.request), WAIT_S)
        return time.perf_counter() - began


@contextmanager
def started(command: list[str]) -> Iterator[None]:
    """Run a program meanwhile."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=dict(os.environ))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def is_answered(address: tuple[str, int], request: bytes) -> bool:
    """Ask once; a server that is not ready yet says so."""
    try:
        with socket.create_connection(address, timeout=WAIT_S) as connection:
            connection.sendall(request)
            return read_answer(connection)[0] == 200
    except OSError:
        return False


def wake_s(asked: Asked, keeper: Keeper, clients: int) -> float:
    """Return the seconds from the first request to the last answer."""
    began = time.perf_counter()
    with ExitStack() as stack:
        connect: Callable[[], socket.socket] = lambda: stack.enter_context(  # noqa: E731
            socket.create_connection(keeper.address, timeout=WAIT_S)
        )
        connections = [connect() for _ in range(clients)]
        for one in connections:
            one.sendall(asked.request)
        statuses = {read_answer(one)[0] for one in connections}
        took = time.perf_counter() - began
    assert statuses == {200}
    return took


def own_bytes(pid: int) -> int:
    """Return what a process has for itself, with its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


if __name__ == "__main__":
    main()
