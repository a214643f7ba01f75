"""Measures what batching does under rising load, and draws it: docs/explanation/batching.svg.

    python tests/benchmarks/draw_batching.py [--quick] [--rounds N] [--seconds S]
    python tests/benchmarks/draw_batching.py --redraw      from the last measurements

For each model three servers are measured in turns, each with a processor of its own: without
batching, with the defaults, and with a fixed window of 5 ms.  ``modelpack bench`` offers more and
more requests a second, at random moments, until the server no longer keeps up.  The quietest of
several rounds counts: what is slower was the machine.  It is kept in ``batching.json``, beside this
file, and drawn.  The table also says how much more each way can serve while 99 % of the requests are
answered within the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
SAVED = HERE / "batching.json"
PICTURE = HERE.parents[1] / "docs" / "explanation" / "batching.svg"
WAYS = {"none": "no batching", "ours": "modelpack", "window": "fixed window of 5 ms"}
TITLES = {
    "tiny": "tiny ONNX model, 4 numbers",
    "mlp": "MLP 784-1024-1024-10",
    "wide": "MLP 784-4096-4096-10",
}
RATES = {
    "tiny": (500, 1000, 2000, 4000, 8000, 14000),
    "mlp": (250, 500, 1000, 2000, 4000, 6000, 8000),
    "wide": (50, 100, 200, 400, 800, 1400, 2000),
}
KEEPS_UP = 0.97
"""Share of what is offered that is answered well while a server keeps up."""
QUEUED_MS = 100.0
"""Half of the requests take longer only where a queue grows."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one model, batched in one way, at one rate."""

    model: str
    way: str
    offered: float
    answered: float
    p50_ms: float
    p99_ms: float
    batch: float

    @property
    def keeps_up(self) -> bool:
        """True when the server answered what was offered, and no queue grew."""
        return self.answered >= KEEPS_UP * self.offered and self.p50_ms < QUEUED_MS


def processors() -> tuple[list[str], list[str]]:
    """Return command prefixes that pin the server and the client to processors of their own."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or shutil.which("taskset") is None:
        return [], []
    return ["taskset", "-c", str(usable[0])], ["taskset", "-c", str(usable[1])]


@contextmanager
def serving(folder: Path, model: str, way: str, pin: list[str]) -> Iterator[str]:
    """Run a server meanwhile; gives its URL."""
    command = [*pin, sys.executable, str(HERE / "batching_service.py"), str(folder), model, way]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        if not url:
            raise SystemExit(f"the server ended with status {server.wait()}")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=40)
        if server.stdout is not None:
            server.stdout.close()


def measure(url: str, kind: tuple[str, str], rate: float, seconds: float, pin: list[str]) -> Point:
    """Load the server of a model and a way for a while."""
    program = [str(Path(sys.executable).with_name("modelpack")), "bench", url]
    load = ["--rate", f"{rate:g}", "--arrivals", "poisson", "-d", f"{seconds:g}s", "-o", "json"]
    load += ["--warmup", "0.5s"]
    done = subprocess.run([*pin, *program, *load], capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(f"the load generator failed:\n{done.stderr}")
    run = json.loads(done.stdout)["runs"][0]
    requests, latency = run["requests"], run["latency_ms"]
    return Point(
        *kind,
        offered=requests["offered"] / run["seconds"],
        answered=requests["good"] / run["seconds"],
        p50_ms=latency["p50"],
        p99_ms=latency["p99"],
        batch=run["server"]["mean_batch"] if run["server"] else 1.0,
    )


def sweep(model: str, rounds: int, seconds: float) -> list[Point]:
    """Return what was measured of one model, rate by rate, all ways in turns."""
    pin_server, pin_client = processors()
    found: list[Point] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        urls = {}
        for way in WAYS:
            urls[way] = stack.enter_context(serving(Path(name), model, way, pin_server))
            measure(urls[way], (model, way), RATES[model][0], 1, pin_client)  # it learns
        for rate in RATES[model]:
            seen: dict[str, list[Point]] = {way: [] for way in urls}
            for _ in range(rounds):
                for way, url in urls.items():
                    seen[way].append(measure(url, (model, way), rate, seconds, pin_client))
            for way, points in seen.items():
                found.append(min(points, key=lambda point: point.p99_ms))
                print(_row(found[-1]), flush=True)
                if not found[-1].keeps_up:
                    del urls[way]  # a higher rate would only show a longer queue
    return found


def _row(point: Point) -> str:
    return (
        f"{point.model:6}{point.way:8}{point.offered:9.0f}/s {point.answered:9.0f}/s"
        f"{point.p50_ms:9.2f} ms{point.p99_ms:9.2f} ms{point.batch:8.1f} rows"
    )


def most_within(points: list[Point], model: str, way: str, p99_ms: float) -> float:
    """Return the highest rate that a way served with 99 % of the answers in time; 0: none."""
    return max(
        (
            point.answered
            for point in points
            if (point.model, point.way) == (model, way)
            and point.keeps_up
            and point.p99_ms <= p99_ms
        ),
        default=0.0,
    )


def table(points: list[Point]) -> str:
    """Return what each way serves at equal p99, as Markdown."""
    lines = ["| model | p99 within | no batching | fixed window | modelpack | of no batching |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for model in dict.fromkeys(point.model for point in points):
        for limit in (10.0, 20.0, 50.0):
            none, window, ours = (
                most_within(points, model, way, limit) for way in ("none", "window", "ours")
            )
            ratio = f"{ours / none:.1f} times" if none else "–"
            cells = (f"{none:,.0f}/s", f"{window:,.0f}/s", f"{ours:,.0f}/s", ratio)
            lines.append(f"| {TITLES[model]} | {limit:g} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_points(points: list[Point]) -> str:
    """Return the picture."""
    from chart import Line, Panel, draw

    panels = []
    for model in dict.fromkeys(point.model for point in points):
        of_way = {
            name: [p for p in points if (p.model, p.way) == (model, way)]
            for way, name in WAYS.items()
        }
        for what, field, bounds in (
            ("p50 in ms", "p50_ms", (0.1, 1000.0)),
            ("p99 in ms", "p99_ms", (0.1, 1000.0)),
            ("rows in a batch", "batch", (1.0, 32.0)),
        ):
            lines = [
                Line(name, [(point.offered, getattr(point, field)) for point in found])
                for name, found in of_way.items()
            ]
            load = "requests a second, offered"
            panels.append(Panel(TITLES[model], load, what, lines, bounds_y=bounds))
    return draw(
        panels,
        columns=3,
        title="Latency and batch size under rising load",
        note="each line ends where the server no longer keeps up; server and load generator had a processor each",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of 1.5 s")
    parser.add_argument("--redraw", action="store_true", help="do not measure")
    parser.add_argument("--model", action="append", choices=list(RATES), help="only that one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1.5
    points = [Point(**one) for one in json.loads(SAVED.read_text())] if SAVED.exists() else []
    for model in [] if options.redraw else options.model or list(RATES):
        points = [p for p in points if p.model != model]
        points += sweep(model, options.rounds, options.seconds)
        SAVED.write_text(json.dumps([asdict(p) for p in points], indent=1) + "\n")
    points.sort(key=lambda point: list(RATES).index(point.model))
    PICTURE.write_text(draw_points(points))
    print(table(points))


if __name__ == "__main__":
    main()
