"""Rows a second of ``modelpack batch`` against plain loops over the method, in one process.

    python tests/benchmarks/bench_offline.py [--rows N] [--rounds N]

Beside the rate stands the processor time of a row, of both processes together with the start of the
service's taken off; that hardly minds what else the machine does.

``loop 1`` calls the method once for each row, ``loop 32`` once for 32 rows: what somebody writes
who has the array in memory already, with one onnxruntime thread pool and nothing read or written.
``npy``, ``parquet``, ``csv`` and ``jsonl`` are whole runs of the command less its start: rows are read
from a file of that form, decoded, answered in batches of 32 and written to one of the same form (npy to Parquet), parts
and records on the disk.  Everything in turns; the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from aims.models import row_of, write_models

from modelpack.frameworks.zero import service_from_model
from modelpack.offline.engine import LocalEngine
from modelpack.offline.job import Job
from modelpack.offline.launch import Wishes, open_model
from modelpack.offline.run import run_batch

Figures = tuple[float, float]
"""Rows a second, and microseconds of processor time a row."""

FORMS = ("npy", "parquet", "csv", "jsonl")


def main() -> None:
    """Measure and print a table for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the small model")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelpack-bench-") as name:
        folder = Path(name)
        write_models(folder)
        for model, rows in (("tiny", options.rows * 5), ("mlp", options.rows // 4)):
            print(f"{model}: {rows:,} rows")
            for what, found in measure(folder, model, rows, options.rounds).items():
                rate, cpu_us = (median(column) for column in zip(*found, strict=True))
                print(
                    f"  {what:<8} {rate:>12,.0f} rows/s  {cpu_us:>8.1f} µs of processor time a row"
                )


def measure(folder: Path, model: str, rows: int, rounds: int) -> dict[str, list[Figures]]:
    """Return the figures of each way, for every round."""
    data = row_of(model, rows)
    write_inputs(folder, data)
    file = folder / f"{model}.onnx"
    ways: dict[str, Callable[[], Figures]] = {
        "loop 1": lambda: loop(file, data[: max(500, rows // 10)], 1),
        "loop 32": lambda: loop(file, data, 32),
        **{form: lambda form=form: run(folder, file, form) for form in FORMS},  # type: ignore[misc]
    }
    found: dict[str, list[Figures]] = {what: [] for what in ways}
    for _ in range(rounds):
        for what, way in ways.items():
            found[what].append(way())
    return found


def write_inputs(folder: Path, data: Any) -> None:
    """Write the rows in every form."""
    np.save(folder / "rows.npy", data)
    columns = {f"c{i}": data[:, i] for i in range(data.shape[1])}
    pq.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=4096)
    lines = [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for row in data]
    header = ",".join(columns).encode()
    (folder / "rows.csv").write_bytes(b"\n".join([header, *lines]) + b"\n")
    (folder / "rows.jsonl").write_bytes(b"".join(b'{"x":[' + line + b"]}\n" for line in lines))


def loop(file: Path, data: Any, batch: int) -> Figures:
    """Return the figures of calls of the method, ``batch`` rows each."""
    method = service_from_model(file).create().predict
    method(x=data[:batch])
    began, cpu = perf_counter(), process_time()
    for start in range(0, len(data), batch):
        method(x=data[start : start + batch])
    rows = len(data)
    return rows / (perf_counter() - began), (process_time() - cpu) / rows * 1e6


def run(folder: Path, file: Path, form: str) -> Figures:
    """Return the figures of a whole run."""
    output = folder / f"out.{form if form != 'npy' else 'parquet'}"
    opened = open_model(file, "predict", {}, Wishes(flags={}))
    job = Job(api="predict", input=str(folder / f"rows.{form}"), output=str(output), restart=True)
    cpu_s = cpu_now()
    LocalEngine(opened.launch).close()
    start_s = cpu_now() - cpu_s
    done = run_batch(job, lambda: LocalEngine(opened.launch), source=opened.identity)
    return done.rate, (cpu_now() - cpu_s - 2 * start_s) / done.rows * 1e6


def cpu_now() -> float:
    """Return the processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    sys.exit(main())
