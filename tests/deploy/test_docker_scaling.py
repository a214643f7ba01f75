"""The docker target where the load decides how many replicas are awake, with a fake engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from modelpack.deploy import SILENT, Journal, State, rollout
from modelpack.deploy import docker as docker_module
from modelpack.deploy.docker import DockerTarget
from modelpack.errors import DeployError, EngineError
from tests.deploy.fake_engine import FakeEngine, Killed


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("digits:a", "digits:b", "digits:c")


@pytest.fixture
def docker(engine: FakeEngine) -> DockerTarget:
    return DockerTarget(engine)


@pytest.fixture
def spec(make_spec) -> Callable[..., Any]:
    def make(version: str = "a", **more):
        wish = {"port": 3000, "min_replicas": 1, "max_replicas": 3, **more}
        return make_spec(version, image=f"digits:{version}", **wish)

    return make


def apply(docker: DockerTarget, spec) -> None:
    docker.apply(docker.plan(spec, docker.read_live(spec)), Journal(), SILENT)


def settled(docker: DockerTarget, spec) -> None:
    apply(docker, spec)
    docker.settle(spec.name)
    docker.engine.done.clear()


def actions(docker: DockerTarget, spec) -> list[tuple[str, str]]:
    plan = docker.plan(spec, docker.read_live(spec))
    return [(change.action, change.kind) for change in plan.changes if change.action != "none"]


def policy_in(engine: FakeEngine, short: str) -> dict[str, float]:
    words = engine.containers[engine.named(short)]["Config"]["Env"]["MODELPACK_SLEEPS"]
    return json.loads(words.partition(" ")[2])


def test_all_that_may_be_awake_are_made_and_the_fewest_are_tried(docker, engine, spec) -> None:
    wish = spec(min_replicas=2, max_replicas=4, in_flight=5)

    apply(docker, wish)

    assert engine.left == ["a1", "a2", "a3", "a4", "port"]
    found = docker.status("digits")
    assert (found.replicas.awake, found.replicas.wanted, found.replicas.most) == (2, 2, 4)
    assert str(found.replicas) == "2 of 4 awake"
    docker.settle("digits")
    assert docker.status("digits").state is State.RUNNING
    assert docker.plan(wish, docker.read_live(wish)).is_empty
    assert policy_in(engine, "a4")["in_flight"] == 5


def test_one_is_tried_although_none_is_needed_while_nobody_asks(docker, engine, spec) -> None:
    wish = spec(min_replicas=0, max_replicas=2, idle_s=30.0)
    apply(docker, wish)
    assert docker.status("digits").replicas.awake == 1

    docker.settle("digits")
    engine.wanted[engine.named("port")][engine.groups[0]] = 0

    found = docker.status("digits")
    assert (found.state, found.detail) == (State.RUNNING, None)
    assert str(found.replicas) == "0 of 2 awake"
    assert docker.plan(wish, docker.read_live(wish)).is_empty


def test_one_that_serves_with_many_is_followed_by_as_many(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    engine.wanted[engine.named("port")][engine.groups[0]] = 3

    apply(docker, spec("b"))

    assert docker.status("digits").replicas.wanted == 3


def test_a_sleeping_replica_has_no_check_that_calls_it_ill(docker, engine, spec, monkeypatch):
    seen = {}
    make = engine.create
    monkeypatch.setattr(
        engine, "create", lambda *args: (seen.setdefault(args[0], args[1]), make(*args))
    )
    apply(docker, spec())
    apply(docker, spec("b", max_replicas=None))

    checks = {engine.short(name): one.get("healthcheck") for name, one in seen.items()}
    assert checks["a1"] == {"test": ["NONE"]}
    assert checks["b1"] is None, "one whose number is fixed has that of its image"


def test_another_policy_is_one_more_replica_and_one_less(docker, engine, spec) -> None:
    settled(docker, spec())

    wish = spec(min_replicas=0, in_flight=2)
    assert actions(docker, wish) == [("update", "replicas")]
    apply(docker, wish)
    docker.settle("digits")

    assert engine.done == ["create a4", "start a4", "stop a3", "remove a3", "keep a4"]
    assert policy_in(engine, "a4")["min_replicas"] == 0
    assert engine.policies[engine.groups[0]]["min_replicas"] == 0
    assert docker.current("digits").settings.in_flight == 2
    assert docker.plan(wish, docker.read_live(wish)).is_empty


def test_who_has_slept_for_long_is_not_started_again(docker, engine, spec, free_port) -> None:
    settled(docker, spec(min_replicas=0))
    deaf = {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(free_port)}]}
    for one in engine.containers.values():
        one["State"]["StartedAt"] = "2020-01-01T00:00:00Z"
        one["NetworkSettings"]["Ports"] = deaf

    apply(docker, spec(min_replicas=0, max_replicas=4))

    assert engine.done == ["create a4", "start a4"]


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (5, ["a1", "a2", "a3", "a4", "a5", "port"]),
        (2, ["a1", "a4", "port"]),
    ],
)
def test_who_may_be_awake_is_made_or_goes(docker, engine, spec, most, left) -> None:
    settled(docker, spec())

    plan = rollout.plan_scale(docker, "digits", fewest=None, most=most)
    assert [change.action for change in plan.changes if change.action != "none"] == ["update"]
    apply(docker, plan.spec)
    docker.settle("digits")

    assert engine.left == left
    assert docker.current("digits").settings.max_replicas == most
    assert "stop a1" not in engine.done
    assert docker.plan(plan.spec, docker.read_live(plan.spec)).is_empty


def test_a_policy_that_fails_leaves_the_former_one(docker, engine, spec) -> None:
    settled(docker, spec(in_flight=7))
    engine.fails = {"start a4": EngineError("no room")}
    wish = spec(in_flight=2)

    with pytest.raises(EngineError):
        rollout.apply_plan(docker, rollout.plan_deployment(docker, wish))

    assert engine.left == ["a1", "a2", "a3", "port"]
    assert engine.policies[engine.groups[0]]["in_flight"] == 7
    assert docker.read_live(wish).is_settled


@pytest.mark.parametrize(("before", "after"), [(None, 3), (3, None)])
def test_replicas_of_a_fixed_number_give_way_to_such_that_sleep(
    docker, engine, spec, before, after
) -> None:
    settled(docker, spec(max_replicas=before))
    wish = spec(max_replicas=after)

    assert actions(docker, wish) == [("replace", "replicas")]
    settled(docker, wish)

    assert {one[0] for one in engine.left} == {"b", "p"}
    assert docker.plan(wish, docker.read_live(wish)).is_empty


def test_one_that_was_removed_comes_back_and_serves_nobody_first(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.remove(engine.named("a2"))

    assert actions(docker, spec()) == [("update", "replicas")]
    settled(docker, spec())
    assert engine.left == ["a1", "a3", "a4", "port"]


def test_one_that_was_stopped_is_seen_and_started(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.put(engine.named("a3"), "exited")

    found = docker.status("digits")
    assert (found.state, found.detail) == (State.STOPPED, "2 of 3 replicas are ready")
    settled(docker, spec())
    assert docker.status("digits").state is State.RUNNING


def test_an_image_that_cannot_sleep_is_told(docker, engine, spec, monkeypatch) -> None:
    monkeypatch.setattr(docker_module, "_JOIN_S", 0.0)
    settled(docker, spec("a"))
    engine.can_sleep = False
    apply(docker, spec("b"))

    with pytest.raises(DeployError) as caught:
        docker.verify(spec("b"), docker.status("digits"))

    assert caught.value.message == "the replicas of 'digits' do not sleep: 0 of 3 can be woken"
    assert "'containerize' it again" in caught.value.hint
    docker.revert("digits")
    assert docker.status("digits").bundle == "digits:a"


def test_a_keeper_that_cannot_scale_is_made_anew_and_that_is_said_before(
    docker, engine, spec
) -> None:
    settled(docker, spec(max_replicas=None))
    del engine.containers[engine.named("port")]["Config"]["Labels"]["dev.modelpack.keeper"]
    assert actions(docker, spec("b", max_replicas=None)) == [("replace", "replicas")]

    plan = docker.plan(spec(), docker.read_live(spec()))
    assert [change.kind for change in plan.changes] == ["port", "replicas"]
    assert any("the port is away" in line for line in plan.warnings)
    apply(docker, spec())

    assert engine.done[:4] == ["stop port", "remove port", "create port", "start port"]
    docker.settle("digits")
    assert docker.plan(spec(), docker.read_live(spec())).is_empty


def test_a_keeper_that_ends_while_it_is_asked_keeps_no_port(docker, engine, spec) -> None:
    settled(docker, spec())
    run = engine.run

    def stop_and_run(name: str, argv) -> tuple[int, str]:
        if engine.short(name) == "port":
            engine.put(name, "exited")
            raise EngineError(f"the engine cannot run: container {name} is not running")
        return run(name, argv)

    engine.run = stop_and_run

    found = docker.status("digits")

    assert (found.state, found.detail) == (State.STOPPED, "nothing keeps its port")


def test_settings_of_scaling_without_scaling_are_told(docker, spec) -> None:
    wish = spec(max_replicas=None, in_flight=3, window_s=20.0)
    plan = docker.plan(wish, docker.read_live(wish))

    why = "has a meaning only where 'scaling.max' is above 'scaling.min'"
    assert [line for line in plan.warnings if line.startswith("scaling.")] == [
        f"scaling.in_flight: {why}",
        f"scaling.window_s: {why}",
    ]
    assert "in_flight" not in plan.changes[-1].after


def test_many_containers_are_worth_a_word(docker, spec) -> None:
    wish = spec(max_replicas=200)
    warnings = docker.plan(wish, docker.read_live(wish)).warnings
    assert any(line.startswith("scaling.max: 200 containers") for line in warnings)
    assert not any(
        "scaling" in line for line in docker.plan(spec(), docker.read_live(spec())).warnings
    )


def test_what_the_keeper_decides_is_in_the_log(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.pieces["a1"] = [b"2026-05-01T00:00:01Z hello\n"]
    engine.pieces["port"] = [b'2026-05-01T00:00:02Z {"event":"scaled","from":1,"to":2}\n']

    assert list(docker.logs("digits")) == [
        "1 | hello",
        'port | {"event":"scaled","from":1,"to":2}',
    ]


def test_while_one_is_on_trial_the_status_says_that_the_sleeping_one_serves(
    docker, engine, spec
) -> None:
    former = spec("a", min_replicas=0)
    settled(docker, former)
    apply(docker, spec("b", min_replicas=0))

    found = docker.status("digits")

    assert found.meanwhile == f"revision '{former.revision}' (digits:a) is running"


def test_one_that_sleeps_is_woken_before_it_gets_the_port_back(docker, engine, spec) -> None:
    """The port was with the new ones when somebody was killed before they were kept."""
    settled(docker, spec("a", min_replicas=0))
    engine.wanted[engine.named("port")][engine.groups[0]] = 0
    apply(docker, spec("b", min_replicas=0))
    engine.fails = {"keep b1": Killed()}
    with pytest.raises(Killed):
        docker.settle("digits")
    engine.fails.clear()

    docker.revert("digits")

    assert engine.left == ["a1", "a2", "a3", "port"]
    assert list(engine.allowed.values()) == [[engine.groups[0]]]
    assert docker.status("digits").replicas.awake == 1


def test_the_command_says_how_many_are_awake(docker, engine, spec, monkeypatch) -> None:
    from typer.testing import CliRunner

    from modelpack.cli.main import make_app
    from modelpack.deploy import survey

    settled(docker, spec(min_replicas=0))
    engine.wanted[engine.named("port")][engine.groups[0]] = 0
    monkeypatch.setattr(survey, "find", lambda *_, **__: docker)

    def said(*words: str) -> str:
        done = CliRunner().invoke(make_app(), ["deployments", "status", "digits", *words])
        assert done.exit_code == 0, done.output
        return done.output

    assert "replicas  0 of 3 awake" in said()
    assert json.loads(said("-o", "json"))["replicas"] == {
        "awake": 0,
        "wanted": 0,
        "most": 3,
        "asleep_since": None,
        "in_flight": None,
        "counts": {},
    }
    settled(docker, spec(max_replicas=None))
    assert "awake" not in said()


def steps_of(change: Callable[..., Any]) -> list[str]:
    """Return every call that a change makes."""
    engine = FakeEngine("digits:a", "digits:b", "digits:c")
    docker = DockerTarget(engine)
    settled(docker, change(0))
    apply(docker, change(1))
    docker.settle("digits")
    return engine.done


CHANGES = {
    "update": ({"version": "a"}, {"version": "b"}),
    "policy": ({"in_flight": 7}, {"in_flight": 2}),
    "fewer": ({"max_replicas": 4}, {"max_replicas": 2}),
}


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_change_killed_at_any_call_is_finished_by_the_next(spec, changes, is_after) -> None:
    def change(index: int) -> Any:
        return spec(**changes[index])

    names = steps_of(change)
    assert len(names) >= 5
    for step in names:
        engine = FakeEngine("digits:a", "digits:b", "digits:c")
        docker = DockerTarget(engine)
        settled(docker, change(0))
        engine.killed_at, engine.dies_after = step, is_after
        with suppress(Killed):
            apply(docker, change(1))
            docker.settle("digits")
        engine.killed_at, engine.is_dead = None, False

        apply(docker, change(1))
        docker.settle("digits")

        assert docker.status("digits").state is State.RUNNING, step
        assert docker.plan(change(1), docker.read_live(change(1))).is_empty, step
        most = change(1).settings.max_replicas
        assert len(engine.left) == most + 1, (step, engine.left)
