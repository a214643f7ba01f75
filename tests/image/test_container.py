"""A real image of a real bundle, run as strictly as an engine can, and asked over HTTP and gRPC."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelpack.config.settings import ImageSettings, Project, ServerSettings
from modelpack.image import ImagePlan, ImageResult, build_image, connect, plan_image, write_context
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

TEST_LABEL = {"dev.modelpack.test": "1"}
MODULE = f"adder_{uuid.uuid4().hex[:8]}"
SECRET = f"hunter2-{uuid.uuid4().hex}"
SERVICE = """
import modelpack
from modelpack import Tensor

Rows = Tensor["float32", "batch", 2]


@modelpack.service
class Adder:
    net = modelpack.Model("adder-net:latest")

    @modelpack.api(batch=True)
    def add(self, x: Rows) -> list[float]:
        return self.net(x)["y"].tolist()

    @modelpack.api
    def touch(self, path: str) -> str:
        try:
            with open(path, "w") as out:
                out.write("x")
        except OSError as error:
            return type(error).__name__
        return "written"
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("container") / "store")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project with a model of its own, and a secret that must not get anywhere."""
    root = tmp_path_factory.mktemp("container-project")
    (root / "README.md").write_text("# Adder\n")
    (root / ".env").write_text(f"PASSWORD={SECRET}\n")
    return root


@pytest.fixture(scope="module")
def plan(store: Store, project: Path) -> ImagePlan:
    from modelpack import models

    models.save("adder-net", adder_net(project), store=store)
    return planned(store, project, SERVICE)


def planned(store: Store, root: Path, source: str) -> ImagePlan:
    """Build the bundle as users build theirs and plan its image."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    (root / f"{MODULE}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        sys.modules.pop(MODULE, None)
        spec = load_import_string(f"{MODULE}:Adder", root)
        settings = ServerSettings(grpc_port=8001)
        project = Project(root=root, name="adder", server=settings)
        built = build_bundle(project, spec, store=store)
    image = ImageSettings(env={"GREETING": 'say "hi" to $HOME'})
    return plan_image(store, built.entry, image, base=os.environ["ENGINE_BASE_IMAGE"])


def adder_net(folder: Path) -> Path:
    """Write an ONNX model that adds the two numbers of each row."""
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    file = folder / "adder.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def image(plan: ImagePlan, store: Store) -> Iterator[ImageResult]:
    yield from built(plan, store, "docker")


@pytest.fixture(scope="module")
def other_image(plan: ImagePlan, store: Store) -> Iterator[ImageResult]:
    """Give what BuildKit makes of the same plan."""
    yield from built(plan, store, "buildkit")


def built(plan: ImagePlan, store: Store, builder: str) -> Iterator[ImageResult]:
    result = build_image(
        plan,
        store,
        reference=f"modelpack-test/adder:{uuid.uuid4().hex}",
        engine=builder,
        labels=TEST_LABEL,
    )
    yield result
    with connect() as engine:
        engine.remove_image(result.id, force=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[APIClient]:
    with connect() as client:
        yield client


@pytest.fixture(scope="module")
def container(image: ImageResult, engine: APIClient) -> Iterator[str]:
    yield from running(image, engine)


def running(image: ImageResult, engine: APIClient) -> Iterator[str]:
    """Give a container with a read-only root, no rights, and its ports on this machine alone."""
    made = engine.create_container(
        image.id,
        labels=TEST_LABEL,
        host_config=engine.create_host_config(
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            port_bindings={3000: ("127.0.0.1", None), 8001: ("127.0.0.1", None)},
        ),
    )
    engine.start(made["Id"])
    try:
        wait_for(lambda: health(engine, made["Id"]) != "starting", seconds=60)
        yield made["Id"]
    finally:
        engine.remove_container(made["Id"], force=True, v=True)


def wait_for(is_done: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end, f"it took longer than {seconds} s"
        time.sleep(0.1)


def health(engine: APIClient, container: str) -> str:
    return str(engine.inspect_container(container)["State"]["Health"]["Status"])


def ask(engine: APIClient, container: str, api: str, body: dict[str, Any]) -> Any:
    port = engine.inspect_container(container)["NetworkSettings"]["Ports"]["3000/tcp"][0]
    assert port["HostIp"] == "127.0.0.1"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port['HostPort']}/{api}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def run(engine: APIClient, image: str, *command: str) -> tuple[int, str]:
    """Run another command in the image; return its status and output."""
    made = engine.create_container(image, entrypoint=list(command), labels=TEST_LABEL)
    try:
        engine.start(made["Id"])
        status = engine.wait(made["Id"], timeout=120)["StatusCode"]
        return status, engine.logs(made["Id"]).decode()
    finally:
        engine.remove_container(made["Id"], force=True, v=True)


def test_it_turns_healthy_by_its_own_check(engine: APIClient, container: str) -> None:
    assert health(engine, container) == "healthy"


def test_it_answers_from_the_model_inside(engine: APIClient, container: str) -> None:
    assert ask(engine, container, "add", {"x": [[1, 2], [3, 4.5]]}) == [3.0, 7.5]


def test_it_answers_over_grpc_where_the_bundle_says(engine: APIClient, container: str) -> None:
    grpc = pytest.importorskip("grpc", reason="the extra grpc is not installed")
    from modelpack.server.grpc.messages import message

    port = engine.inspect_container(container)["NetworkSettings"]["Ports"]["8001/tcp"][0]
    rows = {"name": "x", "datatype": "FP32", "shape": [2, 2]}
    rows |= {"contents": {"fp32_contents": [1, 2, 3, 4.5]}}
    request = message("inference.ModelInferRequest")(model_name="adder", inputs=[rows])
    with grpc.insecure_channel(f"{port['HostIp']}:{port['HostPort']}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        said = method(request.SerializeToString(), timeout=30)

    answer = message("inference.ModelInferResponse").FromString(said)
    assert list(answer.outputs[0].contents.fp64_contents) == [3.0, 7.5]
    assert port["HostIp"] == "127.0.0.1"


def test_it_runs_as_nobody_and_cannot_change_itself(engine: APIClient, container: str) -> None:
    top = engine.top(container, ps_args="-eo pid,uid,args")
    assert {row[1] for row in top["Processes"]} == {"65532"}
    for path in ("/bundle/code/x", "/bundle/models/adder-net/model.onnx", "/etc/x"):
        assert ask(engine, container, "touch", {"path": path}) in ("PermissionError", "OSError")
    assert ask(engine, container, "touch", {"path": "/tmp/x"}) == "written"


def test_it_cannot_change_itself_where_the_root_can_be_written(
    engine: APIClient, image: ImageResult
) -> None:
    status, said = run(
        engine, image.id, "/bin/sh", "-c", "id -u; find / -xdev -type f -writable 2>/dev/null"
    )
    assert said.split() == ["65532"]
    assert status in (0, 1)  # find says 1 for folders that it may not even look into


def test_its_output_appears_at_once(engine: APIClient, container: str) -> None:
    """The server says that it is ready while it runs, not when it ends."""
    assert b"ready" in engine.logs(container)


def test_it_ends_within_two_seconds_when_told_to(engine: APIClient, image: ImageResult) -> None:
    made = engine.create_container(image.id, labels=TEST_LABEL)
    try:
        engine.start(made["Id"])
        wait_for(lambda: b"ready" in engine.logs(made["Id"]), seconds=60)
        begun = time.monotonic()
        engine.stop(made["Id"], timeout=10)
        took = time.monotonic() - begun

        assert engine.inspect_container(made["Id"])["State"]["ExitCode"] == 0
        assert took < 2
    finally:
        engine.remove_container(made["Id"], force=True, v=True)


def test_what_is_installed_fits_together(engine: APIClient, image: ImageResult) -> None:
    pip = ["pip", "--no-cache-dir", "--python", "/bundle/venv/bin/python"]

    status, said = run(engine, image.id, *pip, "check")

    assert (status, said.strip()) == (0, "No broken requirements found.")


@pytest.mark.parametrize(
    "module",
    ["typer", "rich", "docker", "pydantic", "boto3", "uv", "pip", "setuptools", "modelpack.store"],
)
def test_nothing_of_the_toolchain_is_inside(
    engine: APIClient, image: ImageResult, module: str
) -> None:
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"

    status, said = run(engine, image.id, "/bundle/venv/bin/python", "-I", "-c", program)

    assert (status, said) == (1, "")


def test_no_secret_is_in_the_history_or_in_a_file(engine: APIClient, image: ImageResult) -> None:
    history = json.dumps(engine.history(image.id)) + json.dumps(engine.inspect_image(image.id))
    assert SECRET not in history

    status, said = run(engine, image.id, "grep", "-r", "-l", SECRET, "/bundle", "/tmp")
    assert (status, said) == (1, "")


def test_the_labels_and_the_user_are_those_of_the_plan(
    engine: APIClient, image: ImageResult, plan: ImagePlan
) -> None:
    config = engine.inspect_image(image.id)["Config"]

    assert config["Labels"].items() >= plan.labels.items()
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"3000/tcp": {}, "8001/tcp": {}}
    assert config["Labels"]["dev.modelpack.port.grpc"] == "8001"
    assert 'GREETING=say "hi" to $HOME' in config["Env"]


def test_the_predicted_size_is_near_the_real_one(
    engine: APIClient, image: ImageResult, plan: ImagePlan, store: Store
) -> None:
    """Once the bundle was served here, all of its packages are known."""
    from modelpack.archive import ensure_environment

    ensure_environment(store.lock_text(plan.entry), plan.python)
    plan = plan_image(store, plan.entry, ImageSettings(), base=plan.base.image)
    base = engine.inspect_image(plan.base.image)["Size"]

    assert plan.unknown == (plan.base.image,)
    assert plan.known_size_bytes == pytest.approx(image.size_bytes - base, rel=0.1)


def test_building_it_again_gives_the_very_same_image(
    image: ImageResult, plan: ImagePlan, store: Store
) -> None:
    again = build_image(
        plan, store, reference=f"{image.reference}-again", engine="docker", labels=TEST_LABEL
    )
    with connect() as engine:
        engine.remove_image(again.reference)

    assert again.id == image.id


def test_a_code_change_keeps_the_layers_up_to_the_models(
    engine: APIClient, image: ImageResult, plan: ImagePlan, store: Store, project: Path
) -> None:
    changed = planned(store, project, f"{SERVICE}\n# a change\n")
    other = build_image(
        changed, store, reference=f"{image.reference}-other", engine="docker", labels=TEST_LABEL
    )
    try:
        before, after, base = (
            engine.inspect_image(name)["RootFS"]["Layers"]
            for name in (image.id, other.id, plan.base.image)
        )
    finally:
        engine.remove_image(other.id, force=True)

    kept = len(base) + len(["lock", "wheel", "packages", "model"])
    assert before[:kept] == after[:kept]
    assert before[kept:] != after[kept:]


def test_the_written_context_builds_the_same_image(
    engine: APIClient, image: ImageResult, plan: ImagePlan, store: Store, tmp_path: Path
) -> None:
    folder = write_context(plan, store, tmp_path / "context")

    reference = f"{image.reference}-context"
    said = list(
        engine.build(path=str(folder), tag=reference, rm=True, labels=TEST_LABEL, decode=True)
    )
    assert "error" not in said[-1]
    made = engine.inspect_image(reference)["Id"]
    engine.remove_image(reference)

    assert made == image.id


def test_both_builders_make_the_same_image(
    engine: APIClient, image: ImageResult, other_image: ImageResult
) -> None:
    """The same configuration, and the same files but for bytecode, which holds times."""
    assert other_image.id != image.id
    one, other = (engine.inspect_image(made.id)["Config"] for made in (image, other_image))
    keys = ("Env", "Entrypoint", "Cmd", "User", "Labels", "Healthcheck", "StopSignal")
    for key in (*keys, "ExposedPorts", "WorkingDir", "Volumes", "Shell"):
        assert one.get(key) == other.get(key), key

    listing = "find /bundle /tmp -xdev -type f -not -name '*.pyc' -exec sha256sum {} + | sort -k 2"
    files = [
        run(engine, made.id, "/bin/sh", "-c", listing)[1].splitlines()
        for made in (image, other_image)
    ]
    assert len(files[0]) > 500
    assert files[0] == files[1]


def test_the_containers_of_both_builders_give_equal_answers_and_end_well(
    engine: APIClient, container: str, other_image: ImageResult
) -> None:
    opened = running(other_image, engine)
    other = next(opened)
    try:
        for api, body in (
            ("add", {"x": [[1, 2], [3, 4.5], [-1e30, 1e30]]}),
            ("touch", {"path": "/bundle/code/x"}),
        ):
            assert ask(engine, other, api, body) == ask(engine, container, api, body)
        engine.stop(other, timeout=10)
        assert engine.inspect_container(other)["State"]["ExitCode"] == 0
    finally:
        opened.close()
