"""ECS with a real engine behind it: an emulator runs the tasks as containers and forwards to them.

The emulator (ministack) is installed into an environment of its own and listens on loopback alone.  What
it does not know is left out there: alarms by metric math are made alarms by one metric (cfn-lint has
seen the template as it is).  Its load balancer sends to whatever runs, ready or not, so that requests
in flight during an update are nothing that could be shown here.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from modelpack_aws.session import Session
from modelpack_aws.target import AwsTarget

from modelpack.deploy import Clock, DeploymentSpec, DeploySettings, State, rollout
from modelpack.deploy.pushing import Pushed
from modelpack.errors import DeployError, DeploymentNotFoundError
from modelpack.store import Kind, Store
from modelpack.tag import Tag

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif("ENGINE_BASE_IMAGE" not in os.environ, reason="no engine is named"),
]

SERVICE = Path(__file__).parents[3] / "tests" / "deploy" / "service" / "service.py"
IMAGE = "modelpack-test/aws"
HASTY = Clock(sleep=lambda seconds: time.sleep(min(seconds, 0.3)))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the emulator."""
    folder = tmp_path_factory.mktemp("ministack")
    venv.create(folder / "venv", with_pip=True)
    packages = ["ministack==1.5.33", "docker", "cryptography"]
    subprocess.run([folder / "venv/bin/pip", "install", "-q", *packages], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "S3_DATA_DIR": str(folder / "data"),
        "TMPDIR": str(folder),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [folder / "venv/bin/ministack"], env={**os.environ, **own}, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def engine(emulator: str) -> Iterator[Any]:
    import docker

    api = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"))
    made = [build(api, "good", '["python", "-u", "/service.py"]')]
    made.append(build(api, "broken", '["python", "-c", "raise SystemExit(1)"]'))
    yield api
    pulled = f"{emulator.removeprefix('http://')}/"  # the emulator leaves what it has pulled
    for image in api.images():
        names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
        if any(name.startswith(pulled) for name in names):
            made.append(image["Id"])
    for image in made:
        with suppress(docker.errors.NotFound):
            api.remove_image(image, force=True)
    api.close()


def build(api: Any, tag: str, entry: str) -> str:
    """Build an image of the small service, or of one that ends at once; return its id."""
    lines = [
        f"FROM {os.environ['ENGINE_BASE_IMAGE']}",
        "COPY service.py /service.py",
        "USER 65532:65532",
        f"ENTRYPOINT {entry}",
    ]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        files = {"Dockerfile": "\n".join(lines).encode(), "service.py": SERVICE.read_bytes()}
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    context.seek(0)
    for _ in api.build(
        fileobj=context, custom_context=True, tag=f"{IMAGE}:{tag}", rm=True, decode=True
    ):
        pass
    return str(api.inspect_image(f"{IMAGE}:{tag}")["Id"])


@pytest.fixture
def session(emulator: str) -> Session:
    """Clients of the emulator, for templates as it knows them."""
    session = Session(region_name="us-east-1", endpoint_url=emulator)
    events = session.client("cloudformation").meta.events
    events.register("provide-client-params.cloudformation.CreateChangeSet", without_math)
    return session


@pytest.fixture
def target(session: Session, engine: Any) -> Iterator[AwsTarget]:
    def push(spec: DeploymentSpec, reference: str, *, find_login: Any, **_: Any) -> Pushed:
        repository, _, tag = reference.rpartition(":")
        source = "broken" if spec.version == "broken" else "good"
        engine.tag(f"{IMAGE}:{source}", repository, tag)
        login = find_login(repository.partition("/")[0])
        auth = {"username": login.username, "password": login.password}
        said = list(engine.push(repository, tag, stream=True, decode=True, auth_config=auth))
        engine.remove_image(reference)
        [digest] = [one["aux"]["Digest"] for one in said if "aux" in one]
        return Pushed(digest, 0)

    target = AwsTarget(clients=session, push=push, clock=HASTY)
    yield target
    with suppress(DeploymentNotFoundError):
        target.destroy("digits")


def without_math(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Make alarms by one metric of those by several: the emulator knows no others."""
    template = json.loads(params["TemplateBody"])
    for body in template["Resources"].values():
        queries = body["Properties"].pop("Metrics", None) if "Alarm" in body["Type"] else None
        if queries:
            one = next(query["MetricStat"] for query in queries if "MetricStat" in query)
            metric = one["Metric"]
            body["Properties"] |= {
                "Namespace": metric["Namespace"],
                "MetricName": metric["MetricName"],
                "Dimensions": metric["Dimensions"],
                "Statistic": one["Stat"],
                "Period": one["Period"],
            }
    return {**params, "TemplateBody": json.dumps(template)}


def spec(version: str, **more: Any) -> DeploymentSpec:
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image="digits:1",
        settings=DeploySettings(ready_timeout_s=30, **more),
    )


def deploy(target: AwsTarget, wanted: DeploymentSpec) -> Any:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


def test_real_containers_answer_through_the_load_balancer_and_come_back(
    target: AwsTarget, engine: Any
) -> None:
    first = deploy(target, spec("1"))
    assert (first.state, first.bundle) == (State.RUNNING, "digits:1")
    answer = target.fetch(f"{first.url}/double", body=b'{"x": [1.5]}', timeout_s=10)
    assert (answer.status, json.loads(answer.body)) == (200, {"doubled": [3.0]})
    environ = json.loads(target.fetch(f"{first.url}/environ", timeout_s=10).body)
    assert environ["MODELPACK_TAG"] == "digits:1"

    second = deploy(target, spec("2", env={"GREETING": "hello"}, min_replicas=2))
    assert (second.bundle, second.url) == ("digits:2", first.url)
    environ = json.loads(target.fetch(f"{first.url}/environ", timeout_s=10).body)
    assert environ["GREETING"] == "hello"
    assert len(tasks(engine)) == 2

    with pytest.raises(DeployError, match="circuit breaker was triggered") as failed:
        deploy(target, spec("broken"))
    assert "(digits:2) runs as before" in str(failed.value.hint)
    assert target.status("digits").bundle == "digits:2"
    assert rollout.plan_deployment(
        target, spec("2", env={"GREETING": "hello"}, min_replicas=2)
    ).is_empty

    back = rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
    assert back.bundle == "digits:1"
    assert [one.bundle for one in target.history("digits")] == ["digits:1", "digits:2", "digits:1"]
    assert any("asked for" in line for line in target.logs("digits", tail=20))

    target.destroy("digits")
    assert target.status("digits").state is State.ABSENT
    assert target.list() == []
    assert target.clients.client("ecr").describe_repositories()["repositories"] == []
    deadline = time.monotonic() + 30
    while tasks(engine) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert tasks(engine) == []


def test_a_bundle_becomes_an_image_there_without_an_engine_and_answers(
    session: Session, engine: Any, tmp_path: Path
) -> None:
    """Our own builder and registry client; the engine lends its base and runs the task."""
    program = Path(sys.executable).with_name("modelpack")
    for words in (["init", "words", "--template", "function"], ["build", "words"]):
        done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    tag = done.stdout.strip()
    store = Store()
    wanted = rollout.spec_for(store.find(Tag.parse(tag), Kind.BUNDLE), DeploySettings())
    base = f"engine:{os.environ['ENGINE_BASE_IMAGE']}"
    target = AwsTarget(clients=session, given={"base": base}, clock=HASTY)
    try:
        status = deploy(target, wanted)
        assert (status.state, status.bundle) == (State.RUNNING, tag)
        document = json.loads(target.fetch(f"{status.url}/openapi.json", timeout_s=10).body)
        assert document["info"]["version"] == wanted.version
        [first] = [one for one in target.logs("words") if '"event":"ready"' in one]
        assert tag in first
        assert rollout.plan_deployment(target, wanted).is_empty
    finally:
        target.destroy("words")
    assert session.client("ecr").describe_repositories()["repositories"] == []


def tasks(engine: Any) -> list[str]:
    """The names of the containers that the emulator runs for us."""
    found = engine.containers(filters={"label": "com.amazonaws.ecs.task-arn"})
    return [one["Names"][0] for one in found if "modelpack" in json.dumps(one["Labels"])]
