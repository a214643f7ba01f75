"""What every deploy target must keep, as checks that a plugin's own tests can run.

    TargetCase(target, spec, changed, broken) ──target_contract──► passes, or TargetContractError

With pytest, one test for each claim:

    @pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
    def test_target(claim, case):
        claim(case)

Each claim starts from nothing and leaves nothing.  The target is driven by ``rollout``, as users
drive it, so a service that answers must be behind its URL.  Nothing here needs pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from modelpack.deploy import records, rollout
from modelpack.deploy.bundles import EnsureImage
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import Change, Plan
from modelpack.deploy.plugin import Target
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import State, Status
from modelpack.errors import DeployError, DeploymentNotFoundError, TagError, UsageError
from modelpack.progress import SILENT


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


Claim = Callable[[TargetCase], None]


def plans_without_changing_anything(case: TargetCase) -> None:
    """The same question gives the same plan; asking leaves everything as it is."""
    with _nothing_stands(case):
        first, second = (rollout.plan_deployment(case.target, case.spec) for _ in range(2))
        _expect(first == second, "planning twice gives two different plans")
        _expect(first.digest == second.digest, "equal plans have different digests")
        _expect(Plan.from_json(first.to_json()) == first, "a plan does not survive JSON")
        status = case.target.status(case.spec.name)
        _expect(status.state is State.ABSENT, f"planning made something: {status.state}")


def creates_what_is_absent(case: TargetCase) -> None:
    """A first plan creates, and its text shows the sign, the name and the target."""
    with _nothing_stands(case):
        plan = rollout.plan_deployment(case.target, case.spec)
        actions = {change.action for change in plan.changes} - {"none"}
        _expect(actions == {"create"}, f"a first plan wants to {sorted(actions)}")
        text = plan.describe()
        for word in ("+ ", case.spec.name, case.target.name, case.spec.bundle):
            _expect(word in text, f"the text of the plan does not say '{word}'")


def runs_what_was_applied(case: TargetCase) -> None:
    """What was applied is healthy, says which revision it is, and is in the list."""
    with _nothing_stands(case):
        status = _deploy(case, case.spec)
        _expect_runs(status, case.spec)
        _expect_runs(case.target.status(case.spec.name), case.spec)
        listed = [one.name for one in case.target.list()]
        _expect(
            listed.count(case.spec.name) == 1,
            f"the list has it {listed.count(case.spec.name)} times",
        )


def applies_only_once(case: TargetCase) -> None:
    """What stands already needs no change, and applying an old plan again changes nothing."""
    with _nothing_stands(case):
        plan = rollout.plan_deployment(case.target, case.spec)
        before = _apply(case, plan)
        again = rollout.plan_deployment(case.target, case.spec)
        _expect(again.is_empty, f"a second plan is not empty:\n{again.describe()}")
        after = _apply(case, plan)
        _expect(before.since == after.since, "applying a plan again started the service again")


def gives_the_lines_of_the_log(case: TargetCase) -> None:
    """The log has lines without newlines, and ``tail`` cuts off the older ones."""
    with _nothing_stands(case):
        _deploy(case, case.spec)
        lines = list(case.target.logs(case.spec.name))
        _expect(bool(lines), "the log of a running service is empty")
        _expect(all("\n" not in line for line in lines), "a line of the log has a newline in it")
        last = list(case.target.logs(case.spec.name, tail=1))
        _expect(len(last) == 1, f"the last line of the log is {len(last)} lines")


def shows_what_an_update_changes(case: TargetCase) -> None:
    """An update names both sides of what differs, and then runs the new revision."""
    with _nothing_stands(case):
        _deploy(case, case.spec)
        plan = rollout.plan_deployment(case.target, case.changed)
        old = rollout.plan_deployment(case.target, case.spec).spec.facts()
        new = plan.spec.facts()
        keys = [key for key in {*old, *new} if old.get(key) != new.get(key)]
        _expect(bool(keys), "'spec' and 'changed' of the case do not differ")
        shown = any(_shows(change, old, new, keys) for change in plan.changes)
        _expect(shown, f"the plan does not show {keys} before and after:\n{plan.describe()}")
        _expect_runs(_apply(case, plan), case.changed)
        listed = [one.name for one in case.target.list()]
        _expect(listed.count(case.spec.name) == 1, "after an update the list has it not once")


def returns_to_the_former_revision(case: TargetCase) -> None:
    """A revision that does not become healthy gives way to the one before it."""
    with _nothing_stands(case):
        _deploy(case, case.spec)
        _expect_failure(case, case.broken)
        _expect_runs(case.target.status(case.spec.name), case.spec)
        plan = rollout.plan_deployment(case.target, case.spec)
        _expect(plan.is_empty, f"the return left something to do:\n{plan.describe()}")


def leaves_nothing_of_a_failed_first(case: TargetCase) -> None:
    """A first revision that does not become healthy is removed again."""
    with _nothing_stands(case):
        _expect_failure(case, case.broken)
        status = case.target.status(case.spec.name)
        _expect(status.state is State.ABSENT, f"something of it is left: {status.state}")


def keeps_both_until_it_is_told(case: TargetCase) -> None:
    """Between apply and settle the plan is not done, and revert brings the former one back."""
    target, name = case.target, case.spec.name
    with _nothing_stands(case):
        _deploy(case, case.spec)
        plan = rollout.plan_deployment(target, case.changed)
        if case.ensure_image is not None and plan.missing_image is not None:
            case.ensure_image(plan.spec, SILENT)
        target.apply(plan, Journal(), SILENT)
        _expect(not target.read_live(plan.spec).is_settled, "a new revision counts as settled")
        target.revert(name)
        target.revert(name)
        status = target.status(name)
        _expect(status.revision == _revision(case, case.spec), "revert did not bring it back")
        _expect(target.read_live(plan.spec).is_settled, "the former revision is not settled")
        target.settle(name)


def destroys_without_a_trace(case: TargetCase) -> None:
    """What was destroyed is absent, not listed, and cannot be destroyed again."""
    target, name = case.target, case.spec.name
    with _nothing_stands(case):
        _deploy(case, case.spec)
        target.destroy(name)
        _expect(target.status(name).state is State.ABSENT, "what was destroyed is still there")
        _expect(name not in [one.name for one in target.list()], "it is still in the list")
        for act in (lambda: target.destroy(name), lambda: list(target.logs(name))):
            _expect_raises(DeploymentNotFoundError, act, "something that is absent")


def refuses_what_is_no_name(case: TargetCase) -> None:
    """Names are checked before anything is made of them."""
    target = case.target
    for name in ("", "..", "../x", "a/b", "-rf", "Upper", "a b", "x\n", "a" * 64):
        acts: tuple[Callable[[str], object], ...] = (target.status, target.destroy, target.logs)
        for act in acts:
            _expect_raises(TagError, partial(act, name), f"the name {name!r}")


def refuses_unknown_options(case: TargetCase) -> None:
    """An option that does not exist is an error, and so never a setting that was not made."""
    make = type(case.target).from_options
    _expect_raises(UsageError, lambda: make({"no-such-option": "1"}), "an unknown option")


CLAIMS: tuple[Claim, ...] = (
    plans_without_changing_anything,
    creates_what_is_absent,
    runs_what_was_applied,
    applies_only_once,
    gives_the_lines_of_the_log,
    shows_what_an_update_changes,
    returns_to_the_former_revision,
    leaves_nothing_of_a_failed_first,
    keeps_both_until_it_is_told,
    destroys_without_a_trace,
    refuses_what_is_no_name,
    refuses_unknown_options,
)
"""All that a target must keep, from what costs least to what costs most to get right."""


def target_contract(case: TargetCase) -> None:
    """Check every claim; raises TargetContractError that names the first one that is not kept."""
    for claim in CLAIMS:
        try:
            claim(case)
        except TargetContractError as error:
            raise TargetContractError(f"{claim.__name__}: {error}") from error


@contextmanager
def _nothing_stands(case: TargetCase) -> Iterator[None]:
    """Leave nothing of the deployment, whatever happens."""
    name = case.spec.name
    status = case.target.status(name)
    _expect(status.state is State.ABSENT, f"a deployment '{name}' is there already")
    try:
        yield
    finally:
        with suppress(DeploymentNotFoundError):
            case.target.destroy(name)
        records.forget(name)


def _deploy(case: TargetCase, spec: DeploymentSpec) -> Status:
    return _apply(case, rollout.plan_deployment(case.target, spec))


def _apply(case: TargetCase, plan: Plan) -> Status:
    return rollout.apply_plan(case.target, plan, ensure_image=case.ensure_image)


def _revision(case: TargetCase, spec: DeploymentSpec) -> str:
    return rollout.plan_deployment(case.target, spec).spec.revision


def _shows(
    change: Change,
    old: Mapping[str, Fact],
    new: Mapping[str, Fact],
    keys: list[str],
) -> bool:
    return all(
        change.before.get(key) == old.get(key) and change.after.get(key) == new.get(key)
        for key in keys
    )


def _expect_runs(status: Status, spec: DeploymentSpec) -> None:
    _expect(status.state is State.RUNNING, f"it is {status.state}, not running")
    _expect(status.bundle == spec.bundle, f"it runs '{status.bundle}', not '{spec.bundle}'")
    _expect(status.revision is not None, "it does not say which revision runs")
    _expect(status.since is not None, "it does not say since when it runs")


def _expect_failure(case: TargetCase, spec: DeploymentSpec) -> None:
    _expect_raises(DeployError, lambda: _deploy(case, spec), "the revision that is broken")


def _expect_raises(kind: type[Exception], act: Callable[[], object], what: str) -> None:
    try:
        act()
    except kind:
        return
    raise TargetContractError(f"{what} is taken: no {kind.__name__}")


def _expect(claim: bool, otherwise: str) -> None:
    if not claim:
        raise TargetContractError(otherwise)
