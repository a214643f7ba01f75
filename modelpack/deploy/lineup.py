"""Which replicas a group is to have: those that stay, those to make, those to end.

    Group (or none) + DeploymentSpec ──lineup──► Lineup

Pure.  Where their number is fixed they are numbered from 1.  Where the load decides how many are
awake, each replica says how that is decided (``asked``) and the one with the highest number is
right: another policy is one more replica, asleep, and one less of those before it.  So none that
serves is made anew, and whoever takes the new one away has the former policy again.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.deploy.container import Container
from modelpack.deploy.engine_words import SCALING, wanted_facts
from modelpack.deploy.fleet import Group, count_of
from modelpack.deploy.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class Lineup:
    """What becomes of the replicas of a group."""

    stay: tuple[Container, ...]
    fresh: tuple[int, ...]
    """Numbers of those to make."""
    surplus: tuple[Container, ...]


def lineup(group: Group | None, spec: DeploymentSpec) -> Lineup:
    """Return what the group needs to be as the spec wants it."""
    there = group.replicas if group is not None else ()
    count = count_of(spec)
    if not spec.settings.is_scaling:
        numbers = range(1, count + 1)
        taken = {one.number for one in there}
        return Lineup(
            stay=tuple(one for one in there if one.number in numbers),
            fresh=tuple(number for number in numbers if number not in taken),
            surplus=tuple(one for one in there if one.number not in numbers),
        )
    highest = max((one.number for one in there), default=0)
    is_said = any(one.number == highest and _says(one, spec) for one in there)
    missing = max(count - len(there), 0 if is_said else 1)
    room = count - missing
    # Low numbers wake first, so that those before the last most likely sleep.
    last = there[-1:] if is_said else ()
    others = there[:-1] if is_said else there
    stay = (*others[: room - len(last)], *last)
    return Lineup(
        stay=stay,
        fresh=tuple(range(highest + 1, highest + 1 + missing)),
        surplus=tuple(one for one in there if one not in stay),
    )


def _says(one: Container, spec: DeploymentSpec) -> bool:
    """Return whether a replica was made to be scaled as the spec says."""
    if one.spec is None:
        return False
    wanted, said = (
        {key: value for key, value in wanted_facts(found).items() if key in SCALING}
        for found in (spec, one.spec)
    )
    return wanted == said
