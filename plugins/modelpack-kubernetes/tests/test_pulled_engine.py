"""``weights=pull`` for real: the bundle in a registry, its models fetched into a volume, then served.

The image has no models.  The containers get the commands, variables and rights of the manifests; the
volume is given to the group of the pod by hand, as a kubelet does, and so is the host's network, since
the registry listens on this machine alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from modelpack_kubernetes.manifests import manifests
from modelpack_kubernetes.wanted import wanted_from

from modelpack.config.settings import ImageSettings, Project
from modelpack.deploy import DeploymentSpec, DeploySettings
from modelpack.image import build_image, connect, plan_image
from modelpack.registry import parse, push
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

RUN = uuid.uuid4().hex[:8]
MODULE = f"pulled_{RUN}"
LABEL = {"dev.modelpack.test": "1"}
SERVICE = """
import modelpack
from modelpack import Tensor


@modelpack.service
class Adder:
    net = modelpack.Model("pulled-net:latest")

    @modelpack.api(batch=True)
    def predict(self, x: Tensor["float32", "batch", 2]) -> list[float]:
        return self.net(x)["y"].tolist()
"""
EMPTY = (
    "import os, shutil; top = '/bundle/models';"
    "[shutil.rmtree(os.path.join(top, one)) for one in os.listdir(top)]"
)


@dataclass(frozen=True)
class World:
    """A bundle in a registry, and an image of it without its models."""

    engine: APIClient
    pod: dict[str, Any]
    image: str
    volume: str
    started: list[str]

    def run(self, which: str, *, fresh: dict[str, Any] | None = None) -> str:
        """Run a container of the pod; return its id."""
        container = {**self.pod[which][0], **(fresh or {})}
        rights = {**self.pod["securityContext"], **container["securityContext"]}
        mounts = [one for one in container["volumeMounts"] if one["name"] == "models"]
        binds = [
            f"{self.volume}:{one['mountPath']}:{'ro' if one.get('readOnly') else 'rw'}"
            for one in mounts
        ]
        env = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
        env |= {"MODELPACK_HOST": "127.0.0.1", "MODELPACK_PORT": str(free_port())} if env else {}
        made = self.engine.create_container(
            self.image,
            entrypoint=container.get("command"),
            environment=env,
            user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
            labels=LABEL,
            host_config=self.engine.create_host_config(
                network_mode="host",
                read_only=rights["readOnlyRootFilesystem"],
                tmpfs={"/tmp": ""},
                cap_drop=rights["capabilities"]["drop"],
                security_opt=["no-new-privileges"],
                binds=binds,
            ),
        )
        self.started.append(made["Id"])
        self.engine.start(made["Id"])
        return str(made["Id"])

    def ended(self, container: str) -> tuple[int, str]:
        status = self.engine.wait(container, timeout=120)["StatusCode"]
        return int(status), self.engine.logs(container).decode()


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def net(folder: Path) -> Path:
    """Write an ONNX model that adds the two of each row."""
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "net.onnx")
    return folder / "net.onnx"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from modelpack import models
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    root, home = tmp_path_factory.mktemp("pulled"), tmp_path_factory.mktemp("home")
    store = Store(home / "store")
    models.save("pulled-net", net(home), store=store)
    (root / f"{MODULE}.py").write_text(SERVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELPACK_HOME", str(home))
        patch.setattr(sys, "path", list(sys.path))
        service = load_import_string(f"{MODULE}:Adder", root)
        entry = build_bundle(Project(root=root, name="pulled"), service, store=store).entry
        place = f"{os.environ['ENGINE_REGISTRY']}/modelpack-test/pulled-{RUN}"
        push(store, entry, parse(f"{place}:{entry.tag.version}"))
    spec = DeploymentSpec(
        name="pulled",
        bundle=str(entry.tag),
        digest=entry.digest,
        image=f"{place}:image",
        settings=DeploySettings(),
    )
    options = {"weights": "pull", "weights_from": f"{place}"}
    objects = manifests(wanted_from(spec, options))
    pod = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    plan = plan_image(store, entry, ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"])
    reference, volume, started = f"modelpack-test/pulled:{RUN}", f"modelpack-test-{RUN}", []
    with connect() as engine:
        whole = build_image(plan, store, reference=reference, engine="docker", labels=LABEL).id
        bare = without_models(engine, whole)
        engine.create_volume(volume, labels=LABEL)
        try:
            give(engine, bare, volume)
            yield World(engine, pod, bare, volume, started)
        finally:
            for one in started:
                engine.remove_container(one, force=True, v=True)
            engine.remove_volume(volume, force=True)
            engine.remove_image(bare, force=True)
            engine.remove_image(whole, force=True)


def without_models(engine: APIClient, image: str) -> str:
    """Return the image with the folder of its models empty."""
    made = as_root(engine, image, EMPTY)
    try:
        known = engine.inspect_image(image)["Config"]
        changes = [f"ENTRYPOINT {json.dumps(known['Entrypoint'])}", f"USER {known['User']}"]
        return str(engine.commit(made, changes=changes)["Id"])
    finally:
        engine.remove_container(made, force=True)


def give(engine: APIClient, image: str, volume: str) -> None:
    """Give a volume to the group of the pod, as a kubelet does for ``fsGroup``."""
    work = "import os; os.chown('/models', 0, 65532); os.chmod('/models', 0o2777)"
    engine.remove_container(as_root(engine, image, work, {volume: {"bind": "/models"}}), force=True)


def as_root(
    engine: APIClient, image: str, work: str, binds: dict[str, dict[str, str]] | None = None
) -> str:
    made = engine.create_container(
        image,
        entrypoint=["/bundle/venv/bin/python", "-I", "-S", "-c", work],
        user="0:0",
        labels=LABEL,
        host_config=engine.create_host_config(binds=binds or {}),
    )
    engine.start(made["Id"])
    assert engine.wait(made["Id"], timeout=60)["StatusCode"] == 0
    return str(made["Id"])


def ask(world: World, container: str, body: Any) -> Any:
    """Ask until it answers, a minute at most."""
    env = world.engine.inspect_container(container)["Config"]["Env"]
    port = next(one.partition("=")[2] for one in env if one.startswith("MODELPACK_PORT="))
    head = {"content-type": "application/json"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", data, head)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while True:
        running = world.engine.inspect_container(container)["State"]["Running"]
        assert running, world.engine.logs(container)
        with (
            suppress(urllib.error.URLError, ConnectionError),
            opener.open(request, timeout=30) as answer,
        ):
            return json.load(answer)
        assert time.monotonic() < end, world.engine.logs(container)
        time.sleep(0.1)


def test_models_are_pulled_before_the_service_starts_and_served(world: World) -> None:
    """Twice, as after a restart of the pod; then by a server that can only read them."""
    status, said = world.ended(world.run("initContainers"))
    assert status == 0, said
    told = json.loads(said)
    assert (told["event"], told["layers"]) == ("models-fetched", 2)
    assert world.ended(world.run("initContainers"))[0] == 0
    service = world.run("containers")
    assert ask(world, service, {"x": [[2, 5]]}) == [7.0]


def test_a_bundle_that_is_not_there_ends_the_container_with_a_reason(world: World) -> None:
    command = world.pod["initContainers"][0]["command"]
    missing = [
        word.rpartition(":")[0] + ":" + "0" * 64 if "@sha256:" in word else word for word in command
    ]
    status, said = world.ended(world.run("initContainers", fresh={"command": missing}))
    assert status == 3
    assert said.startswith("error[not-found]: ")
    assert "help: push the bundle there" in said


def test_without_its_models_the_image_does_not_start(world: World) -> None:
    """What was pulled is what answers: nothing of it is in the image."""
    bare = {"volumeMounts": []}
    status, said = world.ended(world.run("containers", fresh=bare))
    assert status != 0
    assert "pulled-net" in said
