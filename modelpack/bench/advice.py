"""One line on what a run says about its server: the first rule that fits, with its figures.

    Slice (all of it), ServerShare, Facts ──advise──► Advice(rule, text)

The rules stand in the order in which they matter: figures of a load that failed, or that the
generator could not send, say nothing about the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelpack.bench.scrape import ServerShare
from modelpack.bench.slices import Slice

BUSY = 0.9
"""From this share of a processor's time on it is taken to be full."""
_LATE_MS = 2.0
_NOTABLY_LATE_MS = 1.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and which rule says so."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the rules look at."""

    whole: Slice
    """The whole run, with what came after its last second."""
    rate: float
    """Good answers in a second."""
    server: ServerShare | None
    offered_rate: float | None
    """Requests a second of an open loop; None: a closed one."""
    concurrency: int
    """Requests on their way at a time, at most."""
    generator_cpu: float
    """Share of a processor that the busiest generating process used, 0 to 1."""
    machine_cpu: float | None = None
    """Share of all processors of this machine in use, when the server is on it, too."""
    processors: int = 1

    @property
    def generator_is_limit(self) -> bool:
        """True when the load was held back by the generator itself."""
        late = self.offered_rate is not None and self.whole.clock_late.at_ms(99) > _LATE_MS
        return self.generator_cpu >= BUSY or (late and self.generator_cpu >= 0.7)


def advise(facts: Facts) -> Advice:
    """Return the advice of the first rule that fits."""
    for rule in _RULES:
        if (advice := rule(facts)) is not None:
            return advice
    return Advice("nothing-to-say", "nothing stands out")


def _failures(facts: Facts) -> Advice | None:
    whole = facts.whole
    failed = whole.failed - whole.refusals
    share = failed / max(whole.answered + sum(whole.errors.values()), 1)
    if share < 0.01:
        return None
    kinds = {str(s): n for s, n in whole.statuses.items() if s >= 300 and s not in (429, 503)}
    kind, _ = max({**kinds, **whole.errors}.items(), key=lambda one: one[1])
    return Advice(
        "failures",
        f"{share:.1%} of the requests failed, most with '{kind}': mend that first, "
        "the other figures say little until then",
    )


def _generator(facts: Facts) -> Advice | None:
    if not facts.generator_is_limit:
        return None
    return Advice(
        "generator-limit",
        f"the load generator was the limit (its processor was {facts.generator_cpu:.0%} busy): the "
        "server may be faster; give --processes, or send the load from another machine",
    )


def _refusals(facts: Facts) -> Advice | None:
    share = facts.whole.refusals / max(facts.whole.answered, 1)
    if share < 0.01:
        return None
    what = "offered rate" if facts.offered_rate is not None else "concurrency"
    return Advice(
        "refused",
        f"refused {share:.0%}: the {what} exceeds the capacity of about {facts.rate:,.0f}/s; "
        "add replicas, or offer less",
    )


def _behind(facts: Facts) -> Advice | None:
    if facts.offered_rate is None or facts.rate >= 0.95 * facts.offered_rate:
        return None
    return Advice(
        "behind",
        f"answered {facts.rate:,.0f}/s of {facts.offered_rate:,.0f}/s: the offered rate exceeds the "
        "capacity, and the queue grew for as long as the load went on",
    )


def _late(facts: Facts) -> Advice | None:
    clock = facts.whole.clock_late
    share = clock.share_above(_NOTABLY_LATE_MS)
    if facts.offered_rate is None or share < 0.05:
        return None
    return Advice(
        "sent-late",
        f"{share:.0%} of the requests left late, by up to {clock.max_ms:,.0f} ms, because this machine "
        "had no processor for the generator: the latencies hold that, too",
    )


def _queue(facts: Facts) -> Advice | None:
    server = facts.server
    share = server.share(server.queue_ms) if server is not None else None
    if server is None or share is None or share < 0.5:
        return None
    if server.busy is not None and server.busy >= 0.8:
        batch = "" if server.mean_batch is None else f", mean batch {server.mean_batch:.1f}"
        return Advice(
            "queue-busy-runner",
            f"queue time dominates ({share:.0%}) and the runner is busy {server.busy:.0%} of the "
            f"time{batch}: add replicas, or make the model cheaper",
        )
    return Advice(
        "queue-idle-runner",
        f"queue time dominates ({share:.0%}) though the runner is idle at times: look at "
        "max_wait_ms and latency_ms, or at what else runs on its processors",
    )


def _machine(facts: Facts) -> Advice | None:
    if facts.machine_cpu is None or facts.machine_cpu < 0.95:
        return None
    return Advice(
        "machine-full",
        f"all {facts.processors} processors of this machine were in use, the generator's among "
        "them: from another machine the server has more for itself",
    )


def _unbatched(facts: Facts) -> Advice | None:
    server = facts.server
    if server is None or server.mean_batch is None or server.batches == 0:
        return None
    per_request = server.rows / max(server.requests, 1)
    share = server.share(server.model_ms)
    if server.mean_batch > 1.2 * per_request or share is None or share < 0.3:
        return None
    return Advice(
        "too-little-to-batch",
        f"mean batch {server.mean_batch:.1f} at this load: concurrency too low to batch; "
        "more at once raises the rate at little cost",
    )


def _overhead(facts: Facts) -> Advice | None:
    server = facts.server
    share = server.share(server.model_ms) if server is not None else None
    if server is None or share is None or share > 0.5 or server.cpu is None:
        return None
    if server.cpu < BUSY * (server.processes or 1):
        return None
    return Advice(
        "front-busy",
        f"the server's processes are busy and the model takes only {share:.0%} of the time of a "
        "request: more workers raise the rate (--workers)",
    )


def _model(facts: Facts) -> Advice | None:
    server = facts.server
    share = server.share(server.model_ms) if server is not None else None
    if share is None or share < 0.5:
        return None
    return Advice(
        "model",
        f"{share:.0%} of the time of a request is the model's own: a faster model is what helps",
    )


def _calm(facts: Facts) -> Advice | None:
    if facts.offered_rate is None or facts.server is None or facts.server.busy is None:
        return None
    return Advice(
        "room-left",
        f"the runner is busy {facts.server.busy:.0%} of the time at {facts.rate:,.0f}/s: "
        "there is room for more",
    )


_RULES: tuple[Callable[[Facts], Advice | None], ...] = (
    _failures, _generator, _refusals, _behind, _late, _unbatched, _machine, _overhead, _queue,
    _model, _calm,
)  # fmt: skip
