"""A rollout changes what was planned, or nothing, and comes back when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from modelpack import paths
from modelpack.deploy import (
    Answer,
    Change,
    DeploymentSpec,
    Live,
    Plan,
    Revision,
    State,
    Status,
    Target,
    change_to,
    records,
    refuse_unknown,
    rollout,
)
from modelpack.deploy.journal import interrupted, open_journal
from modelpack.deploy.probe import Clock
from modelpack.deploy.records import Record
from modelpack.errors import (
    ConflictError,
    DeployError,
    DeploymentNotFoundError,
    EngineError,
    PortInUseError,
)


@dataclass
class Place(Target):
    """A target that only remembers; nothing is to be reached, so its word decides."""

    name: ClassVar[str] = "place"
    needs_image: ClassVar[bool] = False

    settled: DeploymentSpec | None = None
    candidate: DeploymentSpec | None = None
    states: dict[str, State] = field(default_factory=dict)
    """By bundle; what is not here runs."""
    lines: tuple[str, ...] = ()
    done: list[str] = field(default_factory=list)
    fails: Exception | None = None

    @property
    def options(self) -> Mapping[str, str]:
        return {"where": "here"}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Place:
        refuse_unknown(cls.name, options, ["where"])
        return cls()

    def read_live(self, spec: DeploymentSpec) -> Live:
        now = self.candidate or self.settled
        if now is None:
            return Live(name=spec.name)
        return Live(
            name=spec.name,
            state=self.states.get(now.bundle, State.RUNNING),
            facts=now.facts(),
            is_settled=self.candidate is None,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        change = change_to(f"thing/{spec.name}", live, spec.facts())
        return Plan(target=self.name, spec=spec, changes=(change,))

    def apply(self, plan: Plan, journal, progress) -> Revision:
        self.done.append(f"apply {plan.spec.bundle}")
        if self.fails is not None:
            raise self.fails
        self.candidate = plan.spec
        spec = plan.spec
        return Revision(deployment=spec.name, id=spec.revision, bundle=spec.bundle, target="place")

    def settle(self, name: str) -> None:
        self.done.append("settle")
        self.settled, self.candidate = self.candidate or self.settled, None

    def revert(self, name: str) -> None:
        self.done.append("revert")
        self.candidate = None

    def status(self, name: str) -> Status:
        now = self.candidate or self.settled
        if now is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        return Status(
            name=name,
            target=self.name,
            state=self.states.get(now.bundle, State.RUNNING),
            bundle=now.bundle,
            revision=now.revision,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        if (self.candidate or self.settled) is None:
            raise DeploymentNotFoundError("none")
        return iter(self.lines[-tail:] if tail else self.lines)

    def destroy(self, name: str) -> None:
        self.settled = self.candidate = None

    def list(self) -> list[Status]:
        return []


@pytest.fixture
def clock() -> Clock:
    """Time that only sleeping moves."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Clock(now=lambda: now[0], sleep=sleep)


def deploy(place: Place, spec: DeploymentSpec, **more) -> Status:
    return rollout.apply_plan(place, rollout.plan_deployment(place, spec), **more)


def test_what_is_healthy_is_settled_and_remembered(make_spec) -> None:
    place = Place()

    status = deploy(place, make_spec())

    assert status.state is State.RUNNING
    assert place.done == ["apply digits:a", "settle"]
    assert records.read("digits") == Record(
        name="digits", target="place", options={"where": "here"}
    )


def test_a_plan_that_is_done_already_changes_nothing(make_spec) -> None:
    place = Place()
    plan = rollout.plan_deployment(place, make_spec())
    rollout.apply_plan(place, plan)
    place.done.clear()

    assert rollout.apply_plan(place, plan).state is State.RUNNING
    assert place.done == []


def test_a_plan_for_another_state_of_things_is_refused(make_spec) -> None:
    place = Place()
    plan = rollout.plan_deployment(place, make_spec("b"))
    place.settled = make_spec("a")

    with pytest.raises(ConflictError, match="has changed since it was planned"):
        rollout.apply_plan(place, plan)
    assert place.done == []


def test_a_kept_plan_can_be_applied_later(make_spec) -> None:
    place = Place()
    kept = Plan.from_json(rollout.plan_deployment(place, make_spec()).to_json())

    assert rollout.apply_plan(place, kept).state is State.RUNNING


@pytest.mark.parametrize("state", [State.FAILED, State.STARTING, State.UNHEALTHY])
def test_what_is_not_healthy_gives_way_to_the_former(make_spec, clock, notes, state) -> None:
    place = Place(settled=make_spec("a"), states={"digits:b": state})
    place.lines = ("starting", "error[service-failed]: no weights", "bye\x1b[2J")

    with pytest.raises(DeployError) as caught:
        deploy(place, make_spec("b"), clock=clock, progress=notes)

    assert place.done == ["apply digits:b", "revert"]
    assert place.settled == make_spec("a")
    error = caught.value
    assert error.message.endswith(": error[service-failed]: no weights")
    assert f"revision '{make_spec('a').revision}' (digits:a) runs as before" in error.hint
    assert error.log_lines == ("starting", "error[service-failed]: no weights", "bye [2J")
    assert "log: starting" in notes.lines
    assert "\n" not in error.message + error.hint


def test_an_event_of_the_log_is_quoted_by_its_error(make_spec, clock) -> None:
    event = '{"level":"error","event":"model-error","error":"RuntimeError: no weights"}'
    place = Place(settled=make_spec("a"), states={"digits:b": State.FAILED}, lines=("x", event))

    with pytest.raises(DeployError) as caught:
        deploy(place, make_spec("b"), clock=clock)

    assert caught.value.message.endswith("before it was ready: RuntimeError: no weights")


def test_a_log_that_lags_behind_is_waited_for(make_spec, clock) -> None:
    class Late(Place):
        reads = 0

        def logs(self, name: str, *, follow: bool = False, tail: int | None = None):
            self.reads += 1
            return iter(["starting", "error: no weights"][: 1 + (self.reads > 3)])

    place = Late(settled=make_spec("a"), states={"digits:b": State.FAILED})
    with pytest.raises(DeployError, match="error: no weights"):
        deploy(place, make_spec("b"), clock=clock)
    assert place.reads == 4


def test_a_failed_first_one_is_removed_and_forgotten(make_spec, clock) -> None:
    place = Place(states={"digits:a": State.FAILED})

    with pytest.raises(DeployError) as caught:
        deploy(place, make_spec(), clock=clock)

    assert "nothing of it is left" in caught.value.hint
    assert records.read("digits") is None


def test_a_former_one_that_does_not_come_back_is_said(make_spec, clock) -> None:
    place = Place(settled=make_spec("a"))
    place.states = {"digits:a": State.STARTING, "digits:b": State.FAILED}

    with pytest.raises(DeployError) as caught:
        deploy(place, make_spec("b"), clock=clock)

    assert "was put back, but 'digits' was not ready within 20 s" in caught.value.hint


def test_a_revert_that_fails_is_said_beside_why_it_was_needed(make_spec, clock) -> None:
    class Stuck(Place):
        def revert(self, name: str) -> None:
            raise EngineError("the engine went away")

    place = Stuck(settled=make_spec("a"), states={"digits:b": State.FAILED})
    with pytest.raises(DeployError, match="has ended before it was ready") as caught:
        deploy(place, make_spec("b"), clock=clock)

    assert caught.value.hint.endswith("could not be put back: the engine went away")


def test_an_interrupt_brings_the_former_one_back(make_spec) -> None:
    place = Place(settled=make_spec("a"), states={"digits:b": State.STARTING})

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(place, make_spec("b"), clock=Clock(now=lambda: 0.0, sleep=interrupted))

    assert place.done == ["apply digits:b", "revert"]


def test_an_apply_that_fails_leaves_no_record(make_spec) -> None:
    place = Place(fails=PortInUseError("taken", hint="another port"))

    with pytest.raises(PortInUseError) as caught:
        deploy(place, make_spec())

    assert caught.value.hint == "another port; nothing of it is left"
    assert place.done == ["apply digits:a", "revert"]
    assert records.all_records() == []


def test_an_apply_that_fails_is_not_explained_by_the_log_of_the_former_one(make_spec) -> None:
    place = Place(settled=make_spec("a"), lines=("error: of yesterday",))
    place.fails = EngineError("no disk")

    with pytest.raises(EngineError) as caught:
        deploy(place, make_spec("b"))

    assert caught.value.message == "no disk"
    assert "(digits:a) runs as before" in caught.value.hint


def test_an_apply_that_fails_is_explained_by_lines_that_the_target_knows_to_be_its_own(
    make_spec, notes
) -> None:
    place = Place(settled=make_spec("a"), lines=("error: of the former one",))
    place.fails = DeployError("it crashes", log_lines=("starting", "error: no weights"))

    with pytest.raises(DeployError) as caught:
        rollout.apply_plan(place, rollout.plan_deployment(place, make_spec("b")), progress=notes)

    assert caught.value.message == "it crashes: error: no weights"
    assert caught.value.log_lines == ("starting", "error: no weights")
    assert "log: starting" in notes.lines
    assert place.settled == make_spec("a")


def test_a_target_that_cannot_even_be_asked_does_not_hide_why_it_failed(make_spec) -> None:
    class Gone(Place):
        def status(self, name: str) -> Status:
            raise EngineError("the engine went away")

    with pytest.raises(PortInUseError):
        deploy(Gone(fails=PortInUseError("taken")), make_spec())


def test_a_name_that_stands_at_another_target_is_refused(make_spec, local) -> None:
    deploy(local, make_spec())
    try:
        with pytest.raises(ConflictError, match="'digits' stands already at target 'local'"):
            rollout.plan_deployment(Place(), make_spec())
    finally:
        local.destroy("digits")

    assert not rollout.plan_deployment(Place(), make_spec()).is_empty


def test_a_record_of_something_that_is_gone_is_in_nobodys_way(make_spec) -> None:
    records.write(Record(name="digits", target="local"))

    assert deploy(Place(), make_spec()).target == "place"
    assert records.read("digits").target == "place"


def test_a_record_of_a_target_that_is_not_here_is_respected(make_spec) -> None:
    records.write(Record(name="digits", target="moon"))

    with pytest.raises(ConflictError, match="at target 'moon'"):
        deploy(Place(), make_spec())


def test_two_deploys_at_once_do_not_mix(make_spec) -> None:
    place = Place()
    plan = rollout.plan_deployment(place, make_spec())

    with records.lock("digits"), pytest.raises(ConflictError, match="another process"):
        rollout.apply_plan(place, plan)
    assert place.done == []


class Imaged(Place):
    needs_image: ClassVar[bool] = True

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        plan = super().plan(spec, live)
        if plan.is_empty:
            return plan
        image = Change(action="create", resource=f"image/{spec.image}")
        return replace(plan, changes=(image, *plan.changes))


def test_a_missing_image_is_made_before_anything_is_touched(make_spec) -> None:
    place, made = Imaged(), []

    def ensure_image(spec: DeploymentSpec, progress) -> None:
        made.append((spec.image, list(place.done)))

    deploy(place, make_spec(image="digits:a"), ensure_image=ensure_image)

    assert made == [("digits:a", [])]


def test_without_a_way_to_make_it_a_missing_image_is_said(make_spec) -> None:
    place = Imaged()
    with pytest.raises(DeployError, match="the image 'digits:a' is not there") as caught:
        deploy(place, make_spec(image="digits:a"))

    assert "modelpack containerize digits:a" in caught.value.hint
    assert place.done == []


def test_targets_that_need_no_image_are_given_none(make_spec) -> None:
    plan = rollout.plan_deployment(Place(), make_spec(image="digits:a"))
    assert plan.spec.image is None


def test_halves_of_files_that_a_kill_has_left_are_swept(make_spec) -> None:
    place = Place()
    folder = records.make_private(paths.deployments_dir())
    ours = [f".digits.{kind}.{'0' * 16}" for kind in ("json", "journal", "history")]
    others = [".other.json." + "0" * 16, ".digits.json.json." + "0" * 16, ".digits.json.00"]
    for name in (*ours, *others):
        (folder / name).write_text("{")
    deploy(place, make_spec())
    left = {file.name for file in folder.iterdir()}
    assert left == {*others, "digits.json", "digits.history"}


def test_what_is_whole_after_a_kill_is_settled_once_more(make_spec) -> None:
    """The target may still have something to remove that its revision does not need."""
    place = Place()
    plan = rollout.plan_deployment(place, make_spec())
    rollout.apply_plan(place, plan)
    open_journal(plan).step("settle", lambda: None)
    place.done.clear()
    rollout.apply_plan(place, plan)
    assert place.done == ["settle"]
    assert interrupted("digits") is None


def test_a_target_may_check_health_in_its_own_way(make_spec, notes) -> None:
    class Own(Place):
        verdict: DeployError | None = None

        def verify(self, spec, status):
            if self.verdict is not None:
                raise self.verdict
            return ("the endpoint answers 200",)

    place = Own()
    deploy(place, make_spec("a"), progress=notes)
    assert "the endpoint answers 200" in notes.lines
    place.verdict = DeployError("the endpoint answers 500")
    with pytest.raises(DeployError, match="the endpoint answers 500"):
        deploy(place, make_spec("b"))
    assert place.settled == make_spec("a")


def test_the_probe_calls_a_service_as_its_target_says(make_spec) -> None:
    calls = []

    class Signed(Place):
        def status(self, name):
            status = super().status(name)
            return status if status.state is State.ABSENT else replace(status, url="https://x.y")

        def fetch(self, url, *, body=None, timeout_s):
            calls.append(url)
            return Answer(200, b"{}")

    deploy(Signed(), make_spec())
    assert calls == ["https://x.y/readyz", "https://x.y/openapi.json"]
