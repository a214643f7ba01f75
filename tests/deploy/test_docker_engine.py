"""The docker target with a real engine: the contract, rights and limits, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from modelpack import testing
from modelpack.deploy import State, rollout, survey
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.engine import DockerEngine
from modelpack.errors import DeployError, EngineError, PortInUseError
from tests.deploy.traffic import held

pytestmark = pytest.mark.engine

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


def containers(role: str) -> list[dict[str, Any]]:
    engine = DockerEngine()
    found = [engine.container(one) for one in engine.names(f"dev.modelpack.deployment={NAME}")]
    return [one for one in found if one["Config"]["Labels"]["dev.modelpack.role"] == role]


def replicas() -> list[dict[str, Any]]:
    return containers("replica")


SAMPLE = {
    "applies_only_once",
    "returns_to_the_former_revision",
    "keeps_both_until_it_is_told",
    "scales_as_a_plan",
    "destroys_without_a_trace",
}
CLAIMS = [
    pytest.param(
        claim,
        id=claim.__name__,
        marks=[] if claim.__name__ in SAMPLE else [pytest.mark.long],
    )
    for claim in testing.CLAIMS
]


def deploy(target: DockerTarget, spec, **more):
    return rollout.apply_plan(target, rollout.plan_deployment(target, spec), **more)


def ask(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("claim", CLAIMS)
def test_docker_keeps_the_contract(claim, real, real_spec, free_port) -> None:
    claim(
        testing.TargetCase(
            target=real,
            spec=real_spec("a", port=free_port),
            changed=real_spec("b", port=free_port, MODE_OF_THINGS="new"),
            broken=real_spec("c", port=free_port, FAKE_MODE="crash"),
            resources=lambda: held(NAME),
        )
    )


def test_limits_and_rights_hold_inside_the_container(real, real_spec) -> None:
    url = deploy(real, real_spec(cpu=0.5, memory_bytes=64 * 2**20)).url
    seen = ask(f"{url}/rights")

    assert seen["uid"] == 65532
    assert seen["capabilities"] == "0000000000000000"
    assert seen["no_new_privileges"] == "1"
    assert seen["writes_root"] is False
    assert seen["writes_tmp"] is True
    said = replicas()[0]["HostConfig"]
    assert (said["Memory"], said["MemorySwap"], said["NanoCpus"]) == (2**26, 2**26, 5 * 10**8)
    assert said["RestartPolicy"]["Name"] == "unless-stopped"


def test_the_port_is_bound_to_this_machine_alone(real, real_spec) -> None:
    deploy(real, real_spec())
    for one in (*replicas(), *containers("port")):
        ports = one["NetworkSettings"]["Ports"]
        assert [binding["HostIp"] for binding in ports["3000/tcp"]] == ["127.0.0.1"]


def test_a_missing_image_is_built_by_the_rollout(real, make_spec, service_image) -> None:
    spec = make_spec("z", name=NAME, image=f"{IMAGES}:built")
    plan = rollout.plan_deployment(real, spec)
    assert plan.missing_image == f"{IMAGES}:built"

    def build(wanted, progress) -> None:
        service_image(wanted.image, wanted.digest)

    assert rollout.apply_plan(real, plan, ensure_image=build).state is State.RUNNING
    assert rollout.plan_deployment(real, spec).is_empty


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
    assert (len(replicas()), len(containers("port"))) == (1, 1)


def test_a_crashing_container_is_noticed_long_before_the_time_is_up(real, real_spec) -> None:
    began = time.monotonic()
    with pytest.raises(DeployError) as caught:
        deploy(real, real_spec("c", FAKE_MODE="crash", ready_timeout_s=300.0))

    assert time.monotonic() - began < 60
    assert "error[service-failed]: the model is broken" in caught.value.message
    assert "this is digits:c" in caught.value.log_lines


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is one")
def test_a_graphics_processor_that_is_not_there_changes_nothing(real, real_spec) -> None:
    deploy(real, real_spec("a"))
    with pytest.raises(EngineError, match=r"device|gpu") as caught:
        deploy(real, real_spec("b", accelerator="nvidia:1"))

    assert "NVIDIA's container toolkit" in caught.value.hint
    assert "runs as before" in caught.value.hint
    assert [one["State"]["Status"] for one in replicas()] == ["running"]


def test_drift_shows_in_the_plan_and_is_put_right(real, real_spec) -> None:
    from modelpack.image import connect

    spec = real_spec(memory_bytes=64 * 2**20)
    deploy(real, spec)
    with connect() as client:
        client.update_container(replicas()[0]["Id"], mem_limit=2**27, memswap_limit=2**27)

    plan = rollout.plan_deployment(real, spec)
    change = plan.changes[0]

    assert (change.before, change.after) == ({"memory_bytes": 2**27}, {"memory_bytes": 2**26})
    assert len(plan.drift) == 1
    rollout.apply_plan(real, plan)
    assert [one["HostConfig"]["Memory"] for one in replicas()] == [2**26]


def test_a_container_that_was_stopped_by_hand_is_started_again(real, real_spec) -> None:
    deploy(real, real_spec())
    DockerEngine().stop(replicas()[0]["Id"], grace_s=5)
    assert real.status(NAME).state is State.STOPPED

    assert deploy(real, real_spec()).state is State.RUNNING


def test_one_of_several_that_was_stopped_is_started_again(real, real_spec) -> None:
    """Its port answers meanwhile, because of the others; the deploy waits for this one."""
    spec = real_spec(min_replicas=2)
    url = deploy(real, spec).url
    DockerEngine().stop(replicas()[0]["Id"], grace_s=5)

    status = real.status(NAME)
    assert (status.state, status.url) == (State.STOPPED, url)
    assert status.detail.startswith("1 of 2 replicas are ready")
    assert ask(f"{url}/openapi.json")
    assert deploy(real, spec).state is State.RUNNING
    assert [one["State"]["Status"] for one in replicas()] == ["running", "running"]


def test_a_service_that_eats_its_memory_is_ended_and_said(real, real_spec) -> None:
    with pytest.raises(DeployError, match=r"out of memory|exit 137"):
        deploy(real, real_spec("m", FAKE_MODE="hungry", memory_bytes=32 * 2**20))


def test_following_the_log_ends_with_the_container(real, real_spec) -> None:
    deploy(real, real_spec())
    lines = real.logs(NAME, follow=True)
    assert next(lines) == "this is digits:a"

    DockerEngine().stop(replicas()[0]["Id"], grace_s=5)

    assert all(line.startswith("asked for") for line in lines)


def test_deployments_of_all_targets_are_found_by_name(real, real_spec) -> None:
    deploy(real, real_spec())

    assert survey.find(NAME).status(NAME).state is State.RUNNING
    assert NAME in [one.name for one in survey.list_deployments().statuses]
    survey.destroy(NAME)
    assert DockerEngine().names(f"dev.modelpack.deployment={NAME}") == []


class FarEngine(TestEngine):
    """The same engine, as if it were on another machine."""

    def host(self) -> str | None:
        return "gpu-box"


def test_a_revision_on_another_machine_is_probed_from_inside(real_spec) -> None:
    """Its port cannot be called from here: a broken example is seen all the same."""
    far = DockerTarget(FarEngine())
    try:
        status = deploy(far, real_spec("a"))
        assert (status.state, status.url) == (State.RUNNING, None)
        with pytest.raises(DeployError, match="answers its own example at /double with HTTP 500"):
            deploy(far, real_spec("b", FAKE_MODE="poison"))
        assert far.status(NAME).bundle == "digits:a"
    finally:
        far.destroy(NAME)


@pytest.mark.long
def test_replicas_that_never_ask_for_the_port_are_refused(real, real_spec) -> None:
    deploy(real, real_spec("a"))
    with pytest.raises(DeployError, match="do not ask for their port") as caught:
        deploy(real, real_spec("b", FAKE_MODE="aloof"))
    assert "containerize" in caught.value.hint
    assert real.status(NAME).bundle == "digits:a"


@pytest.mark.long
@pytest.mark.parametrize("first", ["port", "replica"])
def test_it_answers_again_after_a_restart_of_the_machine(real, real_spec, first, free_port) -> None:
    """The engine starts its containers in any order, and what was in memory is gone."""
    url = deploy(real, real_spec(port=free_port, min_replicas=2)).url
    roles = [first, *({"port", "replica"} - {first})]
    engine = DockerEngine()
    for role in roles:
        for one in containers(role):
            engine.stop(one["Id"], grace_s=5)
    for role in roles:
        for one in containers(role):
            engine.start(one["Id"])
            time.sleep(0.3)

    until = time.monotonic() + 20
    while real.status(NAME).state is not State.RUNNING and time.monotonic() < until:
        time.sleep(0.2)
    assert ask(f"{url}/openapi.json")["info"]["version"] == "a"


def test_what_an_engine_refuses_is_one_readable_line() -> None:
    engine = DockerEngine()
    with pytest.raises(EngineError, match="the engine cannot start the container 'no-such'"):
        engine.start("no-such")
    assert engine.container("no-such") is None
    assert engine.image("no/such:image") is None
    engine.remove("no-such")
