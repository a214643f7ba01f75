"""Processor time of the server for each request: the fast lane against the Starlette path.

    python tests/benchmarks/bench_server.py [--quick] [--rounds N] [--seconds S]

Two servers of the same model run side by side, one with ``MODELPACK_FAST_LANE=0``.  They are loaded
in turns, A B A B, by ``wrk`` with 32 connections; server and ``wrk`` have a processor each.  What is
measured is utime + stime of the server over the requests that were answered meanwhile: processor
time is what a request costs, and it hardly minds what else the machine does.  Medians are printed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
CONNECTIONS = 32
LANES = {"fast lane": "1", "starlette": "0"}


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of one lane."""

    cpu_us: float
    """Server processor time for each request, in microseconds."""

    per_second: float
    """Requests answered in a second of wall time."""

    p99_ms: float
    """What 99 % of the requests took at most, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server under test."""

    pid: int
    url: str

    def cpu_s(self) -> float:
        """Return the processor time it has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processors() -> tuple[list[str], list[str]]:
    """Return command prefixes that pin the server and the client to processors of their own."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or shutil.which("taskset") is None:
        return [], []
    return ["taskset", "-c", str(usable[0])], ["taskset", "-c", str(usable[1])]


@contextmanager
def serving(folder: Path, lane: str, pin: list[str]) -> Iterator[Running]:
    """Run a server meanwhile."""
    environment = {**os.environ, "MODELPACK_FAST_LANE": LANES[lane]}
    command = [*pin, sys.executable, str(HERE / "bench_service.py"), str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        if not url:
            raise SystemExit(f"the server ended with status {server.wait()}")
        yield Running(server.pid, url)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)
        if server.stdout is not None:
            server.stdout.close()


def measure(server: Running, seconds: float, pin: list[str]) -> Round:
    """Load the server for a while."""
    command = [*pin, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency",
               "-s", str(HERE / "post.lua"), f"{server.url}/predict"]  # fmt: skip
    before = server.cpu_s()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu_s() - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"the server failed under load:\n{output}")
    done, took = re.search(r"(\d+) requests in ([\d.]+)(?:s|ms|m)", output).groups()  # type: ignore[union-attr]
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return Round(used / int(done) * 1e6, int(done) / float(took), float(p99) * scale)


def compare(rounds: int, seconds: float) -> dict[str, list[Round]]:
    """Return the rounds of both lanes, measured in turns."""
    pin_server, pin_client = processors()
    results: dict[str, list[Round]] = {lane: [] for lane in LANES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            serving(folder, "fast lane", pin_server) as fast,
            serving(folder, "starlette", pin_server) as slow,
        ):
            servers = {"fast lane": fast, "starlette": slow}
            for server in servers.values():
                measure(server, 1, pin_client)  # not counted: caches fill
            for _ in range(rounds):
                for lane, server in servers.items():
                    results[lane].append(measure(server, seconds, pin_client))
    return results


def report(results: dict[str, list[Round]]) -> str:
    """Return the table of medians."""
    lines = [f"{'':12}{'µs/request':>12}{'(min–max)':>18}{'requests/s':>12}{'p99 ms':>9}"]
    for lane, rounds in results.items():
        costs = [one.cpu_us for one in rounds]
        spread = f"{min(costs):.1f}–{max(costs):.1f}"
        lines.append(
            f"{lane:12}{median(costs):12.1f}{spread:>18}"
            f"{median([r.per_second for r in rounds]):12.0f}"
            f"{median([r.p99_ms for r in rounds]):9.2f}"
        )
    lines.append(f"starlette / fast lane: {ratio(results):.2f}")
    return "\n".join(lines)


def ratio(results: dict[str, list[Round]]) -> float:
    """Return how many times as much processor time the Starlette path takes."""
    cost = {lane: median([r.cpu_us for r in rounds]) for lane, rounds in results.items()}
    return cost["starlette"] / cost["fast lane"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about half a minute")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 3
    print(report(compare(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
