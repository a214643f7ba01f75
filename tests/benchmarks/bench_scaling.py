"""Replays a bursty trace against deployed services, and draws how many replicas they had.

    python tests/benchmarks/bench_scaling.py [--target docker|local ...] [--base IMAGE] [TRACE.csv]
    python tests/benchmarks/bench_scaling.py --redraw      from the last measurements

    trace ─┬─► the simulator ──────────────────────► replicas over time ─┐
           └─► an open loop at what is deployed ─► what its keeper decided ┴─► scaling.svg, a table

The service waits half a second for each request and needs no processor, so that a small machine
does.  The knobs of the formula are shortened, so that two minutes show sleep, wake, growth and
shrinking.  What was measured is kept in ``scaling.json`` beside this file; the picture and the table are
made from it.  Exit status 1: a request failed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from open_loop import Outcome, play

from modelpack.deploy.autoscale.asked import policy_of
from modelpack.deploy.autoscale.picture import Line, svg_lines
from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.autoscale.replay import Replay, Service, replay
from modelpack.deploy.autoscale.trace import Trace, read_trace
from modelpack.image import connect

HERE = Path(__file__).parent
TRACE = HERE / "scaling.csv"
SAVED = HERE / "scaling.json"
PICTURE = HERE.parents[1] / "docs" / "explanation" / "scaling.svg"
MODELPACK = str(Path(sys.executable).with_name("modelpack"))
SERVICE_S = 0.5
ASLEEP_WITHIN_S = 60.0
NAME = "scaling-bench"
KNOBS = {
    "min": 0,
    "max": 6,
    "in_flight": 4,
    "idle_s": 8,
    "every_s": 1,
    "window_s": 3,
    "cooldown_up_s": 2,
    "cooldown_down_s": 6,
    "max_up_factor": 2,
    "max_down_factor": 0.5,
}
"""What stands under ``deploy.scaling`` of the service."""

SERVICE = f"""
import asyncio

import modelpack


@modelpack.service
class Waiting:
    @modelpack.api
    async def work(self, x: int) -> int:
        await asyncio.sleep({SERVICE_S})
        return x
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one target did."""

    target: str
    replicas: list[tuple[float, int]]
    """From which second of the trace on its keeper wanted how many."""
    answered: int
    failed: int
    errors: dict[str, int]
    p50_s: float
    p99_s: float
    most_s: float
    late_s: float


def knobs() -> Policy:
    """Return the policy of the knobs, as a target has it."""
    from modelpack.config.settings import WRITTEN_KEYS, DeploySettings

    fields = {written: field for field, written in WRITTEN_KEYS.items()}
    policy = policy_of(DeploySettings(**{fields.get(key, key): one for key, one in KNOBS.items()}))
    assert policy is not None
    return policy


def simulated(trace: Trace, start_s: float = 0.5) -> Replay:
    """Return what the simulator says of the same service."""
    return replay(trace, knobs(), Service(service_s=SERVICE_S, places=64, start_s=start_s))


def measure(target: str, trace: Trace, base: str | None) -> Measured:
    """Deploy the service, replay the trace, and take the deployment away again."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        home = Path(folder)
        env = {**os.environ, "MODELPACK_HOME": str(home / "home")}
        project = home / "project"
        project.mkdir()
        (project / "service.py").write_text(SERVICE)
        deploy = {"target": target, "port": 0, "scaling": KNOBS}
        described = {"service": "service:Waiting", "name": NAME, "deploy": deploy}
        (project / "modelpack.yaml").write_text(json.dumps(described))
        tag = _run([MODELPACK, "build"], project, env).strip()
        words = ["--base", base] if base and target == "docker" else []
        _run([MODELPACK, "deploy", "--yes", *words], project, env)
        try:
            return _replayed(target, trace, project, env)
        finally:
            _run([MODELPACK, "deployments", "destroy", NAME, "--yes"], project, env)
            if target == "docker":
                with connect() as engine:
                    engine.remove_image(tag)


def _replayed(target: str, trace: Trace, project: Path, env: Mapping[str, str]) -> Measured:
    status = [MODELPACK, "deployments", "status", NAME, "-o", "json"]
    url = json.loads(_run(status, project, env))["url"]
    until = time.monotonic() + ASLEEP_WITHIN_S
    while json.loads(_run(status, project, env))["replicas"]["awake"]:
        if time.monotonic() > until:
            raise SystemExit(f"what nobody asks is awake after {ASLEEP_WITHIN_S:.0f} s")
        time.sleep(0.5)
    outcome = play(trace.arrivals, f"{url}/work", b'{"x":1}', length_s=trace.length_s)
    said = _run([MODELPACK, "deployments", "logs", NAME], project, env)
    return Measured(
        target=target,
        replicas=replicas_of(said.splitlines(), outcome, trace.length_s),
        answered=outcome.answered,
        failed=outcome.failed,
        errors=dict(outcome.errors),
        p50_s=round(outcome.quantile(0.5), 3),
        p99_s=round(outcome.quantile(0.99), 3),
        most_s=round(outcome.quantile(1.0), 3),
        late_s=round(outcome.late_s, 3),
    )


def replicas_of(lines: Sequence[str], outcome: Outcome, length_s: float) -> list[tuple[float, int]]:
    """Read from the log how many replicas the keeper wanted, from the first second of the load on.

    They sleep at first.
    """
    found: list[tuple[float, int]] = [(0.0, 0)]
    for line in lines:
        said = _event(line)
        if said.get("event") not in ("waking", "scaled", "asleep"):
            continue
        at = datetime.fromisoformat(said["time"]).timestamp() - outcome.began
        if at <= 0:
            found[0] = (0.0, int(said["to"]))
        elif at <= length_s:
            found.append((round(at, 2), int(said["to"])))
    return found


def _event(line: str) -> dict[str, Any]:
    """Return a line of a log as an event; nothing for other lines."""
    try:
        said = json.loads(line[line.index("{") :])
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def difference(
    one: Sequence[tuple[float, int]], other: Sequence[tuple[float, int]], length_s: float
) -> tuple[float, float]:
    """Return by how many replicas two counts differ, on average over the time, and the share of
    the time in which they do not."""
    moments = sorted({at for at, _ in (*one, *other)} | {length_s})
    apart = same = 0.0
    for begin, end in itertools.pairwise(moments):
        gap = abs(_at(one, begin) - _at(other, begin))
        apart += gap * (end - begin)
        same += 0.0 if gap else end - begin
    return apart / length_s, same / length_s


def _at(series: Sequence[tuple[float, int]], moment: float) -> int:
    return next(count for at, count in reversed(series) if at <= moment)


def draw(trace: Trace, found: Sequence[Measured]) -> str:
    """Return the picture of the simulator's replicas, those of the targets, and the load."""
    said = simulated(trace)
    lines = [
        Line("simulator", said.replicas),
        *(Line(f"'{one.target}'", one.replicas) for one in found),
    ]
    load = Line("requests a second", per_second(trace))
    title = "Replicas of one trace: the simulator and what the targets did"
    return svg_lines(title, trace.length_s, lines, load, (760, 300))


def per_second(trace: Trace) -> list[tuple[float, int]]:
    """Return the load as steps of a second."""
    counts = [0] * (int(trace.length_s) + 1)
    for moment in trace.arrivals:
        counts[int(moment)] += 1
    return [(float(second), count) for second, count in enumerate(counts)]


def table(trace: Trace, found: Sequence[Measured]) -> str:
    """Return what is to be said of it, as Markdown."""
    said = simulated(trace)
    rows = [
        "| | answered | failed | p50 | p99 | most replicas | apart, on average | the same |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        (
            f"| simulator | {said.answered} | {said.refused} | {said.p50_s:.2f} s | {said.p99_s:.2f} s "
            f"| {said.most} | | |"
        ),
    ]
    for one in found:
        apart, same = difference(said.replicas, one.replicas, trace.length_s)
        most = max(count for _, count in one.replicas)
        rows.append(
            f"| `{one.target}` | {one.answered} | {one.failed} | {one.p50_s:.2f} s "
            f"| {one.p99_s:.2f} s | {most} | {apart:.2f} replicas | {same:.0%} of the time |"
        )
    return "\n".join(rows)


def load() -> list[Measured]:
    """Return what was measured last."""
    return [Measured(**one) for one in json.loads(SAVED.read_text())]


def _run(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(argv, cwd=folder, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[1:])} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trace", type=Path, nargs="?", default=TRACE)
    parser.add_argument("--target", choices=("docker", "local"), action="append")
    parser.add_argument("--base", default=os.environ.get("ENGINE_BASE_IMAGE"))
    parser.add_argument("--redraw", action="store_true")
    options = parser.parse_args()
    trace = read_trace(options.trace)
    is_kept = options.trace == TRACE
    found = {one.target: one for one in load()} if is_kept and SAVED.exists() else {}
    if not options.redraw:
        for target in options.target or ("docker", "local"):
            found[target] = measure(target, trace, options.base)
            print(f"{target}: {found[target]}", flush=True)
    kept = [found[target] for target in sorted(found)]
    print(table(trace, kept))
    if is_kept:
        SAVED.write_text(json.dumps([asdict(one) for one in kept], indent=1) + "\n")
        PICTURE.write_text(draw(trace, kept))
    return 1 if any(one.failed for one in kept) else 0


if __name__ == "__main__":
    sys.exit(main())
