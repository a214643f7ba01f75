"""What would change is said for a deploy, a rollback and a scaling alike, and nothing is passed over."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from modelpack import paths
from modelpack.deploy import (
    Capabilities,
    Change,
    Cost,
    DeploymentSpec,
    Live,
    Plan,
    Revision,
    State,
    Status,
    Target,
    change_to,
    journal,
    planning,
    revisions,
    rollout,
    saved,
)
from modelpack.deploy.capabilities import NEVER_PASSED_OVER
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    NotFoundError,
    UsageError,
)


@dataclass
class Place(Target):
    """A target in memory that does replicas and follows secrets of the environment."""

    name: ClassVar[str] = "place"
    needs_image: ClassVar[bool] = False

    runs: DeploymentSpec | None = None
    changed: Mapping[str, object] = field(default_factory=dict)
    """What somebody else has changed."""
    asks: int = 0
    refuses: Exception | None = None
    scales: frozenset[str] = frozenset({"min_replicas", "max_replicas"})

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Place:
        return cls()

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        return Capabilities(
            heeds=frozenset({"env", "port", "cpu", "secrets"}) | self.scales,
            reasons={
                "region": "there is one place only",
                "min_replicas": "this place does not scale",
                "max_replicas": "this place does not scale",
            },
            secret_schemes=("env",),
        )

    def read_live(self, spec: DeploymentSpec) -> Live:
        self.asks += 1
        if self.refuses is not None:
            raise self.refuses
        if self.runs is None:
            return Live(name=spec.name)
        facts = self.runs.facts()
        return Live(
            name=spec.name,
            state=State.RUNNING,
            facts={**facts, **self.changed},
            applied=facts,
            revision=self.runs.revision,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        change = change_to(f"thing/{spec.name}", live, spec.facts())
        return Plan(target=self.name, spec=spec, changes=(change,))

    def apply(self, plan: Plan, journal, progress) -> Revision:
        journal.step("run", lambda: setattr(self, "runs", plan.spec))
        spec = plan.spec
        return Revision(deployment=spec.name, id=spec.revision, bundle=spec.bundle, target="place")

    def settle(self, name: str) -> None:
        pass

    def revert(self, name: str) -> None:
        pass

    def status(self, name: str) -> Status:
        if self.runs is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        return Status(
            name=name,
            target=self.name,
            state=State.RUNNING,
            bundle=self.runs.bundle,
            revision=self.runs.revision,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        return iter(())

    def destroy(self, name: str) -> None:
        self.runs = None

    def list(self) -> list[Status]:
        return []


def deploy(place: Place, spec: DeploymentSpec) -> None:
    rollout.apply_plan(place, rollout.plan_deployment(place, spec))


def test_nobody_is_asked_offline(make_spec) -> None:
    place = Place(runs=make_spec())
    plan = planning.plan_deployment(place, make_spec(), offline=True)
    assert place.asks == 0
    assert not plan.is_live_known
    assert [change.action for change in plan.changes] == ["create"]


def test_without_credentials_the_live_state_is_not_known_and_nothing_is_applied(make_spec) -> None:
    place = Place(refuses=CredentialsError("no credentials for the place", hint="log in"))
    plan = planning.plan_deployment(place, make_spec())
    assert not plan.is_live_known
    assert "warning: no credentials for the place" in plan.describe()
    with pytest.raises(CredentialsError):
        rollout.apply_plan(place, plan)
    assert place.runs is None


def test_what_somebody_else_has_changed_stands_apart(make_spec) -> None:
    place = Place()
    deploy(place, make_spec(cpu=1))
    place.changed = {"cpu": 4.0}
    plan = planning.plan_deployment(place, make_spec(cpu=2))
    assert plan.changes[0].before == {"cpu": 4.0}
    assert plan.changes[0].after == {"cpu": 2.0}
    (drift,) = plan.drift
    assert (drift.before, drift.after) == ({"cpu": 1.0}, {"cpu": 4.0})
    lines = plan.describe().splitlines()
    head = lines.index("  changed since the last apply, and not by modelpack:")
    assert lines[head + 2].split() == ["cpu", "1.0", "→", "4.0"]
    assert Plan.from_json(plan.to_json()) == plan
    assert replace(plan, drift=()).digest == plan.digest


def test_nothing_is_drift_before_the_first_apply(make_spec) -> None:
    assert planning.plan_deployment(Place(), make_spec()).drift == ()


def test_a_region_that_the_spec_names_is_one_of_the_options(make_spec) -> None:
    """The target learns it as it reads; that is no other target then."""

    class Cloud(Place):
        region: str | None = None

        @property
        def options(self) -> Mapping[str, str]:
            return {"region": self.region} if self.region else {}

        def capabilities(self, spec: DeploymentSpec) -> Capabilities:
            return Capabilities(heeds=frozenset({"region", "port"}))

        def read_live(self, spec: DeploymentSpec) -> Live:
            self.region = spec.settings.region
            return super().read_live(spec)

    deploy(first := Cloud(), make_spec(region="eu"))
    deploy(second := Cloud(runs=first.runs), make_spec(region="eu"))
    assert second.runs == first.runs


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"memory_bytes": 2**30}, "resources.memory: the target 'place' does not do it"),
        ({"region": "eu"}, "region: there is one place only"),
        ({"labels": {"team": "ml"}}, "labels: the target 'place' does not do it"),
        ({"API_KEY": "x"}, "env.API_KEY: looks like a secret"),
    ],
)
def test_what_may_be_passed_over_is_a_warning(make_spec, settings, said: str) -> None:
    plan = planning.plan_deployment(Place(), make_spec(**settings))
    assert any(warning.startswith(said) for warning in plan.warnings)


NOT_HEEDED = {
    "mode": "ecs",
    "accelerator": "nvidia-l4",
    "instance": "auto",
    "canary_percent": 10,
    "public": True,
    "vpc": "vpc-1",
    "subnets": ("subnet-1",),
    "security_groups": ("sg-1",),
    "allow": ("10.0.0.0/8",),
}


@pytest.mark.parametrize("name", sorted(NEVER_PASSED_OVER - {"secrets"}))
def test_what_would_be_another_thing_is_refused(make_spec, name: str) -> None:
    with pytest.raises(UsageError, match="the target 'place' does not do it"):
        planning.plan_deployment(Place(), make_spec(**{name: NOT_HEEDED[name]}))


def test_a_reference_that_the_target_does_not_follow_is_refused_and_not_repeated(make_spec) -> None:
    with pytest.raises(UsageError, match=r"deploy\.secrets\.TOKEN") as caught:
        planning.plan_deployment(Place(), make_spec(secrets={"TOKEN": "hunter2:hunter2"}))
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    planning.plan_deployment(Place(), make_spec(secrets={"TOKEN": "env:TOKEN"}))


def test_a_rollback_goes_to_the_revision_before(make_spec) -> None:
    place = Place()
    for version in ("a", "b"):
        deploy(place, make_spec(version))
    plan = rollout.plan_rollback(place, "digits")
    assert plan.spec == replace(make_spec("a"), image=None)
    rollout.apply_plan(place, plan)
    assert place.runs == plan.spec
    assert [one.bundle for one in place.history("digits")] == ["digits:a", "digits:b", "digits:a"]
    assert rollout.plan_rollback(place, "digits").spec.bundle == "digits:b"


def test_a_revision_can_be_named_by_its_beginning_or_its_bundle(make_spec) -> None:
    place = Place()
    for version in ("a", "b", "c"):
        deploy(place, make_spec(version))
    first = place.history("digits")[0]
    for wanted in (first.id, first.id[:4], "digits:a"):
        assert rollout.plan_rollback(place, "digits", wanted).spec == first.spec
    for wanted in ("digits:x", first.id[:3], ""):
        with pytest.raises(NotFoundError):
            rollout.plan_rollback(place, "digits", wanted)


def test_a_bundle_that_stood_in_two_ways_has_to_be_named_by_its_id(make_spec) -> None:
    place = Place()
    for port in (1, 2):
        deploy(place, make_spec("a", port=port))
    with pytest.raises(NotFoundError, match="may be any of the revisions"):
        rollout.plan_rollback(place, "digits", "digits:a")


def test_a_history_is_bounded_and_forgets_what_was_destroyed(
    make_spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "MOST", 3)
    place = Place()
    for number in range(5):
        revisions.keep(make_spec(f"v{number}"), "place")
    kept = place.history("digits")
    assert [one.bundle for one in kept] == ["digits:v2", "digits:v3", "digits:v4"]
    deploy(place, make_spec("new"))  # nothing stands: the old ones are of another one
    assert [one.bundle for one in place.history("digits")] == ["digits:new"]


def test_scaling_changes_the_replicas_alone(make_spec) -> None:
    place = Place()
    deploy(place, make_spec(cpu=1))
    plan = rollout.plan_scale(place, "digits", fewest=2, most=4)
    assert plan.changes[0].after == {"min_replicas": 2, "max_replicas": 4}
    rollout.apply_plan(place, plan)
    assert rollout.plan_scale(place, "digits", fewest=2, most=None).is_empty
    up = rollout.plan_scale(place, "digits", fewest=9, most=None)
    assert up.spec.settings.max_replicas == 9, "the most is never below the fewest"


def test_scaling_where_there_are_no_replicas_is_refused(make_spec) -> None:
    place = Place(scales=frozenset())
    deploy(place, make_spec())
    for numbers in ({"fewest": 2, "most": None}, {"fewest": None, "most": 2}):
        with pytest.raises(UsageError, match="this place does not scale"):
            rollout.plan_scale(place, "digits", **numbers)


def test_a_number_that_is_not_heeded_beside_one_that_is_becomes_a_warning(make_spec) -> None:
    place = Place(scales=frozenset({"min_replicas"}))
    deploy(place, make_spec())
    plan = rollout.plan_scale(place, "digits", fewest=2, most=4)
    assert not plan.is_empty
    assert plan.warnings == ("scaling.max: this place does not scale",)


def test_what_a_target_passes_over_is_no_revision_to_go_back_to(make_spec) -> None:
    class Unmoved(Place):
        def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
            wanted = {key: value for key, value in spec.facts().items() if key != "min_replicas"}
            change = change_to(f"thing/{spec.name}", live, wanted)
            return Plan(target=self.name, spec=spec, changes=(change,))

    place = Unmoved(scales=frozenset())
    first, second = make_spec("a"), make_spec("b")
    deploy(place, first)
    deploy(place, second)

    deploy(place, make_spec("b", min_replicas=2))  # nothing to change

    assert [one.id for one in place.history("digits")] == [first.revision, second.revision]
    assert rollout.plan_rollback(place, "digits").spec.bundle == "digits:a"


def test_scaling_what_is_not_known_here_says_what_to_do(make_spec) -> None:
    with pytest.raises(DeployError, match="is not known on this machine"):
        rollout.plan_scale(Place(runs=make_spec()), "digits", fewest=2, most=None)


def test_what_is_cut_short_is_said_in_the_next_plan(make_spec) -> None:
    place = Place()
    plan = planning.plan_deployment(place, make_spec())
    journal.open_journal(plan).step("create/a", lambda: None)
    note = planning.plan_deployment(place, make_spec()).notes[0]
    assert "was cut short in the step 'create/a'" in note


def test_what_is_under_way_right_now_is_not_cut_short(make_spec) -> None:
    place = Place()

    class Looking(Place):
        def settle(self, name: str) -> None:
            assert planning.plan_deployment(place, make_spec()).notes == ()

    deploy(Looking(), make_spec())


def test_a_target_may_hold_a_lock_of_its_own(make_spec) -> None:
    class Held(Place):
        def hold(self, name: str):
            raise ConflictError("another machine is deploying it")

    place = Held()
    with pytest.raises(ConflictError, match="another machine"):
        deploy(place, make_spec())
    assert place.runs is None


@pytest.mark.parametrize("granted", [True, False])
def test_what_no_plan_could_know_is_asked_on_the_way(make_spec, granted: bool) -> None:
    asked = []

    class Asking(Place):
        def apply(self, plan: Plan, journal, progress) -> Revision:
            if not journal.confirm("the cloud replaces the database, too; go on?"):
                raise ConflictError("nothing was done without consent")
            return super().apply(plan, journal, progress)

    place = Asking()
    plan = rollout.plan_deployment(place, make_spec())
    if granted:
        rollout.apply_plan(place, plan, confirm=lambda question: not asked.append(question))
        assert asked == ["the cloud replaces the database, too; go on?"]
    else:
        with pytest.raises(ConflictError, match="without consent"):
            rollout.apply_plan(place, plan)
    assert (place.runs is not None) == granted


def test_costs_are_summed_and_are_no_part_of_what_is_applied(make_spec) -> None:
    note = "on demand, eu-central-1, prices of 2026-08"
    changes = [
        Change(action="create", resource=f"node/{n}", cost=Cost(usd_per_hour=0.05, note=note))
        for n in (1, 2)
    ]
    plan = Plan(target="place", spec=make_spec(), changes=tuple(changes))
    assert f"cost: about 0.1 USD an hour, 73 a month ({note})" in plan.describe()
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    free = replace(plan, changes=tuple(replace(change, cost=None) for change in changes))
    assert free.digest == plan.digest


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_s20_what_a_deploy_keeps_is_for_its_owner_alone(
    make_spec, tmp_path: Path, umask: int
) -> None:
    former = os.umask(umask)
    try:
        place = Place()
        plan = planning.plan_deployment(place, make_spec())
        saved.save(tmp_path / "x.plan", saved.SavedPlan(plan=plan))
        rollout.apply_plan(place, plan)
        journal.open_journal(plan)
    finally:
        os.umask(former)
    files = [tmp_path / "x.plan", *paths.deployments_dir().iterdir()]
    assert {file.suffix for file in files} == {".plan", ".json", ".history", ".journal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(paths.deployments_dir().stat().st_mode) == 0o700
