"""``modelpack bench``: the words of the command; what it does with them stands in ``bench_runs``.

URL, SOURCE ──opened──► servers ──┬─ one run ─────────► facts, --save, --compare, goals
                                  ├─ --against ───────► two servers in turns, differences
                                  └─ --preset ────────► suites, one table each
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.options import HeaderOption, InsecureOption


def bench(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URL|SOURCE",
            help="a server, or what 'serve' takes, served for this run; default: the project here",
        ),
    ] = None,
    *,
    api: Annotated[
        list[str] | None,
        typer.Option("--api", metavar="NAME", help="api to call (the first); several: all at once"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", help="open loop: requests a second, come what may"),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option("--arrivals", metavar="constant|poisson", help="how an open loop spaces them"),
    ] = "constant",
    concurrency: Annotated[
        int | None,
        typer.Option(
            "-c", "--concurrency", metavar="N", help="closed loop: that many at a time (16)"
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option("--connections", metavar="N", help="most connections of an open loop (512)"),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "-d", "--duration", metavar="TIME", help="how long (10s); of a preset: a step (3s)"
        ),
    ] = None,
    warmup: Annotated[
        str, typer.Option("--warmup", metavar="TIME", help="load before counting begins (1s)")
    ] = "1s",
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="TIME", help="a request is given up after this (30s)"),
    ] = "30s",
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", help="processes that send (1)")
    ] = 1,
    file: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--input",
            metavar="FILE",
            help="body: .json, .jsonl (in turns), .npy; @- is standard input; default: the example",
        ),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option("--content-type", metavar="TYPE", help="send the file as it is, as this type"),
    ] = None,
    binary: Annotated[
        bool, typer.Option("--binary", help="send the tensor as bytes instead of JSON")
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows", metavar="N", min=1, help="repeat the rows of the body up to so many"
        ),
    ] = None,
    header: HeaderOption = None,
    insecure: InsecureOption = False,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="throughput, latency, ping, load, repeated-scale, multiple-models, concurrency, all",
        ),
    ] = None,
    admin_socket: Annotated[
        Path | None,
        typer.Option("--admin-socket", metavar="FILE", help="of the server, for repeated-scale"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="URL|SOURCE", help="compare with a second one, in turns"),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=2, help="turns of each with --against (8)")
    ] = 8,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="keep the run")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="FILE", help="compare with a kept run")
    ] = None,
    fail_if_worse: Annotated[
        float | None,
        typer.Option(
            "--fail-if-worse", metavar="PERCENT", help="status 1 when clearly worse by more"
        ),
    ] = None,
    max_p99: Annotated[
        float | None, typer.Option("--max-p99", metavar="MS", help="status 1 when p99 is longer")
    ] = None,
    min_rate: Annotated[
        float | None, typer.Option("--min-rate", metavar="N", help="status 1 when answered slower")
    ] = None,
    max_errors: Annotated[
        float | None,
        typer.Option("--max-errors", metavar="PERCENT", help="status 1 when more requests fail"),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack bench http://127.0.0.1:3000 --rate 500
    $ modelpack bench digits:latest --concurrency 32 --save before.json

    Put a server under load and say how fast it answers.

    What it counted meanwhile is read from its metrics, and one line says what to do about it.

    With --rate it is an open loop: requests leave at their times, and latency counts from the time at
    which a request was to leave, so a stall is seen in full. Else a closed loop, which asks how fast
    the server can go. A SOURCE (a project, a model, a TAG) is served on a free port meanwhile.

    The body is the example in the server's /openapi.json unless --input gives another. A URL with a
    path is called as it is: POST with --input, else GET.
    """  # fmt: skip
    from modelpack.bench.goals import Goals
    from modelpack.bench.inputs import Input
    from modelpack.cli import bench_runs
    from modelpack.errors import UsageError

    if preset is not None and (against or compare or fail_if_worse is not None):
        raise UsageError("--preset makes tables, there is nothing to compare")
    if rate is not None and concurrency is not None:
        raise UsageError("--rate and --concurrency exclude each other", hint="open loop or closed?")
    if fail_if_worse is not None and not (against or compare):
        raise UsageError("--fail-if-worse needs --compare FILE or --against URL")
    flags = bench_runs.Flags(
        apis=tuple(api or ()),
        given=Input(file=file, content_type=content_type, binary=binary, rows=rows),
        headers=bench_runs.headers_of(header or ()),
        verifies=not insecure,
        save=save,
        compare=compare,
        fail_if_worse=fail_if_worse,
        goals=Goals(max_p99_ms=max_p99, min_rate=min_rate, max_failed_percent=max_errors),
        is_json=form is Format.JSON,
    )
    load = bench_runs.load_of(
        {"duration": duration or ("3s" if preset else "10s"), "warmup": warmup, "timeout": timeout},
        rate=rate,
        arrivals=arrivals,
        concurrency=concurrency,
        connections=connections,
        processes=processes,
    )
    with ExitStack() as stack:
        servers = [bench_runs.open_in(stack, one, flags) for one in targets or (None,)]
        if preset is not None:
            status = bench_runs.suites(preset, servers, load, flags, admin_socket)
        elif against is not None:
            other = bench_runs.open_in(stack, against, flags)
            status = bench_runs.in_turns(servers, other, load, rounds, flags)
        else:
            status = bench_runs.one_run(servers, load, flags)
    raise typer.Exit(status)
