"""The sizes of dynos: what they have, what they cost, and which one a deployment gets.

    instance | memory | replicas ──size_for──► Size(word, memory, price)

Sources: Heroku Dev Center, "Technical Specifications by Dyno Size" and "Dyno Tiers" (April 2025); prices a
month as Heroku's own command line has them (heroku 11.10.0, 2026), a month of 720 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.deploy import Cost, DeploySettings
from modelpack.errors import UsageError, did_you_mean

_MB = 1024**2
_MONTH_H = 720
NOTE = "list prices of 2026"


@dataclass(frozen=True, slots=True)
class Size:
    """One size of dynos of the Common Runtime."""

    word: str
    """As it is asked for."""
    memory_mb: int
    usd_a_month: float
    """At the most; nothing for Eco dynos, which share a flat fee."""
    most: int = 100
    """Of one kind of process: 1 for the sizes that cannot grow."""

    @property
    def has_preboot(self) -> bool:
        """Whether new dynos can start before the old ones end."""
        return self.most > 1

    def describe(self) -> str:
        """Return size and memory for people."""
        memory = self.memory_mb
        return f"{self.word} ({f'{memory} MB' if memory < 1024 else f'{memory / 1024:g} GB'})"


SIZES: Mapping[str, Size] = {
    one.word: one
    for one in (
        Size("eco", 512, 0.0, most=1),
        Size("basic", 512, 7.0, most=1),
        Size("standard-1x", 512, 25.0),
        Size("standard-2x", 1024, 50.0),
        Size("performance-m", 2560, 250.0),
        Size("performance-l", 14 * 1024, 500.0),
        Size("performance-l-ram", 30 * 1024, 500.0),
        Size("performance-xl", 62 * 1024, 750.0),
        Size("performance-2xl", 126 * 1024, 1500.0),
    )
}
"""By the word that they are asked for with, from small to large."""

_AUTO = tuple(one for one in SIZES.values() if one.word != "eco")
"""Eco dynos sleep, and want a subscription: they are asked for or not taken."""


def size_for(settings: DeploySettings) -> Size:
    """Return the size of the dynos that a deployment gets; raises UsageError for what there is not."""
    if settings.instance is not None and settings.instance != "auto":
        found = SIZES.get(settings.instance.lower())
        if found is None:
            near = did_you_mean(settings.instance.lower(), list(SIZES))
            known = f"there are {', '.join(SIZES)}"
            raise UsageError(
                f"deploy.resources.instance: Heroku has no dynos of the size "
                f"'{settings.instance[:60]}'",
                hint=f"did you mean '{near}'?" if near else known,
            )
        return _fitting(found, settings)
    wanted_mb = -(-(settings.memory_bytes or 0) // _MB)
    for one in _AUTO:
        if one.memory_mb >= wanted_mb and one.most >= settings.min_replicas:
            return one
    raise UsageError(
        f"deploy.resources.memory: {wanted_mb} MB are more than any dyno has",
        hint=f"the largest has {_AUTO[-1].memory_mb // 1024} GB",
    )


def _fitting(size: Size, settings: DeploySettings) -> Size:
    if settings.min_replicas > size.most:
        raise UsageError(
            f"deploy.scaling.min: of {size.word} dynos there is one, "
            f"{settings.min_replicas} are asked for",
            hint="take 'instance: standard-1x' or larger",
        )
    if settings.memory_bytes is not None and settings.memory_bytes > size.memory_mb * _MB:
        raise UsageError(
            f"deploy.resources.memory: a dyno of {size.word} has {size.memory_mb} MB",
            hint="take out 'instance', and one with enough memory is chosen",
        )
    return size


def cost_of(size: Size, replicas: int) -> Cost | None:
    """Return what so many dynos cost; None for Eco, whose flat fee is shared by all of an account."""
    if not size.usd_a_month or not replicas:
        return None
    hourly = size.usd_a_month / _MONTH_H * replicas
    return Cost(
        usd_per_hour=round(hourly, 4), note=f"{replicas} x {size.describe()}; Heroku, {NOTE}"
    )
