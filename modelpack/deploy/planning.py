"""Works out what would change, for a deploy, a rollback and a scaling alike.

    spec ─────────────────────────────┐
    history ──pick──► spec of then ───┼─► capabilities ─► read_live ─► Target.plan ─► Plan
    current ──other replicas──► spec ─┘    (warnings)    (or unknown)              + drift, notes

Nothing here changes anything.  A plan that was made without asking (``offline``, or because nobody
may be asked) says so.
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.config.deploying import DeploySettings
from modelpack.deploy import journal, records, revisions, survey
from modelpack.deploy.capabilities import unheeded
from modelpack.deploy.plan import Change, Plan, drift_of
from modelpack.deploy.plugin import Target
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import Live
from modelpack.errors import CredentialsError, DeployError, UsageError

_FLAGS = {"min_replicas": "--min", "max_replicas": "--max"}


def plan_deployment(target: Target, spec: DeploymentSpec, *, offline: bool = False) -> Plan:
    """Return what applying ``spec`` would change; changes nothing.

    With ``offline``, or when there are no credentials, it is the plan of a first apply and says
    that the live state is not known.  Raises ConflictError when the name is taken at another
    target, UsageError for what the target must not pass over, and what the target raises.
    """
    spec = spec_at(target, spec)
    if offline:
        return _plan(target, spec, Live.unknown(spec.name))
    try:
        live = target.read_live(spec)
    except CredentialsError as error:
        plan = _plan(target, spec, Live.unknown(spec.name))
        return replace(plan, warnings=(*plan.warnings, error.message))
    survey.refuse_other_target(spec.name, target)
    return _plan(target, spec, live)


def plan_with_live(target: Target, spec: DeploymentSpec) -> tuple[Live, Plan]:
    """Return what stands and what applying ``spec`` would change.

    Raises CredentialsError when nobody may be asked, ConflictError when the name is taken at
    another target, and what ``plan_deployment`` raises.
    """
    spec = spec_at(target, spec)
    live = target.read_live(spec)
    # Only now are the options whole: a spec may name the region that a target asks.
    survey.refuse_other_target(spec.name, target)
    return live, _plan(target, spec, live)


def plan_rollback(target: Target, name: str, revision: str | None = None) -> Plan:
    """Return what going back would change: to ``revision``, or to the one before this one.

    Raises NotFoundError when there is no such revision, and what ``plan_deployment`` raises.
    """
    status = target.status(name)
    return plan_deployment(target, revisions.pick(target.history(name), status.revision, revision))


def plan_scale(target: Target, name: str, *, fewest: int | None, most: int | None) -> Plan:
    """Return what another number of replicas would change; None leaves that one as it is.

    A ``most`` below what is the fewest now must be given together with ``fewest``.  Raises
    UsageError for numbers that cannot be, and where the target does nothing of what is asked for;
    DeployError when it is not known what runs.
    """
    spec = target.current(name)
    if spec is None:
        raise DeployError(
            f"what runs as '{name}' is not known on this machine",
            hint="deploy it again with the replicas under 'deploy.scaling'",
        )
    settings = spec.settings
    wanted_min = settings.min_replicas if fewest is None else fewest
    wanted_max = settings.max_replicas if most is None else most
    if most is None and wanted_max is not None:
        wanted_max = max(wanted_max, wanted_min)
    idle_s = settings.idle_s if wanted_min == 0 else None
    scaled = replace(spec, settings=_scaled(settings, wanted_min, wanted_max, idle_s))
    asked = {"min_replicas": fewest, "max_replicas": most}
    _refuse_vain(target, scaled, [name for name, count in asked.items() if count is not None])
    return plan_deployment(target, scaled)


def drift(target: Target, name: str) -> tuple[Change, ...]:
    """Return what somebody else has changed since the last apply; nothing where it is not known."""
    spec = target.current(name)
    return () if spec is None else drift_of(target.read_live(spec_at(target, spec)))


def render(target: Target, spec: DeploymentSpec) -> Rendered:
    """Return what the target would send for the spec, as files; raises as ``plan_deployment``."""
    spec = spec_at(target, spec)
    unheeded(target.name, target.capabilities(spec), spec)
    return target.render(spec)


def spec_at(target: Target, spec: DeploymentSpec) -> DeploymentSpec:
    """Return the spec as this target sees it: without an image where it runs the bundle itself."""
    return spec if target.needs_image else replace(spec, image=None)


def _plan(target: Target, spec: DeploymentSpec, live: Live) -> Plan:
    warnings = unheeded(target.name, target.capabilities(spec), spec)
    plan = target.plan(spec, live)
    return replace(
        plan,
        warnings=(*plan.warnings, *(one for one in warnings if one not in plan.warnings)),
        notes=(*plan.notes, *_interruption(spec.name)),
        drift=plan.drift or drift_of(live),
        is_live_known=live.is_known,
    )


def _interruption(name: str) -> tuple[str, ...]:
    found = journal.interrupted(name)
    if found is None or records.is_locked(name):
        return ()
    at = f" in the step '{found.last}'" if found.last else ""
    what = f"an apply of revision '{found.revision}' was cut short{at}, begun {found.began}"
    return (f"{what}; this goes on from what stands",)


def _refuse_vain(target: Target, spec: DeploymentSpec, asked: list[str]) -> None:
    """Raise UsageError when the target heeds no number that was asked for.

    In a deploy this is a warning; who scales has asked for nothing else.
    """
    capabilities = target.capabilities(spec)
    if any(name in capabilities.heeds for name in asked):
        return
    reason = capabilities.reasons.get(asked[0], f"the target '{target.name}' does not do it")
    raise UsageError(f"{_FLAGS[asked[0]]}: {reason}", hint="nothing was changed")


def _scaled(
    settings: DeploySettings, fewest: int, most: int | None, idle_s: float | None
) -> DeploySettings:
    try:
        return replace(settings, min_replicas=fewest, max_replicas=most, idle_s=idle_s)
    except ValueError as cause:
        name, _, what = str(cause).partition(": ")
        raise UsageError(f"{_FLAGS.get(name, name)}: {what}") from cause
