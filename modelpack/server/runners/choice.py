"""Decides where the methods of a service run, by what its warm calls showed.

    hand-off of this machine ─┐
    trials of each api ───────┴─► inline   a call of one row is shorter than a few hand-offs
                                  thread   longer
                                  process  much longer, and nobody else gets the interpreter lock

A service is one instance, so if one of its methods belongs in a process, all of them go there.  That
has a price, the service is loaded a second time and its start-up hooks run again; so it must be
clear, and whoever sets ``runner`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from modelpack.config.settings import ServerSettings
from modelpack.sdk.placement import CPU, gpu_count
from modelpack.server.runners.threads import Worker
from modelpack.server.runners.warmup import Trial

PROCESS_S = 5e-3
"""Calls that hold the lock and take longer are felt by every other request."""

PROCESS_HELD = 0.5
"""Share of a call in which it must keep others from the lock to be moved out."""

_SURE_CALLS = 3
_HANDOFFS = 20
_HANDOFF_FACTOR = 3.0
_INLINE_BOUNDS_S = (50e-6, 200e-6)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where the calls of one api should run, and why."""

    kind: str
    """``inline``, ``thread`` or ``process``."""
    reason: str
    is_second_best: bool = False
    """True when it should run in a process, and cannot."""


async def measure_inline_s(worker: Worker) -> float:
    """Return how long a call may take that is better off on the event loop, in seconds.

    That is three times what a hand-off to a thread and back takes here: below it, the hand-off is a
    large part of the whole.  Between 50 and 200 µs whatever was measured, since a busy machine may
    show anything.
    """
    seconds: list[float] = []
    for _ in range(_HANDOFFS):
        began = perf_counter()
        await worker.run(_nothing)
        seconds.append(perf_counter() - began)
    low, high = _INLINE_BOUNDS_S
    return min(high, max(low, _HANDOFF_FACTOR * median(seconds)))


def judge(trials: Sequence[Trial], inline_s: float) -> Verdict:
    """Return where the calls of an api should run that warmed up like this."""
    if not trials:
        return Verdict("thread", "not tried")
    first = trials[0]
    if (felt := _felt(trials)) is not None:
        what = "a call takes" if felt.rows == 1 else f"{felt.rows} rows take"
        held = f"hold{'s' if felt.rows == 1 else ''} the lock {felt.typical_held:.0%} of it"
        return Verdict("process", f"{what} {_ms(felt.typical_s)} and {held}")
    took = f"a call takes {_ms(first.typical_s)}"
    if first.typical_s < inline_s:
        return Verdict("inline", f"{took}, less than {_ms(inline_s)}")
    return Verdict("thread", took)


def _felt(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial that shows that nobody else gets on while the method runs."""
    for trial in trials:
        if (
            len(trial.held) >= _SURE_CALLS
            and trial.typical_s >= PROCESS_S
            and trial.typical_held >= PROCESS_HELD
        ):
            return trial
    return None


def settled(
    verdicts: Mapping[str, Verdict], settings: ServerSettings, *, has_source: bool
) -> dict[str, Verdict]:
    """Return the verdicts as they can be carried out.

    ``process`` stands only when another process can load the service (``has_source``), when there
    is one front process (several of them do not share an interpreter lock as it is), and when no
    GPU is in use (its memory would not be given back before the process ends).
    """
    if settings.runner != "auto":
        return {name: Verdict(settings.runner, "as set") for name in verdicts}
    why = ""
    if not has_source:
        why = "no other process can load this service"
    elif settings.workers > 1:
        why = "there are several workers"
    elif settings.devices != CPU and gpu_count():
        why = "there is a GPU"
    return {
        name: Verdict("thread", f"{one.reason}; stays, since {why}", is_second_best=True)
        if why and one.kind == "process"
        else one
        for name, one in verdicts.items()
    }


def describe(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Return the verdicts for a log event: api, and kind with reason."""
    return {name: f"{one.kind}: {one.reason}" for name, one in verdicts.items()}


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _nothing() -> None:
    """Stand for a call that takes no time."""
