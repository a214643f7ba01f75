"""The checklist goes on with platforms: one line of it, one test.

What each of them does beside it stands in the tests of its own.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

import modelpack
from modelpack.server.faces import multi_model


def helper_of(name: str) -> ModuleType:
    """Load a helper that stands beside other tests; they are no package."""
    spec = importlib.util.spec_from_file_location(
        "_lambda_helper", Path(__file__).parents[1] / name
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_lambda_helper"] = module
    spec.loader.exec_module(module)
    return module


lambdas = helper_of("lambda_/conftest.py")


@modelpack.service
class Slow:
    """Waits."""

    @modelpack.api
    def predict(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"


def doubling_model(folder: Path) -> str:
    """Write an ONNX model that adds a number to itself; returns its folder."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "m.onnx")
    return str(folder)


def test_6_sagemaker_pings_while_busy_evicts_for_507_and_has_opaque_names(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is started with ``serve`` is in ``life/test_contract``, and in an image."""
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    monkeypatch.setattr(multi_model, "LOADED", 1_000_000)  # room for one such model
    running = start(Slow, runner="thread", faces="sagemaker")
    client = running.client
    url = doubling_model(tmp_path / "9c1f" / "model")
    size = Path(url, "m.onnx").stat().st_size * multi_model.LOADED
    room = (size * 1.5 + multi_model.PROCESS_BYTES) / multi_model.SHARE
    monkeypatch.setattr(multi_model, "memory_bytes", lambda: room)

    def load(name: str) -> int:
        return client.post("/models", json={"model_name": name, "url": url}).status_code

    busy = threading.Thread(
        target=httpx.post, args=(f"{running.url}/invocations",), kwargs={"json": {"seconds": 1}}
    )
    busy.start()
    time.sleep(0.1)
    began = time.monotonic()
    assert client.get("/ping").status_code == 200
    assert time.monotonic() - began < 2

    assert [load("9c1f"), load("9c1f"), load("0a2e")] == [200, 409, 507]
    assert client.delete("/models/9c1f").status_code == 200
    assert load("0a2e") == 200
    answer = client.post("/models/0a2e/invoke", json={"instances": [[2]]})
    assert answer.json() == {"predictions": {"y": [[4]]}}
    busy.join()


def test_7_odd_ports_and_routes_and_a_stop_that_answers_what_is_under_way(tmp_path: Path) -> None:
    code = (
        "import time, modelpack\n@modelpack.service\nclass Slow:\n"
        "    @modelpack.api\n    def predict(self, seconds: float) -> str:\n"
        "        time.sleep(seconds)\n        return 'done'\n"
    )
    bundle = lambdas.write_bundle(tmp_path / "bundle", code, "service:Slow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    environ = {
        "MODELPACK_BUNDLE": str(bundle),
        "MODELPACK_RUNNER": "thread",
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/odd/health",
        "AIP_PREDICT_ROUTE": "/odd/route:predict",
    }
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "modelpack.server"],
        env={**clean, **environ},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while '"ready"' not in process.stderr.readline():
            assert process.poll() is None
        url, answers = f"http://127.0.0.1:{port}", list[httpx.Response]()
        assert httpx.get(f"{url}/odd/health").status_code == 200
        body = {"instances": [1]}
        call = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/odd/route:predict", json=body))
        )
        call.start()
        while 'in_flight_requests{api="predict"} 1' not in httpx.get(f"{url}/metrics").text:
            assert call.is_alive()
        process.send_signal(signal.SIGTERM)
        call.join()

        assert answers[0].json() == {"predictions": ["done"]}
        process.communicate(timeout=10)
        assert process.returncode == 0


@pytest.mark.parametrize("who", ["ours", "awslambdaric"])
def test_8_events_of_both_formats_base64_errors_and_a_freeze(who: str, tmp_path: Path) -> None:
    data = bytes(range(256))
    octets = {"content-type": "application/octet-stream"}
    v2 = {
        "version": "2.0",
        "rawPath": "/picture",
        "headers": octets,
        "requestContext": {"http": {"method": "POST"}},
        "body": base64.b64encode(data).decode(),
        "isBase64Encoded": True,
    }
    v1 = {
        "httpMethod": "POST",
        "path": "/predict",
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "requestContext": {},
        "body": json.dumps({"x": [[1, 2]]}),
    }
    with lambdas.running(who, lambdas.write_bundle(tmp_path / "bundle")) as (api, process):
        picture = api.invoke(v2).json
        assert picture["isBase64Encoded"]
        assert base64.b64decode(picture["body"]) == data[::-1]
        process.send_signal(signal.SIGSTOP)
        sent = api.send(v1)
        time.sleep(0.3)
        process.send_signal(signal.SIGCONT)
        assert json.loads(api.wait(sent).json["body"]) == [3.0]
        failed = api.invoke({"x": "no"})
        assert (failed.kind, failed.json["errorType"]) == ("error", "bad-input")
