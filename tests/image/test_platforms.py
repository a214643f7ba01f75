"""One image of a bundle, started as SageMaker, Vertex AI, Azure ML, Cloud Run and Lambda start it.

Each of them has its own user, port, argument, variables and file system; the image is the same.
"""

from __future__ import annotations

import http.server
import json
import os
import queue
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelpack.config.settings import ImageSettings, Project
from modelpack.image import build_image, connect, plan_image
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

LABEL = {"dev.modelpack.test": "1"}
MODULE = f"sums_{uuid.uuid4().hex[:8]}"
SERVICE = '''
import time
import modelpack

@modelpack.service
class Sums:
    """Adds."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1)

    @modelpack.api
    async def wait(self, seconds: float) -> str:
        import asyncio
        await asyncio.sleep(seconds)
        return "waited"
'''
ROWS = [[1, 2], [3, 4.5]]
SUMS = [3.0, 7.5]


@pytest.fixture(scope="module")
def engine() -> Iterator[APIClient]:
    with connect() as client:
        yield client


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image that every platform gets."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    root = tmp_path_factory.mktemp("platforms")
    (root / f"{MODULE}.py").write_text(SERVICE)
    store = Store(tmp_path_factory.mktemp("platforms-store") / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        spec = load_import_string(f"{MODULE}:Sums", root)
        built = build_bundle(Project(root=root, name="sums"), spec, store=store)
    plan = plan_image(store, built.entry, ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"])
    reference = f"modelpack-test/sums:{uuid.uuid4().hex}"
    result = build_image(plan, store, reference=reference, engine="docker", labels=LABEL)
    yield result.id
    with connect() as client:
        client.remove_image(result.id, force=True)


@contextmanager
def started(
    engine: APIClient,
    image: str,
    *,
    port: int,
    command: list[str] | None = None,
    user: str | None = None,
    env: dict[str, str] | None = None,
    **host: Any,
) -> Iterator[tuple[str, str]]:
    """Start a container; gives its id and the URL of its port."""
    made = engine.create_container(
        image,
        command=command,
        user=user,
        environment=env or {},
        ports=[port],
        labels=LABEL,
        host_config=engine.create_host_config(
            port_bindings={port: ("127.0.0.1", None)}, cap_drop=["ALL"], **host
        ),
    )["Id"]
    try:
        engine.start(made)
        found = engine.inspect_container(made)["NetworkSettings"]["Ports"][f"{port}/tcp"][0]
        yield made, f"http://127.0.0.1:{found['HostPort']}"
    finally:
        engine.remove_container(made, force=True, v=True)


def ask(url: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_for(url: str, *, seconds: float = 60) -> None:
    """Return once a health route says 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ask(url)[0] == 200:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    pytest.fail(f"'{url}' did not say 200")


def ends_cleanly(engine: APIClient, container: str, url: str, path: str, body: Any) -> Any:
    """Tell the container to end while it answers; returns the answer."""
    answers: list[Any] = []
    call = threading.Thread(target=lambda: answers.append(ask(f"{url}{path}", body)))
    call.start()
    time.sleep(0.5)
    engine.stop(container, timeout=10)
    call.join()
    assert engine.inspect_container(container)["State"]["ExitCode"] == 0
    return answers[0]


def test_sagemaker_runs_it_with_serve_as_root(engine: APIClient, image: str) -> None:
    with started(engine, image, port=8080, command=["serve"], user="0:0") as (container, url):
        wait_for(f"{url}/ping")

        assert ask(f"{url}/invocations", {"x": ROWS}) == (200, SUMS)
        assert ask(f"{url}/invocations", b"1,2\n3,4.5\n", "text/csv") == (
            200,
            {"predictions": SUMS},
        )
        answer = ends_cleanly(
            engine, container, url, "/endpoints/sums-wait/invocations", {"seconds": 1.5}
        )
        assert answer == (200, "waited")


def test_sagemaker_may_choose_the_port(engine: APIClient, image: str) -> None:
    env = {"SAGEMAKER_BIND_TO_PORT": "14000"}
    with started(engine, image, port=14000, command=["serve"], env=env) as (_, url):
        wait_for(f"{url}/ping")


def test_vertex_gives_it_port_and_routes(engine: APIClient, image: str) -> None:
    env = {
        "AIP_HTTP_PORT": "7080",
        "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
        "AIP_MODE": "PREDICTION",
    }
    with started(engine, image, port=7080, env=env) as (_, url):
        wait_for(url + env["AIP_HEALTH_ROUTE"])

        answer = ask(url + env["AIP_PREDICT_ROUTE"], {"instances": ROWS, "parameters": {}})
        assert answer == (200, {"predictions": SUMS})


def test_azure_asks_at_the_routes_of_the_deployment(
    engine: APIClient, image: str, tmp_path: Path
) -> None:
    """The model folder that it mounts is empty: the image has its own."""
    env = {"AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/sums/1"}
    with started(engine, image, port=3000, env=env) as (_, url):
        wait_for(f"{url}/readyz")

        assert ask(f"{url}/livez")[0] == 200
        assert ask(f"{url}/score", {"input_data": {"columns": ["a", "b"], "data": ROWS}}) == (
            200,
            SUMS,
        )


def test_cloud_run_gives_it_a_port_and_ten_seconds_to_end(engine: APIClient, image: str) -> None:
    env = {"PORT": "8888", "K_SERVICE": "sums", "K_REVISION": "sums-1", "K_CONFIGURATION": "sums"}
    limits = {"read_only": True, "tmpfs": {"/tmp": ""}, "mem_limit": "512m"}
    with started(engine, image, port=8888, env=env, **limits) as (container, url):
        wait_for(f"{url}/health/ready")

        assert ask(f"{url}/predict", {"x": ROWS}) == (200, SUMS)
        states = [health(engine, container)]
        while states[-1] == "starting" and len(states) < 100:
            time.sleep(0.2)
            states.append(health(engine, container))
        assert states[-1] == "healthy"
        answer = ends_cleanly(engine, container, url, "/wait", {"seconds": 1.5})
        assert answer == (200, "waited")


def health(engine: APIClient, container: str) -> str:
    return str(engine.inspect_container(container)["State"]["Health"]["Status"])


def test_lambda_sends_it_events(engine: APIClient, image: str) -> None:
    """No port, a root that is read-only, a user of Lambda's own, no shared memory to speak of."""
    with runtime_api() as (address, events, outcomes):
        made = engine.create_container(
            image,
            user="993:990",
            environment={
                "AWS_LAMBDA_RUNTIME_API": address,
                "AWS_LAMBDA_FUNCTION_NAME": "sums",
                "HOME": "/nowhere",
            },
            labels=LABEL,
            host_config=engine.create_host_config(
                network_mode="host",
                read_only=True,
                tmpfs={"/tmp": ""},
                cap_drop=["ALL"],
                shm_size="64k",
            ),
        )["Id"]
        try:
            engine.start(made)
            events.put({"x": ROWS})
            assert outcomes.get(timeout=60) == ("response", SUMS)
            events.put(
                {
                    "version": "2.0",
                    "rawPath": "/invocations",
                    "headers": {"content-type": "text/csv"},
                    "requestContext": {"http": {"method": "POST"}},
                    "body": "1,2\n3,4.5\n",
                }
            )
            kind, answer = outcomes.get(timeout=20)
            assert (kind, answer["statusCode"]) == ("response", 200)
            assert json.loads(answer["body"]) == {"predictions": SUMS}
            events.put({"x": [[1]]})
            kind, error = outcomes.get(timeout=20)
            assert (kind, error["errorType"]) == ("error", "bad-input")
            engine.stop(made, timeout=5)
            assert engine.inspect_container(made)["State"]["ExitCode"] == 0
        finally:
            engine.remove_container(made, force=True, v=True)


@contextmanager
def runtime_api() -> Iterator[tuple[str, queue.Queue[Any], queue.Queue[Any]]]:
    """Serve Lambda's Runtime API; gives its address, the events to send and what is answered."""
    events: queue.Queue[Any] = queue.Queue()
    outcomes: queue.Queue[Any] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            event = json.dumps(events.get()).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", uuid.uuid4().hex)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 20_000))
            self.send_header("Content-Length", str(len(event)))
            self.end_headers()
            self.wfile.write(event)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            outcomes.put((self.path.rsplit("/", 1)[1], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", events, outcomes
        finally:
            events.put({})
            server.shutdown()
            thread.join()
    with socket.socket() as probe:  # nothing listens there any more
        assert probe.connect_ex(("127.0.0.1", server.server_port))
