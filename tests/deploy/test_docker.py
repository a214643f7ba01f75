"""The docker target: its order of steps with a fake engine, the contract with a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from modelpack import testing
from modelpack.deploy import SILENT, Journal, State, rollout, survey
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.errors import (
    ConflictError,
    DeployError,
    DeploymentNotFoundError,
    EngineError,
    PortInUseError,
    ToolMissingError,
)

SETTLED, CANDIDATE = "modelpack-digits", "modelpack-digits-Candidate"


class FakeEngine:
    """Holds containers as an engine would, and fails where it is told to."""

    def __init__(self, *images: str) -> None:
        self.images = {image: {"Id": f"sha256:{image}", "Config": {}} for image in images}
        self.containers: dict[str, dict[str, object]] = {}
        self.done: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.pieces: list[bytes] = []

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise self.fails[what]

    def host(self) -> str | None:
        return None

    def image(self, reference: str) -> Mapping[str, object] | None:
        return self.images.get(reference)

    def container(self, name: str) -> Mapping[str, object] | None:
        return self.containers.get(name)

    def names(self, label: str) -> list[str]:
        return [name for name, one in self.containers.items() if label in one["Config"]["Labels"]]

    def create(self, name: str, settings, host) -> None:
        self._do(f"create {name}")
        address, port = host["port_bindings"][3000]
        self.containers[name] = {
            "Id": f"id of {name}",
            "Image": self.images[settings["image"]]["Id"],
            "Config": {"Image": settings["image"], "Labels": settings["labels"]},
            "HostConfig": {
                "PortBindings": {"3000/tcp": [{"HostIp": address, "HostPort": str(port)}]},
                "NanoCpus": host.get("nano_cpus"),
                "Memory": host.get("mem_limit"),
            },
            "NetworkSettings": {"Ports": {}},
            "State": {"Status": "created"},
        }

    def start(self, name: str) -> None:
        self._do(f"start {name}")
        self._put(name, "running")

    def stop(self, name: str, *, grace_s: int) -> None:
        self._do(f"stop {name}")
        self._put(name, "exited")

    def rename(self, name: str, new_name: str) -> None:
        self._do(f"rename {name} {new_name}")
        self.containers[new_name] = self.containers.pop(name)

    def remove(self, name: str) -> None:
        if name in self.containers:
            self._do(f"remove {name}")
            del self.containers[name]

    def logs(self, name: str, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        return iter(self.pieces)

    def _put(self, name: str, status: str) -> None:
        moment = datetime.now(UTC).isoformat()
        self.containers[name]["State"] = {"Status": status, "StartedAt": moment}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("digits:a", "digits:b")


@pytest.fixture
def docker(engine: FakeEngine) -> DockerTarget:
    return DockerTarget(engine)


@pytest.fixture
def spec(make_spec) -> Callable[..., object]:
    return lambda version="a", **more: make_spec(version, image=f"digits:{version}", **more)


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
    return [(change.action, change.resource) for change in plan.changes]


# --- plans -------------------------------------------------------------------------------------


def test_a_missing_image_comes_first_in_the_plan(docker, spec) -> None:
    assert actions(docker, spec("c")) == [
        ("create", "image/digits:c"),
        ("create", f"container/{SETTLED}"),
    ]


def test_an_image_of_another_bundle_is_made_anew(docker, engine, spec) -> None:
    labels = {"dev.modelpack.bundle.digest": "sha256:other"}
    engine.images["digits:a"]["Config"] = {"Labels": labels}

    assert actions(docker, spec())[0] == ("replace", "image/digits:a")


def test_an_image_that_does_not_say_what_it_holds_is_used_and_noted(docker, spec) -> None:
    plan = docker.plan(spec(), docker.read_live(spec()))
    assert plan.missing_image is None
    assert plan.warnings == ("the image 'digits:a' does not say which bundle it holds",)


def test_an_image_that_was_built_again_replaces_the_container(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.images["digits:a"]["Id"] = "sha256:newer"

    plan = docker.plan(spec(), docker.read_live(spec()))

    assert [change.action for change in plan.changes] == ["replace"]
    assert plan.changes[0].before == {"image_id": "sha256:digits:a"}
    assert plan.changes[0].after == {"image_id": "sha256:newer"}


def test_what_runs_needs_its_image_no_more(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.images.clear()

    assert docker.plan(spec(), docker.read_live(spec())).is_empty


def test_a_stopped_container_is_only_started(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.stop(SETTLED, grace_s=1)
    engine.done.clear()

    assert actions(docker, spec()) == [("update", f"container/{SETTLED}")]
    apply(docker, spec())
    assert engine.done == [f"stop {SETTLED}", f"start {SETTLED}"]


def test_a_spec_without_an_image_is_refused(docker, make_spec) -> None:
    with pytest.raises(DeployError, match="names no image"):
        docker.read_live(make_spec())


# --- steps -------------------------------------------------------------------------------------


def test_the_candidate_is_made_before_the_settled_one_is_stopped(docker, engine, spec) -> None:
    settled(docker, spec("a"))

    apply(docker, spec("b"))
    docker.settle("digits")

    assert engine.done == [
        f"create {CANDIDATE}",
        f"stop {SETTLED}",
        f"start {CANDIDATE}",
        f"remove {SETTLED}",
        f"rename {CANDIDATE} {SETTLED}",
    ]
    assert list(engine.containers) == [SETTLED]


def test_revert_removes_the_candidate_before_the_port_is_needed_again(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))
    engine.done.clear()

    docker.revert("digits")

    assert engine.done == [f"remove {CANDIDATE}", f"start {SETTLED}"]
    assert docker.status("digits").bundle == "digits:a"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (f"create {CANDIDATE}", EngineError("no such option")),
        (f"stop {SETTLED}", EngineError("stuck")),
        (f"start {CANDIDATE}", PortInUseError("taken")),
        (f"start {CANDIDATE}", KeyboardInterrupt()),
    ],
)
def test_whatever_step_fails_the_settled_one_runs_in_the_end(
    docker, engine, spec, step, error
) -> None:
    settled(docker, spec("a"))
    engine.fails = {step: error}

    with pytest.raises(type(error)):
        deploy(docker, spec("b"))

    assert list(engine.containers) == [SETTLED]
    assert engine.containers[SETTLED]["State"]["Status"] == "running"


@pytest.mark.parametrize("step", [f"remove {SETTLED}", f"rename {CANDIDATE} {SETTLED}"])
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
    assert engine.containers[CANDIDATE]["State"]["Status"] == "running"
    assert deploy(docker, spec("b")).state is State.RUNNING
    assert list(engine.containers) == [SETTLED]


@pytest.mark.parametrize("killed_at", range(5))
def test_a_deploy_killed_after_any_step_is_finished_by_the_next(
    docker, engine, spec, killed_at
) -> None:
    """Nothing of ours runs after kill -9: the engine alone knows how far it came."""
    settled(docker, spec("a"))
    steps: list[Callable[[], None]] = [
        lambda: engine.create(CANDIDATE, *_settings(spec("b"))),
        lambda: engine.stop(SETTLED, grace_s=1),
        lambda: engine.start(CANDIDATE),
        lambda: engine.remove(SETTLED),
        lambda: engine.rename(CANDIDATE, SETTLED),
    ]
    for step in steps[: killed_at + 1]:
        step()

    apply(docker, spec("b"))
    docker.settle("digits")

    assert list(engine.containers) == [SETTLED]
    assert engine.containers[SETTLED]["State"]["Status"] == "running"
    assert docker.status("digits").bundle == "digits:b"
    assert docker.plan(spec("b"), docker.read_live(spec("b"))).is_empty


def test_a_candidate_that_was_never_checked_gives_way_to_the_next(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))

    apply(docker, spec("b", A="1"))
    docker.revert("digits")

    assert docker.status("digits").bundle == "digits:a"


def test_a_container_of_somebody_else_is_never_touched(docker, engine, spec) -> None:
    engine.create(SETTLED, *_settings(spec()))
    engine.containers[SETTLED]["Config"]["Labels"] = {"com.example": "x"}
    engine.done.clear()

    for act in (docker.status, docker.destroy, docker.revert, docker.settle):
        with pytest.raises(ConflictError, match="was not made by modelpack"):
            act("digits")
    with pytest.raises(ConflictError):
        docker.read_live(spec())
    assert engine.done == []
    assert docker.list() == []


def test_destroy_removes_both(docker, engine, spec) -> None:
    settled(docker, spec("a"))
    apply(docker, spec("b"))

    docker.destroy("digits")

    assert engine.containers == {}
    with pytest.raises(DeploymentNotFoundError):
        docker.destroy("digits")


def test_names_that_end_alike_are_two_deployments(docker, engine, make_spec) -> None:
    for name in ("digits", "digits-candidate"):
        settled(docker, make_spec(name=name, image="digits:a"))

    assert [one.name for one in docker.list()] == ["digits", "digits-candidate"]
    docker.destroy("digits")
    assert [one.name for one in docker.list()] == ["digits-candidate"]


def test_pieces_of_an_engine_become_whole_lines(docker, engine, spec) -> None:
    settled(docker, spec())
    engine.pieces = [b"one\ntw", b"o\r\n", "é".encode()[:1], "é".encode()[1:] + b"\n\nlast"]

    assert list(docker.logs("digits")) == ["one", "two", "é", "", "last"]


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


def _settings(spec) -> tuple[object, object]:
    from modelpack.deploy.container import create_settings, host_settings

    return create_settings(spec), host_settings(spec)


# --- a real engine -----------------------------------------------------------------------------

# Other runs of these tests may use the same engine at the same time.
NAME = f"test-{uuid4().hex[:8]}"
IMAGES = f"modelpack-test/{NAME}"


@pytest.fixture
def real(service_image) -> Iterator[DockerTarget]:
    """The target over the real engine; deployments of these tests are gone afterwards."""
    target = DockerTarget(TestEngine())
    yield target
    for status in target.list():
        if status.name == NAME:
            target.destroy(status.name)


class TestEngine(DockerEngine):
    """The real engine; its containers carry one more label, by which they can be told."""

    __test__ = False

    def create(self, name: str, settings, host) -> None:
        labels = {**settings["labels"], "dev.modelpack.test": "1"}
        super().create(name, {**settings, "labels": labels}, host)


@pytest.fixture
def real_spec(make_spec, service_image) -> Callable[..., object]:
    def make(version: str = "a", **more):
        spec = make_spec(version, name=NAME, image=f"{IMAGES}:{version}", **more)
        if DockerEngine().image(spec.image) is None:
            service_image(spec.image, spec.digest)
        return spec

    return make


def ask(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.engine
@pytest.mark.parametrize("claim", testing.CLAIMS, ids=lambda claim: claim.__name__)
def test_docker_keeps_the_contract(claim, real, real_spec, free_port) -> None:
    claim(
        testing.TargetCase(
            target=real,
            spec=real_spec("a", port=free_port),
            changed=real_spec("b", port=free_port, MODE_OF_THINGS="new"),
            broken=real_spec("c", port=free_port, FAKE_MODE="crash"),
        )
    )


@pytest.mark.engine
def test_limits_and_rights_hold_inside_the_container(real, real_spec) -> None:
    url = deploy(real, real_spec(cpu=0.5, memory_bytes=64 * 2**20)).url
    seen = ask(f"{url}/rights")

    assert seen["uid"] == 65532
    assert seen["capabilities"] == "0000000000000000"
    assert seen["no_new_privileges"] == "1"
    assert seen["writes_root"] is False
    assert seen["writes_tmp"] is True
    said = DockerEngine().container(f"modelpack-{NAME}")["HostConfig"]
    assert (said["Memory"], said["MemorySwap"], said["NanoCpus"]) == (2**26, 2**26, 5 * 10**8)
    assert said["RestartPolicy"]["Name"] == "unless-stopped"


@pytest.mark.engine
def test_the_port_is_bound_to_this_machine_alone(real, real_spec) -> None:
    deploy(real, real_spec())
    ports = DockerEngine().container(f"modelpack-{NAME}")["NetworkSettings"]["Ports"]
    assert [binding["HostIp"] for binding in ports["3000/tcp"]] == ["127.0.0.1"]


@pytest.mark.engine
def test_a_missing_image_is_built_by_the_rollout(real, make_spec, service_image) -> None:
    spec = make_spec("z", name=NAME, image=f"{IMAGES}:built")
    plan = rollout.plan_deployment(real, spec)
    assert plan.missing_image == f"{IMAGES}:built"

    def build(wanted, progress) -> None:
        service_image(wanted.image, wanted.digest)

    assert rollout.apply_plan(real, plan, ensure_image=build).state is State.RUNNING
    assert rollout.plan_deployment(real, spec).is_empty


@pytest.mark.engine
def test_a_port_in_use_brings_the_former_container_back(real, real_spec) -> None:
    import socket

    deploy(real, real_spec("a"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUseError, match="port is in use"):
            deploy(real, real_spec("b", port=other.getsockname()[1]))

    status = real.status(NAME)
    assert (status.state, status.bundle) in [
        (State.RUNNING, "digits:a"),
        (State.STARTING, "digits:a"),
    ]
    assert DockerEngine().container(f"modelpack-{NAME}-Candidate") is None


@pytest.mark.engine
def test_a_crashing_container_is_noticed_long_before_the_time_is_up(real, real_spec) -> None:
    began = time.monotonic()
    with pytest.raises(DeployError) as caught:
        deploy(real, real_spec("c", FAKE_MODE="crash", ready_timeout_s=300.0))

    assert time.monotonic() - began < 60
    assert "error[service-failed]: the model is broken" in caught.value.message
    assert "this is digits:c" in caught.value.log_lines


@pytest.mark.engine
def test_drift_shows_in_the_plan_and_is_put_right(real, real_spec) -> None:
    from modelpack.image import connect

    spec = real_spec(memory_bytes=64 * 2**20)
    deploy(real, spec)
    with connect() as client:
        client.update_container(f"modelpack-{NAME}", mem_limit=2**27, memswap_limit=2**27)

    change = rollout.plan_deployment(real, spec).changes[0]

    assert (change.before, change.after) == ({"memory_bytes": 2**27}, {"memory_bytes": 2**26})


@pytest.mark.engine
def test_a_container_that_was_stopped_by_hand_is_started_again(real, real_spec) -> None:
    deploy(real, real_spec())
    DockerEngine().stop(f"modelpack-{NAME}", grace_s=5)
    assert real.status(NAME).state is State.STOPPED

    assert deploy(real, real_spec()).state is State.RUNNING


@pytest.mark.engine
def test_a_service_that_eats_its_memory_is_ended_and_said(real, real_spec) -> None:
    with pytest.raises(DeployError, match=r"out of memory|exit 137"):
        deploy(real, real_spec("m", FAKE_MODE="hungry", memory_bytes=32 * 2**20))


@pytest.mark.engine
def test_following_the_log_ends_with_the_container(real, real_spec) -> None:
    deploy(real, real_spec())
    lines = real.logs(NAME, follow=True)
    assert next(lines) == "this is digits:a"

    DockerEngine().stop(f"modelpack-{NAME}", grace_s=5)

    assert all(line.startswith("asked for") for line in lines)


@pytest.mark.engine
def test_deployments_of_all_targets_are_found_by_name(real, real_spec) -> None:
    deploy(real, real_spec())

    assert survey.find(NAME).status(NAME).state is State.RUNNING
    assert NAME in [one.name for one in survey.list_deployments().statuses]
    survey.destroy(NAME)
    assert DockerEngine().container(f"modelpack-{NAME}") is None


@pytest.mark.engine
def test_what_an_engine_refuses_is_one_readable_line(spec) -> None:
    engine = DockerEngine()
    with pytest.raises(EngineError, match="the engine cannot start the container 'no-such'"):
        engine.start("no-such")
    assert engine.container("no-such") is None
    assert engine.image("no/such:image") is None
    engine.remove("no-such")
