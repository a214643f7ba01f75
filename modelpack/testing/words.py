"""The claims about what a target says before anything is done: offline, as files, of secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from modelpack import paths
from modelpack.config.settings import DeploySettings
from modelpack.deploy import rollout
from modelpack.deploy.plan import Plan
from modelpack.deploy.spec import DeploymentSpec
from modelpack.manifest import canonical_json
from modelpack.testing.case import TargetCase, apply_plan, expect, nothing_stands

_VARIABLE = "CONTRACT_SECRET"
_SOURCE = "SOURCE_OF_THE_CONTRACT_SECRET"


def says_what_it_heeds(case: TargetCase) -> None:
    """What a target says that it heeds, or why not, are settings that there are."""
    known = DeploySettings.__dataclass_fields__.keys()
    said = case.target.capabilities(case.spec)
    for name in (*said.heeds, *said.reasons):
        expect(name in known, f"'{name}' is no setting of a deployment")


def plans_without_asking(case: TargetCase) -> None:
    """Without the live state there is a plan all the same, and it says what it does not know."""
    plan = rollout.plan_deployment(case.target, case.spec, offline=True)
    again = rollout.plan_deployment(case.target, case.spec, offline=True)
    expect(plan == again, "planning twice without asking gives two different plans")
    actions = {change.action for change in plan.changes} - {"none"}
    expect(actions == {"create"}, f"a plan without the live state wants to {sorted(actions)}")
    expect(not plan.is_live_known, "a plan without the live state counts as one with it")
    expect(Plan.from_json(plan.to_json()) == plan, "a plan without asking does not survive JSON")


def renders_the_same_bytes(case: TargetCase) -> None:
    """The files that would be sent are the same each time, and can be written below a folder."""
    first, second = (rollout.render(case.target, case.spec) for _ in range(2))
    expect(dict(first.files) == dict(second.files), "rendering twice gives different files")
    expect(bool(first.files), "nothing is rendered")
    changed = rollout.render(case.target, case.changed)
    expect(changed.files != first.files, "another revision renders to the same files")


def never_shows_a_secret(case: TargetCase) -> None:
    """The value of a secret is in no plan, no file that is rendered, and none that is kept."""
    name = case.spec.name
    if "env" not in case.target.capabilities(case.spec).secret_schemes:
        return
    with nothing_stands(case), _secret_in_the_environment() as value:
        spec = _with_secret(case.spec)
        plan = rollout.plan_deployment(case.target, spec)
        for what, text in (
            ("plan", plan.describe()),
            ("kept plan", canonical_json(plan.to_json()).decode()),
            *_rendered(case, spec),
        ):
            expect(value not in text, f"the value of a secret is in the {what}")
        expect(f"env:{_SOURCE}" in plan.describe(), "the plan does not say where a secret is from")
        status = apply_plan(case, plan)
        expect(value not in str(status), "the value of a secret is in the status")
        logged = "\n".join(case.target.logs(name))
        expect(value not in logged, "the value of a secret is in the log")
        for file in paths.home_dir().rglob("*"):
            if file.is_file():
                expect(value.encode() not in file.read_bytes(), f"a secret's value is in {file}")
        again = rollout.plan_deployment(case.target, spec)
        expect(again.is_empty, f"a secret makes a second plan differ:\n{again.describe()}")


def _with_secret(spec: DeploymentSpec) -> DeploymentSpec:
    given = {**spec.settings.secrets, _VARIABLE: f"env:{_SOURCE}"}
    return replace(spec, settings=replace(spec.settings, secrets=given))


def _rendered(case: TargetCase, spec: DeploymentSpec) -> Iterator[tuple[str, str]]:
    for path, data in rollout.render(case.target, spec).files.items():
        yield f"file {Path(path).name}", data.decode("utf-8", "replace")


@contextmanager
def _secret_in_the_environment() -> Iterator[str]:
    value = secrets.token_hex(16)
    os.environ[_SOURCE] = value
    try:
        yield value
    finally:
        del os.environ[_SOURCE]
