"""A long run of mixed load against one server: normal, poison, slow, leaving, oversized, killing.

    python tests/soak/soak.py [--minutes 20] [--shape many|one]

    modelpack serve ◄── clients of every kind (``clients``), for minutes
          │
          └── every second: processes, descriptors, resident memory

It passes when no answer was a surprise, memory is flat after the first third, no process and no
descriptor is left over, and the server ends with 0 when it is told to.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from clients import Tally, run  # type: ignore[import-not-found]

SHAPES = {
    "one": {},
    "many": {"MODELPACK_WORKERS": "2", "MODELPACK_REPLICAS": "2", "MODELPACK_RUNNER": "process"},
}
MAX_GROWTH_BYTES = 5 * 1024 * 1024
"""How much the middle of the last third may lie above that of the second, for each process."""


@dataclass(frozen=True)
class Sample:
    """The server's processes at one moment."""

    processes: int
    descriptors: int
    resident_bytes: int


def tree_of(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue
    return found


def sample(pid: int) -> Sample:
    processes = descriptors = pages = 0
    for one in tree_of(pid):
        try:
            if Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue
            descriptors += len(list(Path(f"/proc/{one}/fd").iterdir()))
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            processes += 1
        except OSError:
            continue
    return Sample(processes, descriptors, pages * resource.getpagesize())


def serve(folder: Path, shape: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; returns it and its port."""
    shutil.copy(Path(__file__).parent / "service.py", folder / "service.py")
    environment = {**os.environ, **SHAPES[shape], "MODELPACK_PORT": "0",
                   "MODELPACK_LOG_FORMAT": "json", "MODELPACK_LOG_LEVEL": "info",
                   "MODELPACK_HOME": str(folder / "home"),
                   "MODELPACK_CACHE": str(folder / "cache")}  # fmt: skip
    log = folder / "server.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "modelpack", "serve"]
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
    end = time.monotonic() + 30
    while not (found := re.search(r'"url": ?"http://[^"]*:(\d+)"', log.read_text())):
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return server, int(found[1])


def settled(pid: int, before: Sample) -> Sample:
    """Return the server once what ends has ended; it has ten seconds for that."""
    end = time.monotonic() + 10
    while (now := sample(pid)) and time.monotonic() < end:
        if now.processes == before.processes and now.descriptors <= before.descriptors + 8:
            break
        time.sleep(0.1)
    return now


def growth_of(samples: list[Sample]) -> int:
    """Return by how many bytes the last third lies above the second, for each process."""
    third = max(1, len(samples) // 3)
    middle, last = samples[third : 2 * third], samples[-third:]
    each = [
        median([one.resident_bytes / max(1, one.processes) for one in part])
        for part in (middle, last)
    ]
    return int(each[1] - each[0])


def soak(minutes: float, shape: str) -> list[str]:
    """Run it; returns what was wrong."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        server, port = serve(Path(name), shape)
        try:
            asyncio.run(run(port, 2, Tally(), kills=False))  # whatever is made once is made now
            before, samples, tally = sample(server.pid), [], Tally()
            is_over = threading.Event()

            def watch() -> None:
                while not is_over.wait(1.0):
                    samples.append(sample(server.pid))

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                asyncio.run(run(port, minutes * 60, tally, kills=shape == "many"))
            finally:
                is_over.set()
                watcher.join()
            after, growth = settled(server.pid, before), growth_of(samples)
            pids = tree_of(server.pid)
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
        print(report(tally, before, after, growth, samples), flush=True)
        faults += tally.wrong
        if growth > MAX_GROWTH_BYTES:
            faults.append(f"memory grew by {growth / 2**20:.1f} MiB a process")
        if after.processes != before.processes:
            faults.append(f"{before.processes} processes became {after.processes}")
        if after.descriptors > before.descriptors + 8:
            faults.append(f"{before.descriptors} descriptors became {after.descriptors}")
        if status != 0:
            faults.append(f"the server ended with status {status}")
        left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        if left:
            faults.append(f"processes are left: {left}")
        log = Path(name, "server.log").read_text()
        if "Traceback" in re.sub(r'"trace": ?"(?:[^"\\]|\\.)*"', "", log):
            faults.append("the log holds a traceback")
    return faults


def report(tally: Tally, before: Sample, after: Sample, growth: int, samples: list[Sample]) -> str:
    kinds = sorted({kind for kind, _ in tally.statuses})
    lines = []
    for kind in kinds:
        counts = {s: n for (k, s), n in sorted(tally.statuses.items()) if k == kind}
        lines.append(f"  {kind:10} " + "  ".join(f"{s or 'left'}: {n}" for s, n in counts.items()))
    peak = max((one.resident_bytes for one in samples), default=0)
    lines.append(
        f"  processes {before.processes} -> {after.processes}, descriptors {before.descriptors} -> "
        f"{after.descriptors}, resident {before.resident_bytes / 2**20:.0f} -> "
        f"{after.resident_bytes / 2**20:.0f} MiB (peak {peak / 2**20:.0f}), "
        f"growth a process {growth / 2**20:+.1f} MiB"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--shape", choices=[*SHAPES, "both"], default="both")
    options = parser.parse_args()
    shapes = list(SHAPES) if options.shape == "both" else [options.shape]
    faults = []
    for shape in shapes:
        print(f"soak: {shape}, {options.minutes / len(shapes):g} minutes", flush=True)
        faults += soak(options.minutes / len(shapes), shape)
    for fault in list(dict.fromkeys(faults))[:20]:
        print(f"  WRONG {fault}")
    print("soak: failed" if faults else "soak: passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
