"""The three examples as images that no engine built: loaded, pulled, run, called and stopped.

    example ──train, build──► bundle ──build_direct──┬─► docker load ──┐
                                  │                  ├─► registry, pull ┼─► container ──► the same answers
                                  │                  └─► layout, runc ──┘
                                  └──classic, BuildKit─► container ──► the same answers

The front door is the command, as users have it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelpack.image import connect
from modelpack.store import Kind, Store
from modelpack.tag import Tag

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
LABEL = {"dev.modelpack.test": "1"}
RUN = uuid.uuid4().hex[:10]
READY_WITHIN_S = 60


@dataclass(frozen=True)
class Sample:
    """An example that was built as a bundle, and a request for it."""

    name: str
    folder: Path
    home: Path
    tag: str
    api: str
    body: bytes

    def modelpack(self, *words: object) -> str:
        """Run ``modelpack`` as its user; returns standard output."""
        program = Path(sys.executable).with_name("modelpack")
        done = subprocess.run(
            [program, *map(str, words)],
            cwd=self.folder,
            env={**os.environ, "MODELPACK_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def containerize(self, *words: object) -> Any:
        base = f"engine:{os.environ['ENGINE_BASE_IMAGE']}"
        known = ["--engine", "none", "--base", base, "-o", "json"]
        return json.loads(self.modelpack("containerize", self.tag, *known, *words))


def sample(name: str, api: str, root: Path) -> Sample:
    """Copy an example, train it as its README says, and build its bundle."""
    folder = root / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = Sample(name, folder, root / "home", "", api, b"")
    if (folder / "train.py").is_file():
        environ = {**os.environ, "MODELPACK_HOME": str(made.home)}
        words = [sys.executable, "train.py"]
        subprocess.run(words, cwd=folder, env=environ, check=True, capture_output=True, timeout=120)
    tag = made.modelpack("build").strip()
    return Sample(name, folder, made.home, tag, api, (folder / "example.json").read_bytes())


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    root = tmp_path_factory.mktemp("samples")
    apis = {"digits-onnx": "predict", "iris-sklearn": "predict", "python-function": "keywords"}
    return {name: sample(name, api, root) for name, api in apis.items()}


@pytest.fixture(scope="module")
def engine() -> Iterator[APIClient]:
    with connect() as client:
        yield client
        for image in client.images(filters={"label": "dev.modelpack.tag"}):
            for name in image["RepoTags"] or ():
                if RUN in name:
                    client.remove_image(name, force=True)


@pytest.fixture(scope="module")
def everywhere(
    samples: dict[str, Sample], engine: APIClient, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Give what ``containerize`` said of each example: in the engine, a registry and a layout."""
    registry = os.environ["ENGINE_REGISTRY"]
    layout = tmp_path_factory.mktemp("layout") / "out"
    return {
        name: one.containerize(
            *("--reference", f"{name}-{RUN}:1", "--output", "engine"),
            *("--output", f"{registry}/direct-{RUN}/{name}:1", "--output", f"oci:{layout}"),
        )
        for name, one in samples.items()
    }


@contextmanager
def running(engine: APIClient, image: str) -> Iterator[str]:
    """Run an image as strictly as an engine can; gives its URL and stops it at the end."""
    made = engine.create_container(
        image,
        labels=LABEL,
        host_config=engine.create_host_config(
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            port_bindings={3000: ("127.0.0.1", None)},
        ),
    )["Id"]
    try:
        engine.start(made)
        port = engine.inspect_container(made)["NetworkSettings"]["Ports"]["3000/tcp"][0]["HostPort"]
        wait_for(f"http://127.0.0.1:{port}/readyz", lambda: engine.logs(made).decode())
        yield f"http://127.0.0.1:{port}"
        engine.stop(made, timeout=10)
        assert engine.inspect_container(made)["State"]["ExitCode"] == 0
    finally:
        engine.remove_container(made, force=True, v=True)


def wait_for(url: str, log: Callable[[], str]) -> None:
    end = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < end, log()
            time.sleep(0.05)


def ask(url: str, one: Sample) -> bytes:
    head = {"content-type": "application/json"}
    request = urllib.request.Request(f"{url}/{one.api}", data=one.body, headers=head)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("name", ["digits-onnx", "iris-sklearn", "python-function"])
def test_an_example_answers_the_same_loaded_and_pulled(
    samples: dict[str, Sample], everywhere: dict[str, Any], engine: APIClient, name: str
) -> None:
    """And both are one image: the engine knows it by the digest of the config."""
    pulled = f"{os.environ['ENGINE_REGISTRY']}/direct-{RUN}/{name}:1"
    (image,) = everywhere[name]["images"]
    engine.pull(pulled)
    try:
        with running(engine, f"{name}-{RUN}:1") as url:
            first = ask(url, samples[name])
        with running(engine, pulled) as url:
            second = ask(url, samples[name])
        ids = {engine.inspect_image(one)["Id"] for one in (pulled, f"{name}-{RUN}:1")}
    finally:
        engine.remove_image(pulled, force=True)

    assert first == second
    assert json.loads(first)
    assert ids == {image["id"]}


@pytest.mark.parametrize("builder", ["docker", "buildkit"])
@pytest.mark.parametrize("example", ["digits-onnx", "iris-sklearn", "python-function"])
def test_an_engine_that_builds_it_gets_the_same_answers(
    samples: dict[str, Sample],
    everywhere: dict[str, Any],
    engine: APIClient,
    *,
    example: str,
    builder: str,
) -> None:
    one = samples[example]
    name, base = f"{example}-{builder}-{RUN}:1", os.environ["ENGINE_BASE_IMAGE"]
    known = ["--base", base, "--reference", name, "--engine", builder]
    one.modelpack("containerize", one.tag, *known)
    try:
        with running(engine, name) as url:
            built = ask(url, one)
        with running(engine, f"{example}-{RUN}:1") as url:
            direct = ask(url, one)
        settings = [engine.inspect_image(each)["Config"] for each in (name, f"{example}-{RUN}:1")]
    finally:
        engine.remove_image(name, force=True)

    assert built == direct
    for key in ("User", "Entrypoint", "WorkingDir", "ExposedPorts", "StopSignal", "Healthcheck"):
        assert settings[0][key] == settings[1][key], key
    assert {*settings[0]["Env"]} == {*settings[1]["Env"]}


def test_a_code_change_sends_the_code_and_its_documents(
    samples: dict[str, Sample], everywhere: dict[str, Any]
) -> None:
    """To the engine and to the registry: all the rest is there already.

    The layer of the code holds the lock as well, which is as long as the index has files.
    """
    words = samples["python-function"]
    source = words.folder / "service.py"
    source.write_text(source.read_text() + "\n# a change\n")
    tag = words.modelpack("build").strip()
    changed = Sample(words.name, words.folder, words.home, tag, words.api, words.body)
    place = f"{os.environ['ENGINE_REGISTRY']}/direct-{RUN}/{words.name}:2"

    made = changed.containerize(
        *("--reference", f"{words.name}-{RUN}:2", "--output", "engine", "--output", place)
    )

    code = Store(words.home / "store").find(Tag.parse(tag), Kind.BUNDLE).layers[-1]
    assert code.path == "bundle/code"
    assert tag != words.tag
    assert made["digest"] != everywhere[words.name]["digest"]
    assert all(one["new_bytes"] < code.size + 25_000 for one in made["outputs"]), made["outputs"]


def test_pip_finds_nothing_broken_in_it(everywhere: dict[str, Any], engine: APIClient) -> None:
    """The base's pip looks at the packages of the image, as a user would."""
    command = ["pip", "--no-cache-dir", "--python", "/bundle/venv/bin/python", "check"]
    made = engine.create_container(
        f"digits-onnx-{RUN}:1", entrypoint=command, labels=LABEL, environment={"HOME": "/tmp"}
    )["Id"]
    try:
        engine.start(made)
        status = engine.wait(made, timeout=120)["StatusCode"]
        said = engine.logs(made).decode().strip()
    finally:
        engine.remove_container(made, force=True, v=True)

    assert (status, said) == (0, "No broken requirements found.")


def test_it_is_a_function_of_lambda_as_it_is(
    samples: dict[str, Sample], everywhere: dict[str, Any], engine: APIClient
) -> None:
    """With the variables, the memory and the one writable folder that the function's template has.

    Events come from the Runtime API of the tests, through the probe that a deploy asks with.
    """
    from modelpack_aws.lambda_ import render, size_of
    from modelpack_aws.lambda_mode import LambdaMode
    from modelpack_aws.stack import Stack
    from modelpack_aws.wanted import Wanted

    from modelpack.deploy.probe import examples
    from tests.server.lambda_.conftest import RuntimeApi

    digits = samples["digits-onnx"]
    wanted = Wanted(name="digits", bundle=digits.tag, revision="0" * 12, env={"GREETING": "hello"})
    function = render(wanted).resources["Function"]["Properties"]
    api = RuntimeApi()
    made = engine.create_container(
        f"{digits.name}-{RUN}:1",
        labels=LABEL,
        user="993:990",  # nobody whom the image knows, as at Lambda
        environment={
            **function["Environment"]["Variables"],
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": function["FunctionName"],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
        },
        host_config=engine.create_host_config(
            read_only=True,
            tmpfs={"/tmp": f"size={function['EphemeralStorage']['Size']}m"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=f"{size_of(wanted).memory_mb}m",
            shm_size="64k",
            network_mode="host",
        ),
    )["Id"]

    class Clients:
        """Invokes what runs behind the Runtime API."""

        region = "eu-west-1"

        def client(self, _: str) -> Any:
            return self

        def invoke(self, *, Payload: bytes, **_: str) -> Any:
            outcome = api.invoke(json.loads(Payload))
            failed = {"FunctionError": "Unhandled"} if outcome.kind == "error" else {}
            return {"Payload": io.BytesIO(outcome.body), **failed}

    mode, stack = (
        LambdaMode(),
        Stack(name="s", id="s", status="", outputs={"Function": "f", "Version": "1"}),
    )
    try:
        engine.start(made)
        document = json.loads(mode.fetch(Clients(), stack, "/openapi.json", timeout_s=30).body)
        ((route, example),) = examples(document)
        sample_answer = mode.fetch(
            Clients(), stack, route, body=json.dumps(example).encode(), timeout_s=30
        )
        answer = mode.fetch(Clients(), stack, route, body=digits.body, timeout_s=30)
        direct = api.invoke(json.loads(digits.body))
        engine.stop(made, timeout=10)
        state, log = engine.inspect_container(made)["State"], engine.logs(made).decode()
    finally:
        engine.remove_container(made, force=True, v=True)
        api.close()

    assert document["info"]["version"] == digits.tag.partition(":")[2]
    assert (sample_answer.status, answer.status) == (200, 200), answer.body
    assert (direct.kind, direct.json) == ("response", json.loads(answer.body))
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), log
    assert "Traceback" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="runc runs as root")
def test_runc_runs_it_without_any_engine(
    samples: dict[str, Sample], everywhere: dict[str, Any], tmp_path: Path
) -> None:
    for program in ("umoci", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"'{program}' is not installed")
    digits = samples["digits-onnx"]
    written = [one["output"] for one in everywhere[digits.name]["outputs"]]
    (layout,) = [one.removeprefix("oci:") for one in written if one.startswith("oci:")]
    place = tmp_path / "place"
    subprocess.run(["umoci", "unpack", "--image", layout, place], check=True, timeout=120)
    port = free_port()
    _for_this_machine(place / "config.json", port)

    with (tmp_path / "log").open("wb") as log:
        container = f"direct-{RUN}"
        runc = subprocess.Popen(
            ["runc", "run", "--bundle", place, container], stdout=log, stderr=log
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", (tmp_path / "log").read_text)
            answer = ask(f"http://127.0.0.1:{port}", digits)
            subprocess.run(["runc", "kill", container, "TERM"], check=True, timeout=30)
            status = runc.wait(timeout=30)
        finally:
            if runc.poll() is None:
                subprocess.run(["runc", "kill", container, "KILL"], check=False, timeout=30)
                runc.wait(timeout=30)

    assert json.loads(answer)["label"]
    assert status == 0


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _for_this_machine(file: Path, port: int) -> None:
    """Let the container use this machine's network, and no limit above this process's own."""
    spec = json.loads(file.read_text())
    spec["linux"]["namespaces"] = [
        one for one in spec["linux"]["namespaces"] if one["type"] != "network"
    ]
    spec["linux"]["cgroupsPath"] = f"/modelpack-test-{RUN}"
    process = spec["process"]
    process["rlimits"] = []
    process["terminal"] = False
    process["env"] += [f"MODELPACK_PORT={port}", "MODELPACK_HOST=127.0.0.1"]
    spec["root"]["readonly"] = True
    file.write_text(json.dumps(spec))
