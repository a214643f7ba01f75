"""``modelpack batch``: a file of rows through a service, with no server.

SOURCE API ──opened──► Launch ─┬─ LocalEngine ─┐
                               └─ RayEngine ───┴─► run_batch ──► output, dead-letter file, facts
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.options import DevicesOption, ReplicasOption, RunnerOption, ThreadsOption
from modelpack.errors import BadRowsError, UsageError

if TYPE_CHECKING:
    from modelpack.offline.job import Job
    from modelpack.offline.launch import Opened, Wishes
    from modelpack.offline.pace import Progress
    from modelpack.offline.run import OpenEngine, Summary

_LINE_EVERY_S = 30.0


def batch(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="folder, module:Class, model.onnx or TAG")
    ],
    api: Annotated[
        str, typer.Argument(metavar="API", help="the api that answers, such as predict")
    ],
    *,
    given: Annotated[
        str,
        typer.Option(
            "-i",
            "--input",
            metavar="PATH",
            help=".csv, .jsonl, .parquet, .npy, or a folder of files; s3://BUCKET/KEY",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", metavar="PATH", help="file, or a folder of parts (PATH/); s3://BUCKET/KEY"
        ),
    ],
    constants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a parameter that no row has"),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="COLUMN", help="take a column to the output as it is"),
    ] = None,
    max_bad: Annotated[
        int | None,
        typer.Option("--max-bad", metavar="N", help="stop when more rows have no answer (never)"),
    ] = None,
    dead_letter: Annotated[
        str | None,
        typer.Option(
            "--dead-letter", metavar="PATH", help="rows without an answer (OUTPUT.bad.jsonl)"
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="begin anew, and replace an output that is there")
    ] = False,
    input_format: Annotated[
        str | None,
        typer.Option("--input-format", metavar="NAME", help="csv, jsonl, parquet or npy (by name)"),
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--output-format", metavar="NAME", help="the same; in a folder: that of the input"
        ),
    ] = None,
    part_rows: Annotated[
        int, typer.Option("--part-rows", metavar="N", help="most rows of a part (100000)")
    ] = 100_000,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="most rows in one call (as the api says)"),
    ] = None,
    replicas: ReplicasOption = None,
    runner: RunnerOption = None,
    devices: DevicesOption = None,
    threads: ThreadsOption = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="longest call of the api (3600)")
    ] = 3600.0,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="write the counters there, for Prometheus"),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|ray", help="this machine, or a Ray cluster")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", metavar="ADDRESS", help="the cluster (as RAY_ADDRESS says)"),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack batch digits:latest predict --input rows.parquet --output answers.parquet
    $ modelpack batch . predict -i s3://bucket/rows.jsonl --output s3://bucket/answers/ --keep id

    Answer the rows of a file with a service, without a server.

    A row is what the api takes, without the axis of the batch: cells of a table, an object or a value
    of .jsonl, a row of an array, a file. Rows run in the batches of the server. The run goes on where it
    was ended when the same command is given again: parts that are done are kept, whatever ended it.

    Rows that cannot be answered go to the dead-letter file with their reasons. The status is 0 when
    every row has an answer, or no more than --max-bad have none; else 1.
    """
    # Its Linux wheel sends telemetry unless this is set before anything imports it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack.offline.job import Job
    from modelpack.offline.launch import Wishes
    from modelpack.offline.run import run_batch

    if engine not in ("local", "ray"):
        raise UsageError(f"--engine: must be local or ray, got '{engine}'")
    job = Job(
        api=api,
        input=given,
        output=output,
        input_format=input_format,
        output_format=output_format,
        dead_letter=dead_letter,
        constants=constants_of(constants or ()),
        keep=tuple(keep or ()),
        max_bad=max_bad,
        part_rows=part_rows,
        restart=restart,
    )
    flags = {"replicas": replicas, "runner": runner, "devices": devices, "threads": threads}
    wishes = Wishes(flags=flags, batch_size=batch_size, timeout_s=timeout)
    job.written_format(job.find_input())  # before anything is made ready for nothing
    opened, open_engine = _opened(source, job, wishes, engine=engine, ray_address=ray_address)
    try:
        with _Shown() as shown:
            summary = run_batch(job, open_engine, source=opened.identity, on_progress=shown.show)
    except KeyboardInterrupt:
        console.note("what is done is kept: the same command goes on from there")
        raise
    if metrics is not None:
        _write_metrics(metrics, summary, opened)
    _tell(summary, job, is_json=form is Format.JSON)


def constants_of(words: Sequence[str]) -> dict[str, Any]:
    """Return what ``--set NAME=VALUE`` says; a value is JSON, or else text.  Raises UsageError."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set: must be NAME=VALUE, got '{word}'")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _opened(
    source: str, job: Job, wishes: Wishes, *, engine: str, ray_address: str | None
) -> tuple[Opened, OpenEngine]:
    """Return the service of the run, and what starts it."""
    from modelpack.cli.source import BundleSource, ModelSource, ProjectSource, source_of
    from modelpack.offline import launch
    from modelpack.offline.engine import LocalEngine

    named = source_of(source)
    if engine == "ray":
        from modelpack.offline.cluster import RayEngine, shipped

        tag = named.tag if isinstance(named, BundleSource) else None
        if tag is None:
            raise UsageError(
                "--engine ray sends a bundle to other machines",
                hint="run 'modelpack build', then give its TAG",
            )
        opened, ship = shipped(tag, job.api, job.constants, wishes, console.Steps())
        return opened, lambda: RayEngine(ship, address=ray_address)
    match named:
        case ProjectSource(folder, service):
            opened = launch.open_project(folder, service, job.api, job.constants, wishes)
        case ModelSource(file):
            opened = launch.open_model(file, job.api, job.constants, wishes)
        case BundleSource(tag):
            opened = launch.open_bundle(tag, job.api, job.constants, wishes, console.Steps())
    return opened, _announced(lambda: LocalEngine(opened.launch))


def _announced(start: Callable[[], Any]) -> OpenEngine:
    def open_engine() -> Any:
        with console.Steps().step("loading the service"):
            return start()

    return open_engine


class _Shown:
    """Shows how far a run is: drawn anew on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        from modelpack.cli.live import LiveLine

        self._line = LiveLine()
        self._last = time.monotonic()
        self._is_terminal = console.is_terminal(sys.stderr)

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def show(self, progress: Progress) -> None:
        """Show it, if it is time to."""
        now = time.monotonic()
        if now - self._last < (0.1 if self._is_terminal else _LINE_EVERY_S):
            return
        self._last = now
        if self._is_terminal:
            self._line.show(progress_text(progress))
        else:
            console.note(progress_text(progress))


def progress_text(progress: Progress) -> str:
    """Return how far a run is, in a line."""
    total = f" of {progress.total:,}" if progress.total is not None else ""
    bad = f", {progress.bad:,} bad" if progress.bad else ""
    left = f", {console.duration(progress.left_s)} left" if progress.left_s is not None else ""
    return (
        f"{progress.share:4.0%}  {progress.rows:,}{total} rows{bad}, "
        f"{_rate(progress.rate)} rows/s{left}"
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _tell(summary: Summary, job: Job, *, is_json: bool) -> None:
    """Print what came of the run; raises BadRowsError when rows without an answer were not allowed."""
    if is_json:
        console.out_json(_facts(summary))
    else:
        resumed = f", {summary.resumed_rows:,} of them before" if summary.resumed_rows else ""
        console.note(
            f"{_rows(summary.rows)}{resumed}, {_rate(summary.rate)} rows/s, "
            f"{console.duration(summary.seconds)}"
        )
        if said := _batches(summary):
            console.note(said)
        console.out(summary.output)
    if summary.first_bad is not None and not is_json:
        console.note(summary.first_bad)
    if summary.bad and job.max_bad is None:
        have = "has" if summary.bad == 1 else "have"
        some = f"{summary.bad:,} of {_rows(summary.rows)} {have} no answer, all others have"
        none = f"none of {_rows(summary.rows)} has an answer"
        raise BadRowsError(
            none if summary.bad == summary.rows else some,
            hint=f"'{summary.dead_letter}' says why; --max-bad N says how many are fine",
        )
    if summary.bad:
        have = "row has" if summary.bad == 1 else "rows have"
        console.warn(f"{summary.bad:,} {have} no answer, '{summary.dead_letter}' says why")


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _batches(summary: Summary) -> str:
    """Return what the batches were like, in a line; '' when there were none."""
    from modelpack.server.observe.snapshot import from_plain, merge

    found = [one.batches for one in merge(from_plain(summary.readings)) if one.batches is not None]
    if not found or not found[0].batches or not summary.seconds:
        return ""
    stats = found[0]
    busy = min(1.0, stats.run_s / summary.seconds)
    calls = "1 call" if stats.batches == 1 else f"{stats.batches:,} calls"
    return (
        f"{calls} of {stats.rows / stats.batches:.1f} rows, "
        f"the service was busy for {busy:.0%} of the time"
    )


def _facts(summary: Summary) -> Mapping[str, object]:
    return {
        "output": summary.output,
        "dead_letter": summary.dead_letter,
        "rows": summary.rows,
        "bad": summary.bad,
        "resumed_rows": summary.resumed_rows,
        "seconds": round(summary.seconds, 3),
        "rows_per_second": round(summary.rate, 1),
        "parts": summary.parts,
    }


def _write_metrics(file: Path, summary: Summary, opened: Opened) -> None:
    """Write the page that ``/metrics`` of a server would show."""
    from modelpack.offline.places import write_whole
    from modelpack.server.observe.metrics import Metrics
    from modelpack.server.observe.snapshot import from_plain

    name = str(opened.identity.get("bundle") or opened.identity.get("project") or "")
    page = Metrics(service=opened.tag or Path(name).name, tag=opened.tag)
    write_whole(file.absolute(), iter([page.render(from_plain(summary.readings))]))
