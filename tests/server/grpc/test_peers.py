"""Clients of others, unmodified, each in an environment of its own: ``make test-peers``.

They need protobuf of other versions than the tools here, and one of them TensorFlow.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.network]

X = np.arange(8, dtype=np.float32).reshape(2, 4)
TWICE = (X * 2).tolist()

TRITON = """
import json, queue, sys
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
found = {
    "live": client.is_server_live(), "ready": client.is_server_ready(),
    "models": [client.is_model_ready("demo"), client.is_model_ready("other")],
    "name": client.get_server_metadata().name,
    "inputs": client.get_model_metadata("demo", as_json=True)["inputs"],
    "most": client.get_model_config("demo", as_json=True)["config"]["max_batch_size"],
    "index": [one.name for one in client.get_model_repository_index().models][:2],
}

def tensor(name, array, datatype):
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return one

x = tensor("x", np.arange(8, dtype=np.float32).reshape(2, 4), "FP32")
wanted = [triton.InferRequestedOutput("output")]
answer = client.infer("demo", [x], outputs=wanted, request_id="7", timeout=5_000_000, priority=1)
found["fp32"], found["id"] = answer.as_numpy("output").tolist(), answer.get_response().id
best = [triton.InferRequestedOutput("output", class_count=1)]
found["best"] = client.infer("demo", [x], outputs=best).as_numpy("output").astype(str).tolist()
half = np.array([0.5, -2.0], np.float16)
found["fp16"] = client.infer("demo.half", [tensor("x", half, "FP16")]).as_numpy("output").tolist()

arrays = {
    "flag": ("BOOL", np.array([True, False])), "i8": ("INT8", np.array([-1, 2], np.int8)),
    "i16": ("INT16", np.array([-1, 2], np.int16)), "i32": ("INT32", np.array([-1, 2], np.int32)),
    "i64": ("INT64", np.array([-1, 2])), "u8": ("UINT8", np.array([1, 2], np.uint8)),
    "u16": ("UINT16", np.array([1, 2], np.uint16)), "u32": ("UINT32", np.array([1, 2], np.uint32)),
    "u64": ("UINT64", np.array([1, 2], np.uint64)), "f32": ("FP32", np.array([1, 2], np.float32)),
    "f64": ("FP64", np.array([1.5, 2])),
    "text": ("BYTES", np.array(["eins".encode(), "zw\\u00f6lf".encode()], dtype=np.object_)),
}
answer = client.infer("demo.types", [tensor(n, a, d) for n, (d, a) in arrays.items()])
found["types"] = [name for name, (_, array) in arrays.items()
                  if answer.as_numpy(name).tolist() == array.tolist()]

answers = queue.Queue()
client.start_stream(callback=lambda result, error: answers.put((result, error)))
client.async_stream_infer("demo.count", [tensor("to", np.array([3]), "INT64")], request_id="s",
                          enable_empty_final_response=True)
found["stream"] = []
while True:
    result, error = answers.get(timeout=20)
    response = result.get_response()
    if response.parameters["triton_final_response"].bool_param:
        break
    found["stream"].append(result.as_numpy("output").tolist()[0])
client.async_stream_infer("demo.count", [tensor("from", np.array([3]), "INT64")])
found["error"] = str(answers.get(timeout=20)[1])
client.stop_stream()
try:
    client.infer("other", [x])
except triton.InferenceServerException as error:
    found["status"] = error.status()
print(json.dumps(found))
"""

KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

async def main():
    async with InferenceGRPCClient(sys.argv[1]) as client:
        found = {"live": await client.is_server_live(), "ready": await client.is_server_ready(),
                 "model": await client.is_model_ready("demo")}
        for is_raw in (True, False):
            x = InferInput("x", [2, 4], "FP32")
            x.set_data_from_numpy(np.arange(8, dtype=np.float32).reshape(2, 4), binary_data=is_raw)
            request = InferRequest("demo", [x], request_id="k")
            answer = await client.infer(request)
            found[f"raw {is_raw}"] = answer.outputs[0].as_numpy().tolist()
        return found

print(json.dumps(asyncio.run(main())))
"""

OVMS = """
import json, sys
import numpy as np
import ovmsclient

client = ovmsclient.make_grpc_client(sys.argv[1])
x = np.arange(8, dtype=np.float32).reshape(2, 4)
metadata = client.get_model_metadata(model_name="demo")
print(json.dumps({
    "status": {str(n): one["state"] for n, one in client.get_model_status("demo").items()},
    "inputs": {name: [one["dtype"], one["shape"]] for name, one in metadata["inputs"].items()},
    "predict": client.predict(inputs={"x": x}, model_name="demo").tolist(),
    "version": client.predict(inputs={"x": x}, model_name="demo", model_version=1).tolist(),
    "half": client.predict(inputs={"x": np.array([0.5], np.float16)}, model_name="demo.half").tolist(),
}))
"""

TENSORFLOW = """
import json, sys
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)
request = predict_pb2.PredictRequest()
request.model_spec.name = "demo"
x = np.arange(8, dtype=np.float32).reshape(2, 4)
request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
answer = stub.Predict(request, 20)
request.inputs["x"].CopyFrom(tf.make_tensor_proto(1.5, dtype=tf.float32, shape=[1, 4]))
filled = stub.Predict(request, 20)
metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
metadata.model_spec.name = "demo"
packed = stub.GetModelMetadata(metadata, 20).metadata["signature_def"]
signatures = get_model_metadata_pb2.SignatureDefMap()
unpacked = packed.Unpack(signatures)
status = get_model_status_pb2.GetModelStatusRequest()
status.model_spec.name = "demo"
state = models.GetModelStatus(status, 20).model_version_status[0].state
try:
    status.model_spec.name = "half"
    models.GetModelStatus(status, 20)
except grpc.RpcError as error:
    refused = [error.code().name, error.details()]
def example(**lists):
    return tf.train.Example(features=tf.train.Features(feature=lists))

floats = example(x=tf.train.Feature(float_list=tf.train.FloatList(value=[0.0, 1.0, 2.0, 3.0])))
number = example(x=tf.train.Feature(int64_list=tf.train.Int64List(value=[7])))
request = classification_pb2.ClassificationRequest()
request.model_spec.name = "demo"
request.input.example_list.examples.extend([floats, floats])
classes = stub.Classify(request, 20).result.classifications
request = regression_pb2.RegressionRequest()
request.model_spec.name, request.model_spec.signature_name = "demo", "together"
request.input.example_list.examples.append(number)
values = stub.Regress(request, 20).result.regressions
request = inference_pb2.MultiInferenceRequest()
request.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "demo"
request.input.example_list.examples.append(floats)
(result,) = stub.MultiInference(request, 20).results
print(json.dumps({
    "classes": [[(each.label, each.score) for each in one.classes] for one in classes],
    "values": [one.value for one in values],
    "multi": len(result.classification_result.classifications),
    "array": tf.make_ndarray(answer.outputs["output"]).tolist(),
    "list": list(answer.outputs["output"].float_val),
    "filled": tf.make_ndarray(filled.outputs["output"]).tolist(),
    "unpacked": unpacked, "signatures": sorted(signatures.signature_def)[-2:],
    "state": state, "refused": refused,
}))
"""

Ask = Callable[[str, str], Any]


@pytest.fixture
def ask(served: Any, tmp_path: Path) -> Any:
    """Run a program against the server in an environment with some packages."""

    def run(program: str, *packages: str, without: str = "") -> Any:
        folder = tmp_path / "environment"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        install = [python, "-m", "pip", "install", "-q"]
        subprocess.run([*install, *packages], check=True, timeout=1800)
        if without:  # what it brings stands in another package already
            subprocess.run([*install, "--no-deps", without], check=True, timeout=600)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
        done = subprocess.run(
            [python, "-c", program, served.target],
            cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_the_client_of_triton_is_content(ask: Any) -> None:
    found = ask(TRITON, "tritonclient[grpc]")

    assert found["live"] is found["ready"] is True
    assert found["models"] == [True, False]
    assert found["name"] == "modelpack"
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
    assert (found["most"], found["index"]) == (32, ["demo", "demo.types"])
    assert (found["fp32"], found["id"]) == (TWICE, "7")
    assert found["best"] == [["6.000000:3"], ["14.000000:3"]]
    assert found["fp16"] == [0.5, -2.0]
    assert len(found["types"]) == 12
    assert found["stream"] == [0, 1, 2]
    assert "/to" in found["error"]
    assert found["status"] == "StatusCode.NOT_FOUND"


def test_the_client_of_kserve_is_content(ask: Any) -> None:
    found = ask(KSERVE, "kserve")

    assert found == {
        "live": True, "ready": True, "model": True, "raw True": TWICE, "raw False": TWICE,
    }  # fmt: skip


def test_the_client_of_openvino_is_content(ask: Any) -> None:
    found = ask(OVMS, "ovmsclient")

    assert found == {
        "status": {"1": "AVAILABLE"},
        "inputs": {"x": ["DT_FLOAT", [-1, 4]]},
        "predict": TWICE,
        "version": TWICE,
        "half": [0.5],
    }


def test_the_stubs_of_tensorflow_serving_are_content(ask: Any) -> None:
    found = ask(TENSORFLOW, "tensorflow-cpu", without="tensorflow-serving-api")

    assert found["array"] == TWICE
    assert found["list"] == (X * 2).ravel().tolist()
    assert found["classes"] == [[["0", 0.0], ["1", 2.0], ["2", 4.0], ["3", 6.0]]] * 2
    assert (found["values"], found["multi"]) == ([1.0], 1)
    assert found["filled"] == [[3.0] * 4]
    assert found["unpacked"] is True
    assert found["signatures"] == ["together", "types"]
    assert found["state"] == 30
    assert found["refused"] == ["NOT_FOUND", "Servable not found for request: Latest(half)"]
