"""What it takes to put weights into the store, to check them and to move them.

    python tests/benchmarks/bench_store.py [--mebibytes 1024] [--rounds 3] [--place DIR]

One file of random bytes; for each step the least wall clock of several rounds, the processor time of
that round, and the time that went into flushing to the disk.  ``sha256`` is what hashing the file
once costs, alone; ``save again`` is another version with the same weights.  With ``--place
/dev/shm`` no disk is in the way.  The peak of resident memory (VmHWM) is of this whole process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.manifest import FileRecord, ModelRecord
from modelpack.store import Store
from modelpack.store.system import Io

MEBIBYTE = 2**20


class TimedIo(Io):
    """Adds up the time that goes into flushing."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sync(self, handle: int) -> None:
        begin = time.perf_counter()
        super().sync(handle)
        self.seconds += time.perf_counter() - begin


@dataclass
class Table:
    """The least of several rounds for each step: wall, processor, flushing; in seconds."""

    io: TimedIo
    rows: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Run one step and keep it if it was the quickest so far."""
        self.io.seconds = 0.0
        cpu, begin = time.process_time(), time.perf_counter()
        work()
        found = (time.perf_counter() - begin, time.process_time() - cpu, self.io.seconds)
        self.rows[name] = min(found, self.rows.get(name, found))


def write_random(file: Path, mebibytes: int) -> None:
    """Write random bytes in which no two blocks are alike, and flush them."""
    block = bytearray(os.urandom(MEBIBYTE))
    with file.open("wb") as out:
        for number in range(mebibytes):
            block[:8] = number.to_bytes(8, "big")
            out.write(block)
        out.flush()
        os.fsync(out.fileno())


def sha256_of(file: Path) -> str:
    """Return the digest of a file, hashed alone."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def one_round(place: Path, source: Path, table: Table) -> None:
    """Do everything once, with fresh stores."""
    weights = source / "weights.bin"
    table.time("sha256", lambda: sha256_of(weights))
    file = FileRecord(
        path=weights.name, mode=0o644, size=weights.stat().st_size, sha256=sha256_of(weights)
    )
    record = ModelRecord(name="big", framework="onnx", files=(file,))
    here, there = Store(place / "here", io=table.io), Store(place / "there", io=table.io)
    table.time("save", lambda: here.add_model(record, source, version="1"))
    table.time("save again", lambda: here.add_model(record, source, version="2"))
    entry = here.list()[0]
    archive = place / "big.modelpack"
    table.time("verify", lambda: here.verify(entry))
    table.time("export", lambda: here.export(entry, archive))
    table.time("import", lambda: there.import_(archive))
    table.time("unpack", lambda: there.unpack(entry, place / "out"))
    for used in (here.root, there.root, place / "out"):
        shutil.rmtree(used)
    archive.unlink()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        write_random(source / "weights.bin", options.mebibytes)
        table = Table(TimedIo())
        for _ in range(options.rounds):
            one_round(Path(folder), source, table)
    print(f"{options.mebibytes} MiB, the quickest of {options.rounds} rounds, in seconds")
    print(f"{'':12}{'wall':>8}{'processor':>11}{'flushing':>10}")
    for name, (wall, cpu, flushing) in table.rows.items():
        print(f"{name:12}{wall:8.2f}{cpu:11.2f}{flushing:10.2f}")
    peak = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]
    print(f"peak of resident memory: {peak} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
