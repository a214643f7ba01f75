"""How a local deployment is, from what its supervisor said and what its processes answer.

    Memory + state.json ──► each replica's own port asked at /readyz ──► State, Status

The port of the deployment is not asked: that would wake one that sleeps.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelpack.deploy import orders
from modelpack.deploy.command import folder_of
from modelpack.deploy.memory import Kept, Memory
from modelpack.deploy.probe import is_ready, service_url
from modelpack.deploy.report import GroupReport, ReplicaReport
from modelpack.deploy.state import CRASHES_TO_FAIL, Replicas, State, Status

TARGET = "local"

_ANSWER_S = 2.0


def status_of(name: str, memory: Memory) -> Status:
    """Return how the deployment is."""
    kept = memory.standing
    if kept is None:
        return Status(name=name, target=TARGET, state=State.ABSENT)
    group = memory.group(name, kept)
    state, detail = state_of(name, memory, kept)
    awake = group.awake if group is not None else ()
    return Status(
        name=name,
        target=TARGET,
        state=state,
        bundle=kept.spec.bundle,
        revision=kept.spec.revision,
        url=_url(memory, kept, group, state),
        since=_since(group),
        restarts=sum(one.restarts for one in awake),
        detail=detail,
        meanwhile=_meanwhile(name, memory),
        replicas=_replicas(name, kept, group) if memory.is_running else None,
    )


def state_of(name: str, memory: Memory, kept: Kept) -> tuple[State, str | None]:
    """Return how one of its revisions is, and why, where there is something to say."""
    if not memory.is_running:
        said = memory.report(name)
        is_over = said is not None and said.is_over
        if is_over or memory.supervisor is None or not memory.supervisor.is_of_this_boot:
            return State.STOPPED, None
        return State.FAILED, "its supervisor has ended without being told to"
    group = memory.group(name, kept)
    if group is None:  # a supervisor of an older modelpack says nothing that can be read here
        is_up = not memory.is_trial and is_ready(service_url(*kept.address))
        return State.RUNNING if is_up else State.STARTING, None
    if is_asleep(kept, group):
        return State.RUNNING, None
    awake, needed = group.awake, max(kept.spec.settings.min_replicas, 1)
    ready = 0
    for one in awake:
        ready += one.phase == "up" and is_ready(_own_url(kept, one))
        if ready >= needed:
            return State.RUNNING, None
    why = next((one.detail for one in awake if one.detail), None)
    if needed > 1:
        count = f"{ready} of {needed} replicas are ready"
        why = f"{count}: {why}" if why else count
    return _not_ready(kept, awake), why


def is_asleep(kept: Kept, group: GroupReport) -> bool:
    """Return whether no process runs because nobody asks."""
    return kept.wanted().policy is not None and group.wanted == 0


def _not_ready(kept: Kept, awake: tuple[ReplicaReport, ...]) -> State:
    if any(one.failures >= CRASHES_TO_FAIL for one in awake if one.phase == "waiting"):
        return State.FAILED
    now = datetime.now(UTC)
    ages_s = [
        (now - datetime.fromisoformat(one.since)).total_seconds()
        for one in awake
        if one.phase == "up"
    ]
    is_young = (
        len(ages_s) < len(awake) or min(ages_s, default=0) < kept.spec.settings.ready_timeout_s
    )
    return State.STARTING if is_young else State.UNHEALTHY


def _url(memory: Memory, kept: Kept, group: GroupReport | None, state: State) -> str | None:
    """Return where it answers; one on trial does so at the own ports of its replicas alone."""
    if not memory.is_trial:
        return service_url(*kept.address)
    awake = group.awake if group is not None else ()
    is_told_by_one = state is State.RUNNING or max(kept.spec.settings.min_replicas, 1) == 1
    return _own_url(kept, awake[0]) if awake and is_told_by_one else None


def _own_url(kept: Kept, replica: ReplicaReport) -> str:
    return service_url(kept.spec.settings.host, replica.port)


def _since(group: GroupReport | None) -> str | None:
    if group is None:
        return None
    return min((one.since for one in group.awake), default=group.asleep_since)


def _replicas(name: str, kept: Kept, group: GroupReport | None) -> Replicas | None:
    if group is None or kept.wanted().policy is None:
        return None
    scaled = _scaled(name, kept)
    return Replicas(
        awake=len(group.awake),
        wanted=group.wanted,
        most=kept.spec.settings.most_replicas,
        asleep_since=group.asleep_since,
        in_flight=scaled.get("in_flight"),
        counts=scaled.get("counts") or {},
    )


def _scaled(name: str, kept: Kept) -> dict[str, Any]:
    """Return what the keeper of the port says; {} where the supervisor does not say it."""
    try:
        return orders.ask(folder_of(name), timeout_s=_ANSWER_S, order="scaled", group=kept.group)
    except (OSError, ValueError):
        return {}


def _meanwhile(name: str, memory: Memory) -> str | None:
    """Return how the settled revision is, while another one is on trial beside it."""
    settled = memory.settled
    if settled is None or not memory.is_trial:
        return None
    what = f"revision '{settled.spec.revision}' ({settled.spec.bundle})"
    if memory.is_in_turns or memory.clashes:
        return f"{what} waits for its end"
    state, _ = state_of(name, memory, settled)
    return f"{what} is {state} at {service_url(*settled.address)}"
