"""What a claim is tried on, and how a target is driven: as users drive it, by ``rollout``.

TargetCase ──nothing_stands──► deploy, apply_plan, expect… ──► nothing stands again
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from modelpack.deploy import journal, records, revisions, rollout
from modelpack.deploy.bundles import EnsureImage
from modelpack.deploy.plan import Change, Plan
from modelpack.deploy.plugin import Target
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import State, Status
from modelpack.errors import DeployError, DeploymentNotFoundError
from modelpack.progress import SILENT

Claim = Callable[["TargetCase"], None]
"""One thing that a target must keep: returns, or raises TargetContractError."""


class TargetContractError(AssertionError):
    """A target does not do what every target must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCase:
    """A target, and three specs of one deployment that it can be tried with."""

    target: Target

    spec: DeploymentSpec
    """One that becomes healthy."""

    changed: DeploymentSpec
    """Another one of the same name that becomes healthy, with other facts that the target heeds."""

    broken: DeploymentSpec
    """One of the same name that never becomes healthy; let ``ready_timeout_s`` be short."""

    ensure_image: EnsureImage | None = None
    """Builds missing images, for targets that need them."""

    resources: Callable[[], Collection[str]] | None = None
    """Names all that the platform holds, also what the target does not list: then every claim
    checks that nothing is left behind.  Images and other uploads do not count."""

    most_kills: int | None = None
    """Most points at which a kill is tried, spread evenly; None: all of them."""


@contextmanager
def nothing_stands(case: TargetCase) -> Iterator[None]:
    """Leave nothing of the deployment, whatever happens, and see that nothing is left."""
    name = case.spec.name
    status = case.target.status(name)
    expect(status.state is State.ABSENT, f"a deployment '{name}' is there already")
    before = held(case)
    try:
        yield
    finally:
        with suppress(DeploymentNotFoundError):
            case.target.destroy(name)
        records.forget(name)
        journal.forget(name)
        revisions.forget(name)
    left = held(case) - before
    expect(not left, f"what was destroyed left something behind: {', '.join(sorted(left))}")


def held(case: TargetCase) -> frozenset[str]:
    """Return what the platform holds, as far as the case can tell."""
    return frozenset(case.resources()) if case.resources is not None else frozenset()


def make_image(case: TargetCase, plan: Plan) -> None:
    """Build the image of a plan that is applied without ``rollout``."""
    if case.ensure_image is not None and plan.missing_image is not None:
        case.ensure_image(plan.spec, SILENT)


def deploy(case: TargetCase, spec: DeploymentSpec) -> Status:
    """Plan and apply."""
    return apply_plan(case, rollout.plan_deployment(case.target, spec))


def apply_plan(case: TargetCase, plan: Plan) -> Status:
    """Apply a plan as users do."""
    return rollout.apply_plan(case.target, plan, ensure_image=case.ensure_image)


def revision_of(case: TargetCase, spec: DeploymentSpec) -> str:
    """Return the revision of a spec as the target sees it."""
    return rollout.plan_deployment(case.target, spec).spec.revision


def shows(
    change: Change,
    old: Mapping[str, Fact],
    new: Mapping[str, Fact],
    keys: list[str],
) -> bool:
    """Return whether a change names both sides of the facts."""
    return all(
        change.before.get(key) == old.get(key) and change.after.get(key) == new.get(key)
        for key in keys
    )


def expect_runs(status: Status, spec: DeploymentSpec) -> None:
    """Raise TargetContractError unless it runs, and is the bundle of the spec."""
    expect(status.state is State.RUNNING, f"it is {status.state}, not running")
    expect(status.bundle == spec.bundle, f"it runs '{status.bundle}', not '{spec.bundle}'")
    expect(status.revision is not None, "it does not say which revision runs")
    expect(status.since is not None, "it does not say since when it runs")


def expect_failure(case: TargetCase, spec: DeploymentSpec) -> None:
    """Raise TargetContractError unless deploying the spec fails as it should."""
    expect_raises(DeployError, lambda: deploy(case, spec), "the revision that is broken")


def expect_raises(kind: type[Exception], act: Callable[[], object], what: str) -> None:
    """Raise TargetContractError unless ``act`` raises an error of that kind."""
    try:
        act()
    except kind:
        return
    raise TargetContractError(f"{what} is taken: no {kind.__name__}")


def expect(claim: bool, otherwise: str) -> None:
    """Raise TargetContractError unless the claim holds."""
    if not claim:
        raise TargetContractError(otherwise)
