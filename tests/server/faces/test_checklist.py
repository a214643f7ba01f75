"""The checklist of what clients of other servers rely on: the lines have numbers, and so have the tests.

     1- 3  Open Inference Protocol over HTTP        6  SageMaker      9  payload logging
     4     and over gRPC                            7  platforms     10  the bundle format
     5     TensorFlow Serving                       8  Lambda

What each contract does beside it stands in the tests of its own.  Line 1 for gRPC needs an environment
of its own: ``grpc/test_peers``.
"""

from __future__ import annotations

import base64
import gzip
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton

import modelpack
from modelpack import registry as registries
from modelpack.archive import build_bundle
from modelpack.registry import parse as place
from modelpack.server.grpc.messages import message
from modelpack.store import Store
from tests.archive.conftest import hello, index, lay_out
from tests.collector import Collector, collector, sample
from tests.registry.stand_in.conftest import stand_in
from tests.server.faces.given import SMALL, as_before, doubling_model
from tests.server.lambda_ import conftest as lambdas
from tests.server.started import free_port, started, write_bundle

__all__ = ["collector", "hello", "index", "lay_out", "stand_in"]


@modelpack.service
class Trip:
    """Whatever comes in goes out."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x

    @modelpack.api
    def kinds(
        self,
        i: modelpack.Tensor["int64", "n"],
        b: modelpack.Tensor["bool", "n"],
        h: modelpack.Tensor["float16", "n"],
        t: modelpack.Tensor["str", "n"],
    ) -> dict[str, Any]:
        return {"i": i, "b": b, "h": h, "t": list(t)}

    @modelpack.api
    def size(self, file: bytes) -> int:
        return len(file)


@pytest.fixture(scope="module")
def served(start_once: Callable[..., Any]) -> Any:
    return start_once(Trip, accept_encoding=True)


def infer(served: Any, head: Any, behind: bytes = b"", **headers: str) -> httpx.Response:
    text = head if isinstance(head, bytes) else orjson.dumps(head)
    length = {"Inference-Header-Content-Length": str(len(text))} if behind else {}
    answer: httpx.Response = served.client.post(
        "/v2/models/trip/infer", content=text + behind, headers={**length, **headers}
    )
    return answer


ROWS = np.array([[1, 2], [3, 4]], np.float32)
IN_JSON = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
IN_BYTES = {
    "name": "x",
    "shape": [2, 2],
    "datatype": "FP32",
    "parameters": {"binary_data_size": 16},
}


def test_1_the_client_of_triton_makes_every_datatype_a_round_trip(served: Any) -> None:
    sent = {
        "i": ("INT64", np.array([1, -(2**60)])),
        "b": ("BOOL", np.array([True, False])),
        "h": ("FP16", np.array([0.5, -2], np.float16)),
        "t": ("BYTES", np.array([b"a", "é".encode()], object)),
    }
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        metadata = client.get_model_metadata("trip.kinds")
        inputs = []
        for name, (datatype, array) in sent.items():
            inputs.append(triton.InferInput(name, list(array.shape), datatype))
            inputs[-1].set_data_from_numpy(array)
        answer = client.infer("trip.kinds", inputs)
        x = triton.InferInput("x", [2, 2], "FP32").set_data_from_numpy(ROWS)
        rows = client.infer("trip", [x]).as_numpy("output")

    assert {one["name"]: one["datatype"] for one in metadata["inputs"]} == {
        name: datatype for name, (datatype, _) in sent.items()
    }
    for name, (_, array) in sent.items():
        assert answer.as_numpy(name).dtype == array.dtype
        assert answer.as_numpy(name).tolist() == array.tolist()
    assert np.array_equal(rows, ROWS)


def test_2_bare_bytes_mixed_forms_compression_and_wrong_lengths(served: Any) -> None:
    row = ROWS[:1].tobytes()
    bare = infer(served, row, **{"Inference-Header-Content-Length": "0"})
    mixed = infer(
        served,
        {"inputs": [IN_BYTES], "outputs": [{"name": "output"}]},
        ROWS.tobytes(),
    )
    text = orjson.dumps({"inputs": [IN_JSON]})
    squeezed = infer(served, gzip.compress(text), **{"Content-Encoding": "gzip"})
    short = infer(served, {"inputs": [IN_BYTES]}, ROWS.tobytes()[:-1])
    size = int(bare.headers["inference-header-content-length"])

    assert bare.content[size:] == row
    assert mixed.json()["outputs"][0]["data"] == [1, 2, 3, 4]
    assert squeezed.json()["outputs"][0]["data"] == [1, 2, 3, 4]
    assert (short.status_code, list(short.json())) == (400, ["error"])


def test_3_ids_subsets_flat_and_nested_data_empty_batches_and_open_axes(served: Any) -> None:
    outputs = [{"name": "output"}]
    flat = infer(served, {"id": "7", "inputs": [IN_JSON], "outputs": outputs}).json()
    nested = infer(served, {"inputs": [{**IN_JSON, "data": ROWS.tolist()}]}).json()
    empty = infer(served, {"inputs": [{**IN_JSON, "shape": [0, 2], "data": []}]})
    open_axis = infer(served, {"inputs": [{**IN_JSON, "shape": [-1, 2]}]})
    metadata = served.client.get("/v2/models/trip").json()

    assert flat["id"] == "7"
    assert flat["outputs"] == nested["outputs"]
    assert "id" not in nested
    assert (empty.status_code, open_axis.status_code) == (400, 400)
    assert metadata["inputs"][0]["shape"] == [-1, 2]


@pytest.fixture(scope="module")
def over_grpc(start_once: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Calls ModelInfer with the fields of a request; returns the answer."""
    port = free_port()
    start_once(Trip, grpc_port=int(port))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        def call(**fields: Any) -> Any:
            request = message("inference.ModelInferRequest")(model_name="trip", **fields)
            data = method(request.SerializeToString(), timeout=20)
            return message("inference.ModelInferResponse").FromString(data)

        yield call


def test_4_typed_contents_or_raw_ones_and_never_both(over_grpc: Callable[..., Any]) -> None:
    bare = {"name": "x", "datatype": "FP32", "shape": [2, 2]}
    typed = {**bare, "contents": {"fp32_contents": [1, 2, 3, 4]}}
    raw = {"raw_input_contents": [ROWS.tobytes()]}

    assert over_grpc(inputs=[typed]).outputs[0].contents.fp32_contents == [1, 2, 3, 4]
    assert over_grpc(inputs=[bare], **raw).raw_output_contents == [ROWS.tobytes()]
    with pytest.raises(grpc.RpcError) as both:
        over_grpc(inputs=[typed], **raw)
    assert both.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_5_tensorflow_rows_columns_base64_nan_labels_404_status_and_metadata(served: Any) -> None:
    model, data = "/v1/models/trip", base64.b64encode(b"abc").decode()

    def ask(path: str, body: bytes) -> Any:
        return served.client.post(path, content=body)

    rows = ask(f"{model}:predict", b'{"instances": [[1.0, 3.0]]}')
    columns = ask(f"{model}:predict", b'{"inputs": {"x": [[1.0, 3.0]]}}')
    packed = ask(f"{model}.size:predict", json.dumps({"inputs": {"b64": data}}).encode())
    odd = ask(f"{model}:predict", b'{"instances": [[NaN, -Infinity]]}')
    labelled = ask(f"{model}/labels/stable:predict", b'{"instances": [[1.0, 2.0]]}')
    missing = ask("/v1/models/quarter:predict", b'{"instances": [1.0]}')
    status = served.client.get(model).json()["model_version_status"]
    metadata = served.client.get(f"{model}/metadata").json()

    assert rows.json() == {"predictions": [[1.0, 3.0]]}
    assert columns.json() == {"outputs": [[1.0, 3.0]]}
    assert packed.json() == {"outputs": 3}
    assert odd.text == '{"predictions":[[NaN,-Infinity]]}'
    assert labelled.json() == {"predictions": [[1.0, 2.0]]}
    assert missing.status_code == 404
    assert missing.json() == {"error": "Servable not found for request: Latest(quarter)"}
    assert [(one["version"], one["state"]) for one in status] == [("1", "AVAILABLE")]
    assert set(metadata) == {"model_spec", "metadata"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "kinds", "size"}


# --- platforms, each as it starts an image ----------------------------------------------------------


def test_6_sagemaker_pings_while_busy_evicts_for_507_and_has_opaque_names(tmp_path: Path) -> None:
    bundle, model = write_bundle(tmp_path / "bundle"), doubling_model(tmp_path / "9c1f" / "model")
    service = bundle / "code" / "service.py"
    size = Path(model, "m.onnx").stat().st_size
    service.write_text(service.read_text() + SMALL.replace("{size}", str(size)))
    environ = {"SAGEMAKER_BIND_TO_PORT": free_port(), "SAGEMAKER_MULTI_MODEL": "true"}
    with (
        started("serve", MODELPACK_BUNDLE=str(bundle), **environ) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert url.endswith(f":{environ['SAGEMAKER_BIND_TO_PORT']}")
        body = {"seconds": 0.4}
        busy = [
            threading.Thread(target=httpx.post, args=(f"{url}/invocations",), kwargs={"json": body})
            for _ in range(2)
        ]
        for one in busy:
            one.start()
        time.sleep(0.1)
        began = time.monotonic()
        assert client.get("/ping").status_code == 200
        assert time.monotonic() - began < 2

        def load(name: str) -> int:
            asked = {"model_name": name, "url": model}
            return client.post("/models", json=asked).status_code

        assert [load("9c1f"), load("9c1f"), load("0a2e")] == [200, 409, 507]
        assert client.delete("/models/9c1f").status_code == 200
        assert load("0a2e") == 200
        answer = client.post("/models/0a2e/invoke", json={"instances": [[2]]})
        assert answer.json() == {"predictions": {"y": [[4]]}}
        for one in busy:
            one.join()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle whose answers take as long as they are told to."""
    return str(write_bundle(tmp_path_factory.mktemp("slow") / "bundle"))


PLATFORMS = {
    "vertex": (
        "AIP_HTTP_PORT",
        {"AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/v1/x:predict"},
        ("/h", "/v1/x:predict", {"instances": [1]}, {"predictions": ["done"]}),
    ),
    "azureml": (  # there the deployment names our own port
        "MODELPACK_PORT",
        {"AZUREML_MODEL_DIR": "/x"},
        ("/readyz", "/score", {"input_data": 1}, "done"),
    ),
    "cloudrun": (
        "PORT",
        {"K_SERVICE": "slow"},
        ("/health/ready", "/predict", {"seconds": 1}, "done"),
    ),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_7_odd_ports_and_routes_and_a_stop_that_answers_what_is_under_way(
    slow: str, platform: str
) -> None:
    name, environ, (health, path, body, expected) = PLATFORMS[platform]
    port = free_port()
    with started(MODELPACK_BUNDLE=slow, **{name: port}, **environ) as (process, url):
        assert url.endswith(f":{port}")
        assert httpx.get(f"{url}{health}").status_code == 200
        answers = list[httpx.Response]()
        call = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}{path}", json=body))
        )
        call.start()
        while 'in_flight_requests{api="predict"} 1' not in httpx.get(f"{url}/metrics").text:
            assert call.is_alive()
        process.send_signal(signal.SIGTERM)
        call.join()

        assert answers[0].json() == expected
        assert process.wait(timeout=10) == 0


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


# --- payload logging ---------------------------------------------------------------------------------


def test_9_payloads_come_in_pairs_and_a_dead_collector_costs_no_request(
    start: Callable[..., Any], collector: Collector
) -> None:
    path, body = "/v1/models/trip:predict", {"instances": [[1, 2]]}
    kept = start(Trip, payload_log_url=collector.url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        lost = start(Trip, payload_log_url=url, payload_log_max_events=2)
        answers = [one.post(path, body).json() for one in (kept, lost, lost, lost)]
    request, response = collector.pair()
    page = lost.client.get("/metrics").text

    assert request.get_id() == response.get_id()
    assert (request.get_data(), response.get_data()) == (body, answers[0])
    assert answers == [{"predictions": [[1.0, 2.0]]}] * 4
    dropped = "modelpack_payload_events_dropped_total"
    assert sample(page, dropped, reason="queue-full") == 4


# --- the bundle format -------------------------------------------------------------------------------


def test_10_a_bundle_is_built_alike_twice_and_read_in_both_generations_of_the_format(
    hello: Callable[..., Any], index: Any, stand_in: Any, tmp_path: Path
) -> None:
    """It travels through a registry; names of the format before v0.0.7 began with 'cnai'."""
    stores = [Store(tmp_path / name) for name in ("first", "second", "third")]
    built = [build_bundle(*hello(), store=store).entry for store in stores[:2]]
    assert built[0].digest == built[1].digest

    registries.push(stores[0], built[0], place(f"{stand_in.host}/hello:now"))
    as_before(stand_in, "hello", "now", "before")
    now, _ = registries.pull(stores[1], place(f"{stand_in.host}/hello:now"))
    before, _ = registries.pull(stores[2], place(f"{stand_in.host}/hello:before"))

    assert now.digest == built[0].digest
    assert before.digest != now.digest
    assert before.layers == now.layers
    assert (before.tag, before.kind) == (now.tag, now.kind)
    stores[2].verify(before)
