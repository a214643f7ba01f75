"""``modelpack autoscale simulate``: what a policy would do to a trace of requests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.errors import UsageError

if TYPE_CHECKING:
    from modelpack.deploy.autoscale.replay import Replay


def group(context: typer.Context) -> None:
    """
    $ modelpack autoscale simulate monday.csv --policy in_flight=4

    Try how many replicas there would be.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def simulate(
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE.csv", help="'time,requests' rows, or 'time' alone")
    ],
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME=VALUE",
            help="min_replicas, max_replicas, in_flight, window_s, up_s, down_s, max_up_factor, …",
        ),
    ] = None,
    service: Annotated[
        str, typer.Option("--service-time", metavar="TIME", help="how long a request runs (50ms)")
    ] = "50ms",
    places: Annotated[
        int, typer.Option("--places", metavar="N", help="requests that a replica runs at once (1)")
    ] = 1,
    queue: Annotated[
        int, typer.Option("--queue", metavar="N", help="requests that wait for each replica (100)")
    ] = 100,
    start: Annotated[
        str, typer.Option("--start-time", metavar="TIME", help="until a new replica answers (10s)")
    ] = "10s",
    price: Annotated[
        float, typer.Option("--price", metavar="USD", help="of a replica for an hour (0)")
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="how a rate becomes requests (1)")
    ] = 1,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="write the picture there, too")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack autoscale simulate monday.csv --policy in_flight=4 --policy max_replicas=20

    Replay a trace of requests against a scaling policy.

    Shows replicas over time, and what it would have cost: waiting, refusals, hours. Nothing is deployed.
    The targets 'local' and 'docker' follow the same formula. The service is a model of one, with a fixed time a
    request. The same words give the same result.
    """
    from modelpack.deploy.autoscale.picture import svg_picture
    from modelpack.deploy.autoscale.policy import Policy
    from modelpack.deploy.autoscale.replay import Service, replay
    from modelpack.deploy.autoscale.trace import read_trace

    try:
        wanted = Policy(**_wishes(policy or [], Policy()))
    except ValueError as error:
        raise UsageError(f"--policy: {error}") from None
    served = Service(
        service_s=_time(service, "--service-time"),
        places=places,
        queue=queue,
        start_s=_time(start, "--start-time"),
        usd_per_hour=price,
    )
    result = replay(read_trace(trace, seed=seed), wanted, served)
    if svg is not None:
        _write(svg, svg_picture(result, f"{trace.name}: {result.answered:,} answered"))
    if form is Format.JSON:
        console.out_json(facts(result))
    else:
        console.out("\n".join(lines(result)))


def _write(file: Path, text: str) -> None:
    """Write the picture; raises UsageError where nothing can be written."""
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"--svg: cannot write '{file}': {(error.strerror or str(error)).lower()}",
            hint="give a file in a folder that is there and that you may write to",
        ) from None


def _wishes(words: list[str], usual: Any) -> dict[str, Any]:
    """Read ``NAME=VALUE`` words as settings of a policy; raises UsageError."""
    from dataclasses import fields

    from modelpack.errors import did_you_mean

    known = [field.name for field in fields(usual)]
    found: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(
                f"--policy: there is no '{name[:40]}'",
                hint=f"did you mean '{near}'?" if near else f"it has {', '.join(known)}",
            )
        kind = type(getattr(usual, name))
        try:
            found[name] = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise UsageError(f"--policy: {name} must be {what}, got '{text[:40]}'") from None
    return found


def _time(text: str, flag: str) -> float:
    from modelpack.bench.load import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None


def lines(result: Replay) -> list[str]:
    """Return the picture and what came of it, for people."""
    from modelpack.deploy.autoscale.picture import text_picture

    came = result.answered + result.refused
    share = f"{result.refused / came:.2%}" if came else "none"
    cost = f", {result.cost_usd:,.2f} USD" if result.cost_usd else ""
    return [
        *text_picture(result),
        "",
        f"answered  {result.answered:,} of {came:,}; refused {result.refused:,} ({share})",
        f"time      p50 {_shown(result.p50_s)}, p99 {_shown(result.p99_s)}",
        f"replicas  at most {result.most}, {result.replica_hours:,.2f} replica hours{cost}",
    ]


def _shown(seconds: float) -> str:
    return "none" if math.isnan(seconds) else console.duration(seconds)


def facts(result: Replay) -> dict[str, Any]:
    """Return what came of it, for programs."""
    from dataclasses import asdict

    return {
        "policy": asdict(result.policy),
        "length_s": result.length_s,
        "answered": result.answered,
        "refused": result.refused,
        "p50_s": None if math.isnan(result.p50_s) else result.p50_s,
        "p99_s": None if math.isnan(result.p99_s) else result.p99_s,
        "most_replicas": result.most,
        "replica_hours": result.replica_hours,
        "cost_usd": result.cost_usd,
        "replicas": [list(one) for one in result.replicas],
        "in_flight": [list(one) for one in result.in_flight],
    }


COMMANDS = {"simulate": simulate}
