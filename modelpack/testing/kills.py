"""The claims about an apply that is killed: wherever it ends, the next one goes on from there.

    step ──► "begun" is on disk ─1─► the call ─2─► "done" is on disk ─3─► next step
                                 kill at any of these, then look, then apply again, or destroy

A kill is an exception that no target catches on purpose; ``killing`` can also end the process for
good, for tests that run an apply in a process of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelpack.deploy import journal as journals
from modelpack.deploy import records, rollout
from modelpack.deploy.journal import Journal, OpenJournal, open_journal
from modelpack.deploy.plan import Plan
from modelpack.deploy.probe import Probe
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import State
from modelpack.errors import DeploymentNotFoundError
from modelpack.progress import SILENT
from modelpack.testing.case import (
    TargetCase,
    TargetContractError,
    apply_plan,
    deploy,
    expect,
    expect_runs,
    held,
    make_image,
    nothing_stands,
)


class Killed(BaseException):
    """The process ends here."""


def _raise_killed() -> None:
    raise Killed


def kill_this_process() -> None:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killing(point: int, kill: Callable[[], None] = kill_this_process) -> OpenJournal:
    """Return what begins a journal whose process is killed at a point, counted from 0.

    Points 0, 1 and 2 are of the first step: before its call, between the call and its record, and
    after the record; 3 is before the call of the second one.
    """
    return partial(open_journal, kind=partial(_Killing, point, kill))


class _Killing(Journal):
    """A journal that ends the process at one of its points."""

    def __init__(self, point: int, kill: Callable[[], None], **more: Any) -> None:
        super().__init__(**more)
        self.left, self.kill = point, kill

    def _write(self, line: Mapping[str, Any]) -> None:
        if line["is"] == "done":
            self._pass()
        super()._write(line)
        self._pass()

    def _pass(self) -> None:
        if self.left == 0:
            self.kill()
        self.left -= 1


def goes_on_after_a_kill(case: TargetCase) -> None:
    """An update that was killed at any point is brought to its end by the next apply."""
    points, clean = _points(case, lambda: deploy(case, case.spec), case.changed)
    for point in points:
        try:
            with nothing_stands(case):
                deploy(case, case.spec)
                _kill(case, case.changed, point)
                _take_up(case, case.changed, clean)
        except TargetContractError as error:
            raise TargetContractError(f"killed at point {point}: {error}") from error


def comes_back_after_a_kill(case: TargetCase) -> None:
    """After an update that was killed, the revision before it can be deployed again instead."""
    points, clean = _points(case, lambda: deploy(case, case.spec), case.changed)
    for point in points:
        try:
            with nothing_stands(case):
                deploy(case, case.spec)
                _kill(case, case.changed, point)
                _take_up(case, case.spec, clean)
        except TargetContractError as error:
            raise TargetContractError(f"killed at point {point}: {error}") from error


def leaves_nothing_after_a_kill(case: TargetCase) -> None:
    """A first apply that was killed at any point leaves nothing that destroy does not remove."""
    name = case.spec.name
    points, _ = _points(case, lambda: None, case.spec)
    for point in points:
        try:
            with nothing_stands(case):
                _kill(case, case.spec, point)
                try:
                    case.target.destroy(name)
                except DeploymentNotFoundError:
                    status = case.target.status(name)
                    expect(status.state is State.ABSENT, "destroy does not find what is there")
        except TargetContractError as error:
            raise TargetContractError(f"killed at point {point}: {error}") from error


def _points(
    case: TargetCase, before: Callable[[], object], spec: DeploymentSpec
) -> tuple[list[int], int]:
    """Return at which points an apply can be killed, as many as the case wants.

    And how much the platform holds after one that was not.
    """
    with nothing_stands(case):
        before()
        steps = _count_steps(case, spec)
        clean = len(held(case))
    expect(steps > 1, "an apply takes no step through its journal")
    points = list(range(3 * steps))
    most = case.most_kills
    if most is None or most >= len(points):
        return points, clean
    return [points[(2 * n + 1) * len(points) // (2 * most)] for n in range(most)], clean


def _count_steps(case: TargetCase, spec: DeploymentSpec) -> int:
    plan = rollout.plan_deployment(case.target, spec)
    make_image(case, plan)
    return len(_apply(case, plan, open_journal).begun)


def _kill(case: TargetCase, spec: DeploymentSpec, point: int) -> None:
    plan = rollout.plan_deployment(case.target, spec)
    make_image(case, plan)
    try:
        _apply(case, plan, killing(point, _raise_killed))
    except Killed:
        found = journals.interrupted(spec.name)
        expect(found is not None, "an apply that was killed left no journal")
        return
    raise TargetContractError("the steps of an apply are not the same each time")


def _apply(case: TargetCase, plan: Plan, begin: OpenJournal) -> Journal:
    """Do what ``rollout`` does, without its way back: a killed process has none."""
    target, name = case.target, plan.spec.name
    with records.lock(name):
        journal = begin(plan)
        records.remember(name, target.name, target.options)
        target.apply(plan, journal, SILENT)
        probe = Probe(lambda: target.status(name), ask=target.fetch)
        probe.wait_until_ready(plan.spec.settings.ready_timeout_s)
        journal.step("settle", lambda: target.settle(name))
        journal.close()
    return journal


def _take_up(case: TargetCase, spec: DeploymentSpec, clean: int) -> None:
    """Apply a spec on top of what a kill has left, and see that only that is left then."""
    plan = rollout.plan_deployment(case.target, spec)
    status = apply_plan(case, plan)
    expect_runs(status, spec)
    again = rollout.plan_deployment(case.target, spec)
    expect(again.is_empty, f"it left something to do:\n{again.describe()}")
    expect(journals.interrupted(spec.name) is None, "the journal is still open")
    more = len(held(case)) - clean
    expect(more <= 0, f"{more} resources more are held than after a clean apply")
