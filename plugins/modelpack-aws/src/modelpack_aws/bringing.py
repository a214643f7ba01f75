"""Brings a stack to a revision, whichever way it goes: to a new one, or back to a former.

    DeploymentSpec ──bring_spec──► repository, image ─► Kept, with what was before
    Kept ──render──► Order ──change set──► shown ──► executed ──► complete ──► rolled out
                                  │ does more than was said: dropped, ConflictError      │ DeployError

CloudFormation may call a service of ECS complete while its tasks still come and go, and an emulator
calls everything complete: the last step waits until the service itself says that this revision runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelpack.deploy import (
    SILENT,
    DeploymentSpec,
    Entry,
    Fact,
    Journal,
    Progress,
    Sight,
    State,
    await_running,
)
from modelpack.errors import ConflictError, DeployError
from modelpack_aws import network
from modelpack_aws.choosing import MODES
from modelpack_aws.kept import Kept
from modelpack_aws.place import Place, Standing
from modelpack_aws.planning import checked_template
from modelpack_aws.stack import Order, Prepared
from modelpack_aws.wanted import Wanted, of_the_template

STACK_TIMEOUT_S = 3 * 3600.0
"""Longest that CloudFormation may take; each kind of resource has a limit of its own there."""

_PULL_S = 600.0
"""What pulling an image and starting a machine may take on top of the service's own time."""
_POLL_S = 3.0

# Made anew as a matter of course when a revision changes; anything else is said first.
_REPLACED = {
    "AWS::ECS::TaskDefinition",
    "AWS::EC2::LaunchTemplate",
    "AWS::Lambda::Version",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
}

Consent = Callable[[Prepared], bool]
"""Says whether a change set may be executed."""


def expected(prepared: Prepared) -> bool:
    """Say whether a change set removes or makes anew nothing but what belongs to a revision."""
    return not _surprises(prepared)


def expected_or_asked(journal: Journal) -> Consent:
    """Return who consents to a change set: the plan to what is expected, somebody to the rest."""

    def consent(prepared: Prepared) -> bool:
        also = "; ".join(_surprises(prepared))
        return not also or journal.confirm(f"CloudFormation would also {also}: go on?")

    return consent


def bring_spec(place: Place, spec: DeploymentSpec, journal: Journal, progress: Progress) -> None:
    """Bring repository and image of a spec, then the stack, step by step; safe to repeat.

    Raises DeployError with CloudFormation's or the service's reason, ConflictError when CloudFormation
    would do what no new revision takes.
    """
    mode, wanted = place.mode(spec), place.wanted(spec)
    name, base = wanted.repository, place.options.get("base")
    journal.step(f"create/repository/{name}", lambda: {"uri": place.images.ensure(wanted).uri})
    pushed = journal.step(
        f"push/image/{name}",
        lambda: {"digest": place.images.push(spec, wanted, base=base, progress=progress)},
    )
    images = place.images.look(wanted)
    if images is None or pushed is None:
        raise DeployError(f"the image repository '{name}' is gone")
    entry = Entry(
        spec=spec,
        image=f"{images.uri}@{pushed['digest']}",
        mode=mode.word,
        options=of_the_template(place.options),
    )
    standing = place.read(spec.name)
    history = () if standing is None else standing.before(entry.mark, images.settled)
    bring(
        place,
        Kept(now=entry, history=history),
        place.around(wanted),
        journal,
        progress,
        settled=images.settled,
        consent=expected_or_asked(journal),
    )


def bring(
    place: Place,
    kept: Kept,
    around: Mapping[str, Fact],
    journal: Journal,
    progress: Progress,
    *,
    settled: str | None,
    consent: Consent = expected,
) -> None:
    """Bring the stack to ``kept.now`` and wait until the service runs it; safe to repeat.

    around   what was read of the account
    settled  mark of what was found healthy last, which a canary is shared with
    consent  is asked before a change set is executed

    Raises ConflictError without consent, DeployError when CloudFormation or the service fails.
    """
    stacks, wanted = place.stacks, place.wanted_of(kept.now)
    order = order_for(place, kept, around, settled)
    with progress.step(f"plan the change of the stack '{wanted.stack}'"):
        prepared = stacks.prepare(order, progress)
    for change in prepared.changes:
        progress.note(str(change))
    if not prepared.is_empty and not consent(prepared):
        stacks.drop(prepared)
        raise ConflictError(
            f"CloudFormation would also {'; '.join(_surprises(prepared)) or 'change more'}",
            hint="nothing was done; '--yes' consents to it",
        )

    def execute() -> dict[str, Any]:
        with progress.step(f"change the stack '{wanted.stack}'"):
            stack = stacks.execute(prepared, progress, timeout_s=STACK_TIMEOUT_S)
        return {"stack": stack.id, "status": stack.status}

    journal.step(f"execute/stack/{wanted.stack}", execute)
    with progress.step("wait until the service runs it"):
        await_rollout(place, wanted)


def order_for(place: Place, kept: Kept, around: Mapping[str, Fact], settled: str | None) -> Order:
    """Return what the stack shall be for a revision, with its history in the metadata."""
    mode, wanted = MODES.load(kept.now.mode), place.wanted_of(kept.now)
    former = kept.find(settled) if settled not in (None, kept.now.mark) else None
    same = former is not None and former.mode == kept.now.mode
    template = checked_template(
        mode, wanted, place.wanted_of(former) if former is not None and same else None
    )
    template.metadata |= kept.to_json()
    values = {"Image": kept.now.image, **network.parameters(around)}
    if former is not None:
        values["FormerImage"] = former.image
    values |= mode.parameters(wanted, around)
    return Order(
        stack=wanted.stack,
        body=template.body(),
        parameters={key: one for key, one in values.items() if key in template.parameters},
        tags=wanted.tags(),
    )


def await_rollout(place: Place, wanted: Wanted) -> None:
    """Wait until the service says that the stack's revision runs; raises DeployError."""

    def look() -> Sight:
        standing = place.read(wanted.name)
        if standing is None:
            raise DeployError(f"the stack '{wanted.stack}' is gone")
        return place.look(standing)

    await_running(
        wanted.name, look, place.clock, timeout_s=wanted.ready_timeout_s + _PULL_S, poll_s=_POLL_S
    )


def go_back(place: Place, name: str) -> None:
    """Put back the revision that was found healthy last, or leave nothing; safe to repeat."""
    plain, settled = place.plain(name), place.settled(name)
    standing = place.read(name)
    if settled is None:
        place.stacks.delete(plain.stack, SILENT, timeout_s=STACK_TIMEOUT_S)
        place.images.remove(plain)
        return
    if standing is None or standing.kept is None:
        return
    entry = standing.kept.find(settled)
    if entry is None or _is_back(place, standing, settled):
        return
    former = Kept(now=entry, history=standing.kept.before(settled))
    bring(
        place,
        former,
        place.around(place.wanted_of(entry)),
        Journal(),
        SILENT,
        settled=settled,
        consent=lambda _: True,
    )


def _is_back(place: Place, standing: Standing, settled: str) -> bool:
    """Return whether the stack is that of the revision already, and its service runs it."""
    kept, stack = standing.kept, standing.stack
    if kept is None or kept.now.mark != settled or stack.is_busy:
        return False
    return place.look(standing).state in (State.RUNNING, State.STARTING)


def _surprises(prepared: Prepared) -> list[str]:
    """Return what a change set does that a new revision has no need of."""
    if prepared.is_first:
        return []
    return [
        str(change)
        for change in prepared.changes
        if change.action == "Modify"
        and change.replacement == "True"
        and change.kind not in _REPLACED
    ]
