"""The aims of the server, measured, as one Markdown table.

    python tests/benchmarks/bench_aims.py [--quick] [--only NAME ...] [--peers] [--json FILE]

Names: w0 w1 w1-process w2 w3 checks single start memory overload hung-up swaps stop.  What is measured and
how is told in ``aims``; with ``--peers`` other servers run the same W0, W1 and W2 beside ours, each in
an environment of its own that is made on demand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from aims.changing import stops, swaps
from aims.checks import checks
from aims.context import Context
from aims.heavy import w3
from aims.machine import pins
from aims.models import write_models
from aims.overload import hung_up, overload
from aims.single import single
from aims.starting import memory, starting
from aims.table import Row, markdown, skipped
from aims.throughput import w0, w1, w1_process, w2

MEASUREMENTS: dict[str, Callable[[Context], list[Row]]] = {
    "w0": w0,
    "w1": w1,
    "w1-process": w1_process,
    "w2": w2,
    "w3": w3,
    "checks": checks,
    "single": single,
    "start": starting,
    "memory": memory,
    "overload": overload,
    "hung-up": hung_up,
    "swaps": swaps,
    "stop": stops,
}
NEED_WRK = {"w0", "w1", "w1-process", "w2", "w3", "single", "memory"}


def run(context: Context, names: list[str]) -> list[Row]:
    """Measure one after the other; one that fails is told in its row and stops no other."""
    rows: list[Row] = []
    for name in names:
        context.say(f"{name} …")
        if name in NEED_WRK and not context.has_wrk:
            rows.append(skipped(name, "'wrk' is not installed"))
            continue
        try:
            rows += MEASUREMENTS[name](context)
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            rows.append(Row(name, "", f"failed: {type(error).__name__}: {text}", is_met=False))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short rounds: a smoke test")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=MEASUREMENTS, default=[])
    parser.add_argument("--peers", action="store_true", help="beside other servers")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aims-"))
    rounds, seconds = (2, 1.0) if options.quick else (5, 4.0)
    context = Context(
        folder=folder,
        pins=pins(),
        rounds=options.rounds or rounds,
        seconds=options.seconds or seconds,
        is_quick=options.quick,
        with_peers=options.peers,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    try:
        os.environ["MODELPACK_HOME"] = str(folder / "home")
        write_models(folder)
        rows = run(context, options.only or list(MEASUREMENTS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not context.pins.is_apart:
        rows.append(Row("(server and load shared one processor)"))
    print(f"{platform.machine()}, {_processor()}, Python {platform.python_version()}\n")
    print(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
