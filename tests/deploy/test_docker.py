"""The docker target: its plans and the order of its steps, with a fake engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from modelpack.deploy import SILENT, Journal, State, rollout
from modelpack.deploy.docker import DockerTarget
from modelpack.errors import (
    ConflictError,
    DeployError,
    DeploymentNotFoundError,
    EngineError,
    ToolMissingError,
    UsageError,
)
from tests.deploy.fake_engine import FakeEngine, Killed


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("digits:a", "digits:b")


@pytest.fixture
def docker(engine: FakeEngine) -> DockerTarget:
    return DockerTarget(engine)


@pytest.fixture
def spec(make_spec) -> Callable[..., Any]:
    def make(version: str = "a", **more):
        return make_spec(version, image=f"digits:{version}", **{"port": 3000, **more})

    return make


def apply(docker: DockerTarget, spec) -> None:
    docker.apply(docker.plan(spec, docker.read_live(spec)), Journal(), SILENT)


def settled(docker: DockerTarget, spec) -> None:
    apply(docker, spec)
    docker.settle(spec.name)
    docker.engine.done.clear()


def deploy(target: DockerTarget, spec, **more):
    return rollout.apply_plan(target, rollout.plan_deployment(target, spec), **more)


def actions(docker: DockerTarget, spec) -> list[tuple[str, str]]:
    plan = docker.plan(spec, docker.read_live(spec))
    return [(change.action, change.kind) for change in plan.changes if change.action != "none"]


# --- plans -------------------------------------------------------------------------------------


def test_a_missing_image_comes_first_in_the_plan(docker, spec) -> None:
    plan = docker.plan(spec("c"), docker.read_live(spec("c")))
    assert [change.resource for change in plan.changes][:1] == ["image/digits:c"]
    assert actions(docker, spec("c")) == [
        ("create", "image"),
        ("create", "port"),
        ("create", "replicas"),
    ]


def test_an_image_of_another_bundle_is_made_anew(docker, engine, spec) -> None:
    labels = {"dev.modelpack.bundle.digest": "sha256:other"}
    engine.images["digits:a"]["Config"] = {"Labels": labels}

    assert actions(docker, spec())[0] == ("replace", "image")


def test_an_image_that_does_not_say_what_it_holds_is_used_and_noted(docker, spec) -> None:
    plan = docker.plan(spec(), docker.read_live(spec()))
    assert plan.missing_image is None
    assert plan.warnings == ("the image 'digits:a' does not say which bundle it holds",)


def test_an_image_that_was_built_again_replaces_the_replicas(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.images["digits:a"]["Id"] = "sha256:newer"

    plan = docker.plan(spec(), docker.read_live(spec()))

    assert [change.action for change in plan.changes] == ["replace"]
    assert plan.changes[0].before == {"image_id": "sha256:digits:a"}
    assert plan.changes[0].after == {"image_id": "sha256:newer"}
    settled(docker, spec())
    assert engine.left == ["b1", "port"]


def test_what_runs_needs_its_image_no_more(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.images.clear()

    assert docker.plan(spec(), docker.read_live(spec())).is_empty


def test_a_stopped_replica_is_only_started(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))
    engine.put(engine.named("a2"), "exited")

    assert actions(docker, spec(min_replicas=2)) == [("update", "replicas")]
    settled(docker, spec(min_replicas=2))
    assert docker.plan(spec(min_replicas=2), docker.read_live(spec(min_replicas=2))).is_empty


def test_another_address_is_another_keeper(docker, engine, spec) -> None:
    settled(docker, spec())

    assert actions(docker, spec(port=4000)) == [("replace", "port"), ("replace", "replicas")]
    apply(docker, spec(port=4000))
    assert engine.left == ["a1", "b1", "port", "port"], "the former address answers meanwhile"
    docker.settle("digits")
    assert engine.left == ["b1", "port"]
    assert docker.plan(spec(port=4000), docker.read_live(spec(port=4000))).is_empty


def test_a_spec_without_an_image_is_refused(docker, make_spec) -> None:
    with pytest.raises(DeployError, match="names no image"):
        docker.read_live(make_spec())


def test_an_accelerator_that_no_engine_has_is_refused_in_the_plan(docker, spec) -> None:
    with pytest.raises(UsageError, match="a container engine has no 'tpu'"):
        actions(docker, spec(accelerator="tpu:1"))


# --- steps -------------------------------------------------------------------------------------


def test_the_former_replicas_serve_until_the_new_ones_do(docker, engine, spec) -> None:
    settled(docker, spec("a", min_replicas=2))

    apply(docker, spec("b", min_replicas=2))
    assert docker.status("digits").bundle == "digits:b"
    assert "a1" in engine.left
    docker.settle("digits")

    assert engine.done == [
        "create b1",
        "create b2",
        "start b1",
        "start b2",
        "switch b",
        "keep b1",
        "keep b2",
        "stop a1",
        "stop a2",
        "remove a1",
        "remove a2",
    ]
    assert engine.left == ["b1", "b2", "port"]


def test_a_revert_does_not_touch_what_serves(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))
    engine.done.clear()

    docker.revert("digits")

    assert engine.done == ["remove b1"]
    assert docker.status("digits").bundle == "digits:a"


def test_a_first_deploy_that_fails_leaves_nothing(docker, engine, spec) -> None:
    engine.fails = {"start a1": EngineError("stuck")}
    with pytest.raises(EngineError):
        deploy(docker, spec())

    assert engine.left == []
    assert engine.done[-1] == "remove volume"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("create b2", EngineError("no such option")),
        ("start b1", EngineError("stuck")),
        ("start b2", KeyboardInterrupt()),
    ],
)
def test_whatever_step_fails_the_settled_ones_run_in_the_end(
    docker, engine, spec, step, error
) -> None:
    settled(docker, spec("a", min_replicas=2))
    engine.fails = {step: error}

    with pytest.raises(type(error)):
        deploy(docker, spec("b", min_replicas=2))

    assert engine.left == ["a1", "a2", "port"]
    assert "stop a1" not in engine.done


@pytest.mark.parametrize("step", ["keep b1", "stop a1", "remove a1"])
@pytest.mark.parametrize("error", [EngineError("stuck"), KeyboardInterrupt()])
def test_what_was_found_healthy_is_not_taken_away_by_a_failing_settle(
    docker, engine, spec, step, error
) -> None:
    settled(docker, spec("a"))
    engine.fails = {step: error}
    with pytest.raises(type(error)):
        deploy(docker, spec("b"))
    engine.fails.clear()

    assert docker.status("digits").bundle == "digits:b"
    assert deploy(docker, spec("b")).state is State.RUNNING
    assert engine.left == ["b1", "port"]


def test_replicas_that_do_not_take_the_port_leave_it_to_the_former_ones(
    docker, engine, spec
) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))
    engine.put(engine.named("b1"), "exited")

    with pytest.raises(DeployError, match="0 of 1 replicas of 'digits' take requests"):
        docker.settle("digits")

    assert "a1" in engine.left
    assert list(engine.allowed.values()) == [[engine.groups[0]]]


def steps_of_an_update(make_spec) -> list[str]:
    """Return every call that an update makes."""
    engine = FakeEngine("digits:a", "digits:b")
    docker = DockerTarget(engine)
    for version in "ab":
        engine.done.clear()
        spec = make_spec(version, image=f"digits:{version}", port=3000, min_replicas=2)
        apply(docker, spec)
        docker.settle("digits")
    return engine.done


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("other", ["b", "c"], ids=["same-again", "another"])
def test_an_update_killed_at_any_call_is_finished_by_the_next(make_spec, is_after, other) -> None:
    """The engine alone knows how far it came; whoever comes next ends it, whatever he wants."""
    names = steps_of_an_update(make_spec)
    assert len(names) == 11
    for step in names:
        engine = FakeEngine("digits:a", "digits:b", "digits:c")
        docker = DockerTarget(engine)
        one, two, next_ = (
            make_spec(version, image=f"digits:{version}", port=3000, min_replicas=2)
            for version in ("a", "b", other)
        )
        settled(docker, one)
        engine.killed_at, engine.dies_after = step, is_after
        with suppress(Killed):
            apply(docker, two)
            docker.settle("digits")
        assert engine.is_dead or (is_after and step == names[-1])
        engine.killed_at, engine.is_dead = None, False

        apply(docker, next_)
        docker.settle("digits")

        assert docker.status("digits").bundle == f"digits:{other}", step
        assert len(engine.left) == 3, (step, engine.left)
        assert docker.plan(next_, docker.read_live(next_)).is_empty, step
        assert all(one["State"]["Status"] == "running" for one in engine.containers.values())


def test_replicas_that_were_never_checked_give_way_to_the_next(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))

    apply(docker, spec("b", A="1"))
    assert engine.left == ["a1", "c1", "port"]
    docker.revert("digits")

    assert docker.status("digits").bundle == "digits:a"


def test_replicas_that_have_the_port_are_kept_whoever_was_killed(docker, engine, spec) -> None:
    """Killed between the switch and the note that they are healthy: nobody else serves."""
    settled(docker, spec("a"))
    apply(docker, spec("b"))
    engine.fails = {"keep b1": Killed()}
    with pytest.raises(Killed):
        docker.settle("digits")
    engine.fails.clear()

    apply(docker, spec("b", A="1"))

    assert "b1" in engine.left, "it serves"
    docker.revert("digits")
    assert docker.status("digits").bundle == "digits:b"


def test_a_scaling_leaves_the_replicas_there_are(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))

    assert actions(docker, spec(min_replicas=3)) == [("update", "replicas")]
    settled(docker, spec(min_replicas=3))
    assert engine.left == ["a1", "a2", "a3", "port"]
    assert docker.current("digits").settings.min_replicas == 3
    assert docker.status("digits").revision == spec(min_replicas=3).revision

    settled(docker, spec())
    assert engine.left == ["a1", "port"]
    assert docker.current("digits").settings.min_replicas == 1


def test_a_growing_that_fails_leaves_what_there_was(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))
    engine.fails = {"start a3": EngineError("no room")}

    with pytest.raises(EngineError):
        deploy(docker, spec(min_replicas=3))

    assert engine.left == ["a1", "a2", "port"]
    assert docker.read_live(spec()).is_settled


def test_a_replica_that_somebody_removed_comes_back(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))
    engine.remove(engine.named("a2"))

    assert actions(docker, spec(min_replicas=2)) == [("update", "replicas")]
    settled(docker, spec(min_replicas=2))
    assert engine.left == ["a1", "a2", "port"]


def test_a_port_that_nobody_keeps_is_kept_again(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.remove(engine.named("port"))

    status = docker.status("digits")
    assert (status.state, status.detail) == (State.STOPPED, "nothing keeps its port")
    assert actions(docker, spec()) == [("create", "port"), ("update", "replicas")]
    settled(docker, spec())
    assert engine.left == ["a1", "port"]
    assert list(engine.allowed.values()) == [[engine.groups[0]]]


def test_a_container_of_another_modelpack_stops_the_deploy(docker, engine, spec) -> None:
    settled(docker, spec())
    labels = engine.containers[engine.named("a1")]["Config"]["Labels"]
    del labels["dev.modelpack.role"]

    with pytest.raises(ConflictError, match="another version of modelpack") as caught:
        docker.read_live(spec())

    assert "destroy digits" in caught.value.hint
    docker.destroy("digits")
    assert engine.left == []


def test_what_is_not_labelled_is_never_touched(docker, engine, spec) -> None:
    settled(docker, spec())
    name = engine.named("a1")
    engine.containers[name]["Config"]["Labels"] = {"com.example": "x"}
    engine.done.clear()

    with pytest.raises(EngineError, match="is taken"):
        apply(docker, spec())
    docker.revert("digits")
    docker.destroy("digits") if docker.inventory("digits") else None

    assert list(engine.containers) == [name]
    assert docker.list() == []


def test_destroy_removes_all_of_it_and_says_so_before(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))
    named = docker.inventory("digits")
    assert {one.removeprefix("container/") for one in named[:-1]} == set(engine.containers)
    assert named[-1] == "volume/modelpack-digits-Port"

    docker.destroy("digits")

    assert engine.containers == {}
    assert engine.done[-1] == "remove volume"
    assert docker.inventory("digits") == ()
    with pytest.raises(DeploymentNotFoundError):
        docker.destroy("digits")


def test_a_first_deploy_that_was_cut_short_is_seen_and_can_be_destroyed(
    docker, engine, spec
) -> None:
    engine.fails = {"create a1": Killed()}
    with pytest.raises(Killed):
        apply(docker, spec())

    assert docker.status("digits").detail == "its first apply was cut short"
    assert [one.name for one in docker.list()] == ["digits"]
    docker.destroy("digits")
    assert engine.left == []


def test_while_one_is_on_trial_the_status_says_that_the_former_one_serves(
    docker, engine, spec
) -> None:
    former = spec("a")
    settled(docker, former)
    assert docker.status("digits").meanwhile is None

    apply(docker, spec("b"))

    found = docker.status("digits")
    assert found.bundle == "digits:b"
    assert found.meanwhile == f"revision '{former.revision}' (digits:a) is running"
    docker.settle("digits")
    assert docker.status("digits").meanwhile is None


def test_names_that_end_alike_are_two_deployments(docker, engine, make_spec) -> None:
    for name in ("digits", "digits-r"):
        settled(docker, make_spec(name=name, image="digits:a", port=3000))

    assert [one.name for one in docker.list()] == ["digits", "digits-r"]
    docker.destroy("digits")
    assert [one.name for one in docker.list()] == ["digits-r"]


def test_pieces_of_an_engine_become_whole_lines(docker, engine, spec) -> None:
    settled(docker, spec())
    pieces = [b"one\ntw", b"o\r\n", "é".encode()[:1], "é".encode()[1:] + b"\n\nlast"]
    engine.pieces["a1"] = pieces

    assert list(docker.logs("digits")) == ["one", "two", "é", "", "last"]


def test_lines_of_several_replicas_are_in_the_order_of_their_times(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))
    engine.pieces["a1"] = [b"2026-05-01T00:00:01Z first\n2026-05-01T00:00:03.1Z fourth\n"]
    engine.pieces["a2"] = [b"2026-05-01T00:00:01.5Z second\n2026-05-01T00:00:03Z third\n"]

    lines = ["1 | first", "2 | second", "2 | third", "1 | fourth"]
    assert list(docker.logs("digits")) == lines
    assert list(docker.logs("digits", tail=1)) == lines[-1:]


def test_lines_of_several_replicas_are_followed_at_once(docker, engine, spec) -> None:
    settled(docker, spec(min_replicas=2))
    engine.pieces = {"a1": [b"one\n"], "a2": [b"two\n"]}

    assert sorted(docker.logs("digits", follow=True)) == ["1 | one", "2 | two"]


# --- secrets -----------------------------------------------------------------------------------


def test_a_secret_goes_to_the_replicas_and_nowhere_else(
    docker, engine, spec, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("GIVEN_TOKEN", "s3cret-one")
    file = tmp_path / "key"
    file.write_text("s3cret-two\n")
    wish = spec(secrets={"TOKEN": "env:GIVEN_TOKEN", "KEY": f"file:{file}"})
    seen = []
    make = engine.create
    monkeypatch.setattr(engine, "create", lambda *args: (seen.append(args), make(*args)))

    plan = docker.plan(wish, docker.read_live(wish))
    docker.apply(plan, Journal(), SILENT)

    keeper, replica = (settings for _, settings, _ in seen)
    assert replica["environment"]["TOKEN"] == "s3cret-one"
    assert replica["environment"]["KEY"] == "s3cret-two"
    assert "s3cret" not in json.dumps([plan.to_json(), keeper, replica["labels"], wish.facts()])
    assert b"s3cret" not in b"".join(docker.render(wish).files.values())


@pytest.mark.parametrize("reference", ["env:NOT_THERE", "file:/not/there"])
def test_a_secret_that_is_not_there_stops_the_deploy_before_anything_is_made(
    docker, engine, spec, reference
) -> None:
    with pytest.raises(UsageError, match=r"deploy\.secrets\.TOKEN"):
        deploy(docker, spec(secrets={"TOKEN": reference}))

    assert engine.left == []


def test_without_an_engine_the_tool_is_missing(monkeypatch, spec, free_port) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port}")

    with pytest.raises(ToolMissingError, match="no container engine answers") as caught:
        DockerTarget().read_live(spec())

    assert caught.value.exit_code == 6
    assert "--target local" in caught.value.hint


def test_making_the_target_asks_no_engine_and_imports_no_sdk() -> None:
    program = (
        "import sys; from modelpack.deploy.catalog import target; target('docker'); "
        "print('docker' in sys.modules)"
    )
    env = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.strip() == "False"
