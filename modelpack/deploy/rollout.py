"""Brings a deployment to its wanted state, or back to where it was.

    spec_for ─► plan_deployment ─► Plan ─► apply_plan:
        image (when missing) ─► Target.apply ─► probe ─┬─ healthy ─► Target.settle, history
                                                       └─ not ────► Target.revert, DeployError

What always holds: nothing is changed that the plan does not name; when the live state is not the
one that was planned for, nothing is changed at all; whatever goes wrong before a revision is found
healthy, an interrupt too, the former one comes back; once it is healthy, nothing takes it away.
Each step is in the journal before it is taken: an apply that was killed is seen by the next one,
which goes on from what stands.

Not here: what would change (``planning``); finding a deployment by its name over all targets
(``survey``).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from modelpack.config.settings import DeploySettings
from modelpack.deploy import journal as journals
from modelpack.deploy import records, revisions
from modelpack.deploy.bundles import EnsureImage, image_maker
from modelpack.deploy.journal import Confirm, Journal, OpenJournal, never, open_journal
from modelpack.deploy.plan import Plan
from modelpack.deploy.planning import (
    plan_deployment,
    plan_rollback,
    plan_scale,
    plan_with_live,
    render,
)
from modelpack.deploy.plugin import Target
from modelpack.deploy.probe import Clock, Probe
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import Live, State, Status
from modelpack.errors import ConflictError, DeployError, ModelpackError
from modelpack.progress import SILENT, Progress

if TYPE_CHECKING:
    from modelpack.store import Entry

__all__ = [
    "apply_plan",
    "image_maker",
    "plan_deployment",
    "plan_rollback",
    "plan_scale",
    "render",
    "spec_for",
]

LOG_LINES = 10
"""How many of a failed revision's last lines are kept."""

_LOG_READS = 6
_LOG_LAG_S = 0.2


def spec_for(
    entry: Entry, settings: DeploySettings, *, name: str | None = None, image: str | None = None
) -> DeploymentSpec:
    """Return the spec of a bundle of the store; the deployment is named like it unless told.

    ``image`` is the reference that image targets use, by default the one that ``containerize``
    gives.  Raises TagError.
    """
    from modelpack.image import default_reference

    return DeploymentSpec(
        name=name or entry.tag.name,
        bundle=str(entry.tag),
        digest=entry.digest,
        image=image or default_reference(entry.tag),
        settings=settings,
    )


def apply_plan(
    target: Target,
    plan: Plan,
    *,
    ensure_image: EnsureImage | None = None,
    progress: Progress = SILENT,
    clock: Clock = Clock(),  # noqa: B008  frozen
    begin: OpenJournal = open_journal,
    confirm: Confirm = never,
) -> Status:
    """Do what the plan says; return the status of what is healthy then.

    Safe to repeat: a plan that is done already changes nothing, and one that was cut short is
    brought to its end.  Raises ConflictError when the live state is not the one that was planned
    for, or somebody else is changing the deployment; DeployError when the new revision does not
    become healthy, and what the target raises; the former one is back then, and the hint says so.
    ``confirm`` is asked for consent to what a target learns on its way and no plan could know.
    """
    name = plan.spec.name
    with records.lock(name), target.hold(name):
        records.sweep(name)
        live, fresh = plan_with_live(target, plan.spec)
        if fresh.is_empty:
            _note_done(target, fresh, live)
            return target.status(name)
        if fresh.digest != plan.digest and not _was_cut_short(plan):
            raise ConflictError(
                f"the deployment '{name}' has changed since it was planned",
                hint="nothing was done; plan it again",
            )
        _make_image(fresh, ensure_image, progress)
        if live.is_absent:
            revisions.forget(name)  # of one that somebody else has destroyed
        journal = begin(plan)
        journal.confirm = confirm
        records.remember(name, target.name, target.options)
        try:
            _bring_up(target, fresh, journal, progress, clock)
        except BaseException:
            with suppress(ModelpackError):  # the first error is the one to be told
                if target.status(name).state is State.ABSENT:
                    records.forget(name)
            raise
        # From here on there is no way back: the new revision is healthy.
        journal.step("settle", lambda: target.settle(name))
        revisions.keep(fresh.spec, target.name)
        journal.close()
        return target.status(name)


def _note_done(target: Target, plan: Plan, live: Live) -> None:
    """Remember what stands already, whoever brought it there.

    A spec that differs in nothing the target heeds is no revision to go back to or from.
    """
    records.remember(plan.spec.name, target.name, target.options)
    noted = revisions.kept(plan.spec.name, target.name)
    if live.revision is None or not noted or noted[-1].id != live.revision:
        revisions.keep(plan.spec, target.name)
    if journals.interrupted(plan.spec.name) is not None:
        target.settle(plan.spec.name)  # what stands is whole, and what the apply left behind goes
        journals.forget(plan.spec.name)


def _was_cut_short(plan: Plan) -> bool:
    """Return whether this very plan was being applied and is not done."""
    found = journals.interrupted(plan.spec.name)
    return found is not None and found.plan == plan.digest


def _make_image(plan: Plan, ensure_image: EnsureImage | None, progress: Progress) -> None:
    if plan.missing_image is None:
        return
    if ensure_image is None:
        raise DeployError(
            f"the image '{plan.missing_image}' is not there",
            hint=f"run 'modelpack containerize {plan.spec.bundle}' first",
        )
    progress.note(f"the image '{plan.missing_image}' is not there yet")
    ensure_image(plan.spec, progress)


def _bring_up(
    target: Target, plan: Plan, journal: Journal, progress: Progress, clock: Clock
) -> None:
    """Start the revision and see that it is healthy; otherwise go back and raise."""
    spec = plan.spec
    has_started = False
    try:
        with progress.step(f"start revision {spec.revision} at {target.name}"):
            target.apply(plan, journal, progress)
        has_started = True
        _check_health(target, spec, progress, clock)
    except ModelpackError as error:
        # Before it has started, the log may be that of the former one: who tells its own lines knows.
        own = error.log_lines if isinstance(error, DeployError) else ()
        log_lines = _last_lines(target, spec.name, clock) if has_started else own
        for line in log_lines:
            progress.note(f"log: {line}")
        outcome = _revert(target, spec, journal, progress, clock)
        hint = f"{error.hint}; {outcome}" if error.hint else outcome
        if not log_lines and not has_started:
            error.hint = hint
            raise
        reason = _telling_line(log_lines)
        message = f"{error.message}: {reason}" if reason else error.message
        raise DeployError(message, hint=hint, log_lines=log_lines) from error
    except BaseException:
        _revert(target, spec, journal, progress, clock)
        raise


def _check_health(target: Target, spec: DeploymentSpec, progress: Progress, clock: Clock) -> None:
    probe = Probe(lambda: target.status(spec.name), clock, target.fetch)
    with progress.step("wait until it is ready"):
        status = probe.wait_until_ready(spec.settings.ready_timeout_s)
    with progress.step("see that it answers"):
        notes = target.verify(spec, status)
        if notes is None and status.url is not None:
            notes = tuple(probe.check_answers(spec, status.url))
    for note in notes or ():
        progress.note(note)
    probe.require_running()


def _revert(
    target: Target, spec: DeploymentSpec, journal: Journal, progress: Progress, clock: Clock
) -> str:
    """Put back what was there before, and say what runs then."""
    with progress.step("go back to what was there before"):
        try:
            journal.step("revert", lambda: target.revert(spec.name))
            journal.close()
            former = target.status(spec.name)
        except ModelpackError as error:
            return f"what was there before could not be put back: {error.message}"
        if former.state is State.ABSENT:
            return "nothing of it is left"
        try:
            Probe(lambda: target.status(spec.name), clock, target.fetch).wait_until_ready(
                spec.settings.ready_timeout_s
            )
        except ModelpackError as error:
            return f"revision '{former.revision}' was put back, but {error.message}"
    return f"revision '{former.revision}' ({former.bundle}) runs as before"


def _last_lines(target: Target, name: str, clock: Clock) -> tuple[str, ...]:
    """Return the end of the log; a log lags a little behind what the service does."""
    lines: tuple[str, ...] = ()
    for _ in range(_LOG_READS):
        try:
            said = list(target.logs(name, tail=LOG_LINES))
        except ModelpackError:
            return ()
        lines = tuple(text for line in said if (text := _printable(line)))
        if _telling_line(lines):
            break
        clock.sleep(_LOG_LAG_S)
    return lines


def _telling_line(lines: tuple[str, ...]) -> str:
    """Return the line that most likely says why: the last one that speaks of an error."""
    errors = [line for line in lines if "error" in line.lower()]
    return _said(errors[-1])[:240] if errors else ""


def _said(line: str) -> str:
    """Return what a line says: the ``error`` field of an event, else the line itself."""
    try:
        event = json.loads(line)
        return str(event["error"])
    except (ValueError, KeyError, TypeError):
        return line


def _printable(line: str) -> str:
    """A service's output must not steer the terminal of who reads it."""
    return "".join(c if c.isprintable() else " " for c in line).strip()
