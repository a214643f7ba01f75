"""The claims about deploying: plan, apply, look, update, come back, destroy.

Each starts from nothing and leaves nothing.  Those about kills are in ``kills``, those about what a
target says beforehand in ``words``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modelpack.deploy import rollout
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import Plan
from modelpack.deploy.state import State
from modelpack.errors import DeploymentNotFoundError, TagError, UsageError
from modelpack.progress import SILENT
from modelpack.testing.case import (
    TargetCase,
    apply_plan,
    deploy,
    expect,
    expect_failure,
    expect_raises,
    expect_runs,
    make_image,
    nothing_stands,
    revision_of,
    shows,
)


def plans_without_changing_anything(case: TargetCase) -> None:
    """The same question gives the same plan; asking leaves everything as it is."""
    with nothing_stands(case):
        first, second = (rollout.plan_deployment(case.target, case.spec) for _ in range(2))
        expect(first == second, "planning twice gives two different plans")
        expect(first.digest == second.digest, "equal plans have different digests")
        expect(Plan.from_json(first.to_json()) == first, "a plan does not survive JSON")
        status = case.target.status(case.spec.name)
        expect(status.state is State.ABSENT, f"planning made something: {status.state}")


def creates_what_is_absent(case: TargetCase) -> None:
    """A first plan creates, and its text shows the sign, the name and the target."""
    with nothing_stands(case):
        plan = rollout.plan_deployment(case.target, case.spec)
        actions = {change.action for change in plan.changes} - {"none"}
        expect(actions == {"create"}, f"a first plan wants to {sorted(actions)}")
        text = plan.describe()
        for word in ("+ ", case.spec.name, case.target.name, case.spec.bundle):
            expect(word in text, f"the text of the plan does not say '{word}'")


def runs_what_was_applied(case: TargetCase) -> None:
    """What was applied is healthy, says which revision it is, and is in the list."""
    with nothing_stands(case):
        status = deploy(case, case.spec)
        expect_runs(status, case.spec)
        expect_runs(case.target.status(case.spec.name), case.spec)
        listed = [one.name for one in case.target.list()]
        expect(
            listed.count(case.spec.name) == 1,
            f"the list has it {listed.count(case.spec.name)} times",
        )


def applies_only_once(case: TargetCase) -> None:
    """What stands already needs no change, and applying an old plan again changes nothing."""
    with nothing_stands(case):
        plan = rollout.plan_deployment(case.target, case.spec)
        before = apply_plan(case, plan)
        again = rollout.plan_deployment(case.target, case.spec)
        expect(again.is_empty, f"a second plan is not empty:\n{again.describe()}")
        after = apply_plan(case, plan)
        expect(before.since == after.since, "applying a plan again started the service again")


def gives_the_lines_of_the_log(case: TargetCase) -> None:
    """The log has lines without newlines, and ``tail`` cuts off the older ones."""
    with nothing_stands(case):
        deploy(case, case.spec)
        lines = list(case.target.logs(case.spec.name))
        expect(bool(lines), "the log of a running service is empty")
        expect(all("\n" not in line for line in lines), "a line of the log has a newline in it")
        last = list(case.target.logs(case.spec.name, tail=1))
        expect(len(last) == 1, f"the last line of the log is {len(last)} lines")


def shows_what_an_update_changes(case: TargetCase) -> None:
    """An update names both sides of what differs, and then runs the new revision."""
    with nothing_stands(case):
        deploy(case, case.spec)
        plan = rollout.plan_deployment(case.target, case.changed)
        old = rollout.plan_deployment(case.target, case.spec).spec.facts()
        new = plan.spec.facts()
        keys = [key for key in {*old, *new} if old.get(key) != new.get(key)]
        expect(bool(keys), "'spec' and 'changed' of the case do not differ")
        shown = any(shows(change, old, new, keys) for change in plan.changes)
        expect(shown, f"the plan does not show {keys} before and after:\n{plan.describe()}")
        expect_runs(apply_plan(case, plan), case.changed)
        listed = [one.name for one in case.target.list()]
        expect(listed.count(case.spec.name) == 1, "after an update the list has it not once")


def returns_to_the_former_revision(case: TargetCase) -> None:
    """A revision that does not become healthy gives way to the one before it."""
    with nothing_stands(case):
        deploy(case, case.spec)
        expect_failure(case, case.broken)
        expect_runs(case.target.status(case.spec.name), case.spec)
        plan = rollout.plan_deployment(case.target, case.spec)
        expect(plan.is_empty, f"the return left something to do:\n{plan.describe()}")


def leaves_nothing_of_a_failed_first(case: TargetCase) -> None:
    """A first revision that does not become healthy is removed again."""
    with nothing_stands(case):
        expect_failure(case, case.broken)
        status = case.target.status(case.spec.name)
        expect(status.state is State.ABSENT, f"something of it is left: {status.state}")


def keeps_both_until_it_is_told(case: TargetCase) -> None:
    """Between apply and settle the plan is not done, and revert brings the former one back."""
    target, name = case.target, case.spec.name
    with nothing_stands(case):
        deploy(case, case.spec)
        plan = rollout.plan_deployment(target, case.changed)
        make_image(case, plan)
        target.apply(plan, Journal(), SILENT)
        expect(not target.read_live(plan.spec).is_settled, "a new revision counts as settled")
        target.revert(name)
        target.revert(name)
        status = target.status(name)
        expect(status.revision == revision_of(case, case.spec), "revert did not bring it back")
        expect(target.read_live(plan.spec).is_settled, "the former revision is not settled")
        target.settle(name)


def destroys_without_a_trace(case: TargetCase) -> None:
    """What was destroyed is absent, not listed, and cannot be destroyed again."""
    target, name = case.target, case.spec.name
    with nothing_stands(case):
        deploy(case, case.spec)
        target.destroy(name)
        expect(target.status(name).state is State.ABSENT, "what was destroyed is still there")
        expect(name not in [one.name for one in target.list()], "it is still in the list")
        for act in (lambda: target.destroy(name), lambda: list(target.logs(name))):
            expect_raises(DeploymentNotFoundError, act, "something that is absent")


def refuses_what_is_no_name(case: TargetCase) -> None:
    """Names are checked before anything is made of them."""
    target = case.target
    for name in ("", "..", "../x", "a/b", "-rf", "Upper", "a b", "x\n", "a" * 64):
        acts: tuple[Callable[[str], object], ...] = (target.status, target.destroy, target.logs)
        for act in acts:
            expect_raises(TagError, partial(act, name), f"the name {name!r}")


def refuses_unknown_options(case: TargetCase) -> None:
    """An option that does not exist is an error, and so never a setting that was not made."""
    make = type(case.target).from_options
    expect_raises(UsageError, lambda: make({"no-such-option": "1"}), "an unknown option")


def goes_back_as_a_plan(case: TargetCase) -> None:
    """The history has what was healthy, in order; a rollback is planned, and then runs."""
    target, name = case.target, case.spec.name
    with nothing_stands(case):
        deploy(case, case.spec)
        deploy(case, case.changed)
        ids = [one.id for one in target.history(name)]
        wanted = [revision_of(case, case.spec), revision_of(case, case.changed)]
        expect(ids[-2:] == wanted, f"the history is {ids}, not {wanted}")
        current = target.current(name)
        expect(
            current is not None and current.revision == wanted[1],
            "it does not know the spec of what runs",
        )
        plan = rollout.plan_rollback(target, name)
        expect(not plan.is_empty, "a rollback to another revision changes nothing")
        expect(plan.spec.revision == wanted[0], "a rollback goes to another revision")
        expect_runs(apply_plan(case, plan), case.spec)
        again = rollout.plan_deployment(target, case.spec)
        expect(again.is_empty, f"the rollback left something to do:\n{again.describe()}")


def lists_what_goes(case: TargetCase) -> None:
    """Before a deployment is destroyed it can be said what goes with it."""
    with nothing_stands(case):
        deploy(case, case.spec)
        inventory = case.target.inventory(case.spec.name)
        expect(bool(inventory), "the inventory of a deployment is empty")
        bad = [one for one in inventory if not all(one.partition("/"))]
        expect(not bad, f"not KIND/NAME: {bad}")
        expect(len(set(inventory)) == len(inventory), "the inventory names something twice")


def scales_as_a_plan(case: TargetCase) -> None:
    """Another number of replicas is a plan of the same bundle, where the target does replicas."""
    target, name = case.target, case.spec.name
    if "min_replicas" not in target.capabilities(case.spec).heeds:
        return
    with nothing_stands(case):
        deploy(case, case.spec)
        fewest = case.spec.settings.min_replicas + 1
        plan = rollout.plan_scale(target, name, fewest=fewest, most=None)
        expect(plan.spec.bundle == case.spec.bundle, "scaling is planned for another bundle")
        expect(not plan.is_empty, "another number of replicas changes nothing")
        expect_runs(apply_plan(case, plan), case.spec)
        again = rollout.plan_scale(target, name, fewest=fewest, most=None)
        expect(again.is_empty, f"scaling left something to do:\n{again.describe()}")
