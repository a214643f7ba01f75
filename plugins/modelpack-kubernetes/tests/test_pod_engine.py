"""What a pod is made of, run by a real engine: models of another image, a transformer, a fetched model.

The containers get the commands, variables and rights that stand in the manifests; what a kubelet does
around them (volumes with a group, arguments of KServe) is done here by hand, and said where.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from modelpack_kubernetes.manifests import manifests

from modelpack.config.settings import ImageSettings, Project
from modelpack.image import build_image, connect, plan_image
from modelpack.store import Store

from .wanted_specs import wanted

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow, pytest.mark.long]

TEST_LABEL = {"dev.modelpack.test": "1"}
MODULE = f"pod_{uuid.uuid4().hex[:8]}"
SERVICE = """
import os

import modelpack
from modelpack import Tensor


@modelpack.service
class Adder:
    net = modelpack.Model("pod-net:latest")

    @modelpack.api(batch=True)
    def predict(self, x: Tensor["float32", "batch", 2]) -> list[float]:
        return self.net(x)["y"].tolist()

    @modelpack.api
    def predictor(self) -> str:
        return os.environ.get("PREDICTOR_HOST", "")
"""
Json = dict[str, Any]
Run = Callable[..., str]


def net(folder: Path, operator: str) -> Path:
    """Write an ONNX model that adds (``ReduceSum``) or multiplies (``ReduceProd``) the two of each row."""
    import onnx
    from onnx import TensorProto, helper

    adds = operator == "ReduceSum"
    shape = {} if adds else {"axes": [1]}
    node = helper.make_node(operator, ["x", "axes"] if adds else ["x"], ["y"], keepdims=0, **shape)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])] if adds else [],
    )
    file = folder / f"{operator}.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    return file


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give two images of the same code: one with a model that adds, one that multiplies."""
    from modelpack import models
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    root, store = (
        tmp_path_factory.mktemp("pod"),
        Store(tmp_path_factory.mktemp("pod-home") / "store"),
    )
    (root / f"{MODULE}.py").write_text(SERVICE)
    made: dict[str, str] = {}
    try:
        for operator in ("ReduceSum", "ReduceProd"):
            models.save("pod-net", net(root, operator), store=store)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "path", list(sys.path))
                sys.modules.pop(MODULE, None)
                spec = load_import_string(f"{MODULE}:Adder", root)
                built = build_bundle(Project(root=root, name="pod"), spec, store=store)
            base = os.environ["ENGINE_BASE_IMAGE"]
            plan = plan_image(store, built.entry, ImageSettings(), base=base)
            reference = f"modelpack-test/pod:{uuid.uuid4().hex}"
            result = build_image(
                plan, store, reference=reference, engine="docker", labels=TEST_LABEL
            )
            made[operator] = result.id
        yield made
    finally:
        with connect() as engine:
            for identity in made.values():
                engine.remove_image(identity, force=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[APIClient]:
    with connect() as client:
        yield client


@pytest.fixture
def volume(engine: APIClient) -> Iterator[str]:
    name = f"modelpack-test-{uuid.uuid4().hex[:12]}"
    engine.create_volume(name, labels=TEST_LABEL)
    yield name
    engine.remove_volume(name, force=True)


@pytest.fixture
def run(engine: APIClient) -> Iterator[Run]:
    """Start a container as a manifest describes it; all are gone afterwards."""
    started: list[str] = []

    def start(
        image: str, container: Json, pod: Json, volumes: Mapping[str, str], *arguments: str
    ) -> str:
        rights = {**pod.get("securityContext", {}), **container["securityContext"]}
        command = container.get("command")
        env = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
        ports = [port["containerPort"] for port in container.get("ports", ())]
        binds = {
            volumes[mount["name"]]: {
                "bind": mount["mountPath"], "mode": "ro" if mount.get("readOnly") else "rw",
            }
            for mount in container["volumeMounts"]
            if mount["name"] in volumes
        }  # fmt: skip
        made = engine.create_container(
            image,
            # What a manifest calls ``command`` is the entry point of an image.
            entrypoint=command,
            command=[*container.get("args", ()), *arguments] or None,
            environment=env,
            user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
            labels=TEST_LABEL,
            ports=ports,
            host_config=engine.create_host_config(
                read_only=rights["readOnlyRootFilesystem"],
                tmpfs={"/tmp": ""},
                cap_drop=rights["capabilities"]["drop"],
                security_opt=["no-new-privileges"],
                binds=binds,
                port_bindings=dict.fromkeys(ports, ("127.0.0.1", None)),
            ),
        )
        started.append(made["Id"])
        engine.start(made["Id"])
        return str(made["Id"])

    yield start
    for one in started:
        engine.remove_container(one, force=True, v=True)


def ended(engine: APIClient, container: str) -> tuple[int, str]:
    status = engine.wait(container, timeout=120)["StatusCode"]
    return int(status), engine.logs(container).decode()


def ask(engine: APIClient, container: str, path: str, body: Any = None) -> Any:
    """Ask until it answers, a minute at most."""
    ports = engine.inspect_container(container)["NetworkSettings"]["Ports"]
    published = next(one[0]["HostPort"] for one in ports.values() if one)
    data = None if body is None else json.dumps(body).encode()
    head = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{published}/{path}", data, head)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while True:
        assert engine.inspect_container(container)["State"]["Running"], engine.logs(container)
        with (
            suppress(urllib.error.URLError, ConnectionError),
            opener.open(request, timeout=30) as answer,
        ):
            return json.load(answer)
        assert time.monotonic() < end, engine.logs(container)
        time.sleep(0.1)


def of_group(engine: APIClient, image: str, volume: str, run: Run) -> None:
    """Give a volume to the group of the pod, as a kubelet does for ``fsGroup``."""
    work = "import os; os.chown('/models', 0, 65532); os.chmod('/models', 0o2777)"
    made = engine.create_container(
        image,
        entrypoint=["/bundle/venv/bin/python", "-c", work],
        user="0:0",
        labels=TEST_LABEL,
        host_config=engine.create_host_config(binds={volume: {"bind": "/models", "mode": "rw"}}),
    )
    try:
        engine.start(made["Id"])
        assert ended(engine, made["Id"])[0] == 0
    finally:
        engine.remove_container(made["Id"], force=True)


def pod_of(options: dict[str, str], kind: str = "Deployment", **settings: Any) -> Json:
    one = next(one for one in manifests(wanted(options, **settings)) if one["kind"] == kind)
    found: Json = one["spec"]
    return found["template"]["spec"] if kind == "Deployment" else found


def test_models_are_copied_from_another_image_before_the_service_starts(
    engine: APIClient, images: dict[str, str], volume: str, run: Run
) -> None:
    """``weights=copy``: the code that adds gets the model that multiplies; a second copy does no harm."""
    pod = pod_of({"weights": "copy", "weights_from": "other:1"})
    of_group(engine, images["ReduceSum"], volume, run)
    for _ in range(2):
        copying = run(images["ReduceProd"], pod["initContainers"][0], pod, {"models": volume})
        assert ended(engine, copying) == (0, "")
    service = run(images["ReduceSum"], pod["containers"][0], pod, {"models": volume})
    assert ask(engine, service, "predict", {"x": [[2, 5]]}) == [10.0]
    as_built = run(images["ReduceSum"], pod["containers"][0], pod, {})
    assert ask(engine, as_built, "predict", {"x": [[2, 5]]}) == [7.0]


def test_models_are_mounted_from_another_image(
    engine: APIClient, images: dict[str, str], volume: str, run: Run
) -> None:
    """``weights=volume``: this engine has no image volumes, so the image's folder is copied into one."""
    options = {"weights": "volume", "weights_from": "other:1", "kubernetes": "1.33"}
    pod = pod_of(options)
    mount = pod["containers"][0]["volumeMounts"][-1]
    # A new volume is filled with what the image has where it is mounted.
    filled = engine.create_container(
        images["ReduceProd"],
        labels=TEST_LABEL,
        host_config=engine.create_host_config(
            binds={volume: {"bind": f"/{mount['subPath']}", "mode": "rw"}}
        ),
    )
    engine.remove_container(filled["Id"])
    service = run(images["ReduceSum"], pod["containers"][0], pod, {"models": volume})
    assert ask(engine, service, "predict", {"x": [[2, 5]]}) == [10.0]


def test_a_transformer_learns_from_its_arguments_where_the_predictor_is(
    engine: APIClient, images: dict[str, str], run: Run
) -> None:
    """With the arguments that KServe adds, on the port that it asks for."""
    spec = pod_of({"transformer": "prepare:1"}, "InferenceService", mode="kserve")
    part = spec["transformer"]
    words = [
        "--model_name",
        "digits",
        "--predictor_host",
        "digits-predictor.ml",
        "--http_port",
        "8080",
    ]
    service = run(images["ReduceSum"], part["containers"][0], part, {}, *words)
    assert ask(engine, service, "predictor", {}) == "digits-predictor.ml"
    assert ask(engine, service, "predict", {"x": [[2, 5]]}) == [7.0]


def test_a_runtime_serves_the_model_that_kserve_has_fetched(
    engine: APIClient, images: dict[str, str], volume: str, run: Run, tmp_path: Path
) -> None:
    """``storage``: the image without its own bundle takes the one file in ``/mnt/models``."""
    spec = pod_of({"storage": "s3://bucket/digits"}, "ServingRuntime", mode="kserve")
    container = spec["containers"][0]
    mount = {"name": "fetched", "mountPath": "/mnt/models", "readOnly": True}
    container = container | {"volumeMounts": [*container["volumeMounts"], mount]}
    filled = engine.create_container(
        images["ReduceSum"],
        labels=TEST_LABEL,
        host_config=engine.create_host_config(
            binds={volume: {"bind": "/mnt/models", "mode": "rw"}}
        ),
    )
    model, archive = net(tmp_path, "ReduceProd"), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(model, "net.onnx")
    engine.put_archive(filled["Id"], "/mnt/models", archive.getvalue())
    engine.remove_container(filled["Id"])
    service = run(images["ReduceSum"], container, spec, {"fetched": volume})
    assert ask(engine, service, "predict", {"x": [[2, 5]]}) == {"y": [10.0]}


def test_the_wait_before_the_end_runs_in_the_image(
    engine: APIClient, images: dict[str, str], run: Run
) -> None:
    pod = pod_of({})
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    short = [*hook[:-1], hook[-1].replace("sleep(5)", "sleep(0.1)")]
    assert short != hook
    waiting = run(images["ReduceSum"], pod["containers"][0] | {"command": short}, pod, {})
    assert ended(engine, waiting) == (0, "")
