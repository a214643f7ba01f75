"""W0, W1, W2: what one request costs the server in processor time, beside others in the same run.

servers of one workload, all up ──wrk, in turns──► median µs a request
the model alone (``floor``), in the same turns ──► what is the server's own
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np

from aims.context import Context
from aims.floor import best_cost
from aims.load import Request, Round, binary_request, json_request, middle, wrk
from aims.models import row_of
from aims.peers import PEERS, peer_server
from aims.serving import Running, nginx, nginx_missing, our_server, write_echo
from aims.table import Row, skipped

LEAST_RATIO = 2.8
"""How many times as much the best peer should cost, in W0 and W1."""

Contender = tuple[Running, Request]


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of every server of a workload, by name, and of the model alone."""

    rounds: dict[str, list[Round]]
    model_us: float | None

    def cpu_us(self, name: str) -> float:
        """Return the median cost of a request."""
        return middle(self.rounds[name]).cpu_us

    @property
    def ours(self) -> str:
        """Our name in the table."""
        return next(name for name in self.rounds if name.startswith("modelpack"))


def w0(context: Context) -> list[Row]:
    """W0: four floats in, the same out."""

    def contenders(stack: ExitStack) -> list[Contender]:
        cwd = context.folder
        ours = our_server(f"{write_echo(cwd)}", context.pins, cwd=cwd)
        found = [(stack.enter_context(ours), json_request("/echo", None))]
        if not nginx_missing():
            server = stack.enter_context(nginx("[5.1,3.5,1.4,0.2]", context.pins, cwd=cwd))
            found.append((server, Request("/", method="GET")))
        return found

    measured, rows = _measure(context, contenders, "echo", connections=32)
    return [*_against(measured, "W0 echo, JSON, 32 connections", 18.0), *rows]


def w1(context: Context) -> list[Row]:
    """W1: a model so small that the server is all that costs."""
    measured, rows = _measure(context, _ours(context, "tiny"), "tiny", connections=32)
    return [*_against(measured, "W1 tiny ONNX, JSON, 32 connections", 22.0), *rows]


def w1_process(context: Context) -> list[Row]:
    """W1 with its runner in a process: front and runner together."""
    contenders = _ours(context, "tiny", settings={"runner": "process"})
    measured, _ = _measure(context, contenders, None, connections=128)
    cost = measured.cpu_us(measured.ours)
    what = "W1 through one runner process, 128 connections"
    return [Row(what, "40 µs", _text(measured, measured.ours), cost <= 40, {"cpu_us": cost})]


def w2(context: Context) -> list[Row]:
    """W2: an MLP of 1.9 million weights, rows as JSON and as bytes, at two concurrencies."""
    found = []
    for connections in (32, 128):
        for form, own_us in (("JSON", 40.0), ("binary", 20.0)):
            request = (json_request if form == "JSON" else binary_request)("/predict", "mlp")
            workload = "mlp" if form == "JSON" else "mlp-binary"
            measured, rows = _measure(
                context, _ours(context, "mlp", request=request), workload, connections=connections,
                model="mlp",
            )  # fmt: skip
            what = f"W2 MLP, {form}, {connections} connections"
            found += [*_over_the_model(measured, what, own_us), *rows]
    return found


def _ours(
    context: Context,
    model: str,
    *,
    request: Request | None = None,
    settings: dict[str, object] | None = None,
) -> Callable[[ExitStack], list[Contender]]:
    def contenders(stack: ExitStack) -> list[Contender]:
        file = context.folder / f"{model}.onnx"
        server = our_server(file, context.pins, cwd=context.folder, settings=settings)
        return [(stack.enter_context(server), request or json_request("/predict", model))]

    return contenders


def _measure(
    context: Context,
    ours: Callable[[ExitStack], list[Contender]],
    workload: str | None,
    *,
    connections: int,
    model: str | None = None,
) -> tuple[Measured, list[Row]]:
    """Return the rounds of us and of the peers that there are, and rows for those that are not."""
    missing: list[Row] = []
    with ExitStack() as stack:
        servers = ours(stack)
        for name in PEERS if context.with_peers and workload else ():
            if workload not in PEERS[name].workloads:
                continue
            file = context.folder / f"{(model or 'tiny')}.onnx"
            try:
                peer = peer_server(name, workload, file, context.pins, cwd=context.folder)
                servers.append(stack.enter_context(peer))
            except (RuntimeError, OSError) as error:
                missing.append(skipped(f"… {name}", str(error).splitlines()[0][:150]))
        rounds = _in_turns(context, servers, connections, model)
    return rounds, missing


def _in_turns(
    context: Context, servers: Sequence[Contender], connections: int, model: str | None
) -> Measured:
    rounds: dict[str, list[Round]] = {server.name: [] for server, _ in servers}
    costs: list[float] = []
    for number in range(context.rounds + 1):
        for server, request in servers:
            seconds = context.seconds if number else min(2.0, context.seconds)
            with ExitStack() as held:
                for other, _ in servers:
                    if other is not server:
                        held.enter_context(other.tree.held())
                one = wrk(
                    server.url, request, server.tree, context.pins,
                    connections=connections, seconds=seconds,
                )  # fmt: skip
            if number:  # the first is not counted: caches fill, sizes are learned
                rounds[server.name].append(one)
                context.say(f"  {server.name}: {one.cpu_us:.1f} µs, {one.per_second:,.0f}/s")
        if model is not None and number:
            costs.append(best_cost_us(context, model))
    return Measured(rounds, median(costs) if costs else None)


def best_cost_us(context: Context, model: str, *, seconds: float = 1.0) -> float:
    """Return what a row costs the model at its best batch, alone on the server's processor."""
    row = context.folder / f"{model}.npy"
    if not row.exists():
        np.save(row, row_of(model))
    file = context.folder / f"{model}.onnx"
    return best_cost(file, row, context.pins.server, seconds=seconds).cpu_us


def _against(measured: Measured, what: str, aim_us: float) -> list[Row]:
    """Return our row with an absolute aim, the ratio to the best peer, and the peers' rows."""
    ours = measured.ours
    cost = measured.cpu_us(ours)
    rows = [Row(what, f"{aim_us:g} µs", _text(measured, ours), cost <= aim_us, {"cpu_us": cost})]
    others = [name for name in measured.rounds if name != ours]
    peers = [name for name in others if not name.startswith("nginx")]
    if peers:
        best = min(peers, key=measured.cpu_us)
        ratio = measured.cpu_us(best) / cost
        text = f"{ratio:.1f} times less than {best}"
        aim = f"{LEAST_RATIO} times less than the best peer"
        rows.append(Row(what, aim, text, ratio >= LEAST_RATIO, {"ratio": ratio}))
    return rows + _rows_of(measured, others)


def _over_the_model(measured: Measured, what: str, own_us: float) -> list[Row]:
    """Return our row with an aim above the model's own cost, and the peers' rows."""
    ours = measured.ours
    model_us = measured.model_us or 0.0
    cost = measured.cpu_us(ours)
    aim = f"model's own {model_us:.1f} + {own_us:g} µs"
    text = f"{_text(measured, ours)}: model + {cost - model_us:.1f} µs"
    figures = {"cpu_us": cost, "model_us": model_us}
    row = Row(what, aim, text, cost <= model_us + own_us, figures)
    return [row, *_rows_of(measured, [name for name in measured.rounds if name != ours])]


def _rows_of(measured: Measured, names: Sequence[str]) -> list[Row]:
    ordered = sorted(names, key=measured.cpu_us)
    return [Row(f"… {name}", "", _text(measured, name)) for name in ordered]


def _text(measured: Measured, name: str) -> str:
    rounds = measured.rounds[name]
    one = middle(rounds)
    low, high = (f(r.cpu_us for r in rounds) for f in (min, max))
    failed = f", {one.failed} failed" if one.failed else ""
    return (
        f"{one.cpu_us:.1f} µs ({low:.1f}–{high:.1f}), {one.per_second:,.0f}/s, "
        f"p99 {one.p99_ms:.2f} ms{failed}"
    )
