"""Whatever the bytes of a message are, the answer is an answer or a plain refusal."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TORCHSERVE = "org.pytorch.serve.grpc.inference"
METHODS = {
    "/inference.GRPCInferenceService/ModelInfer": "inference.ModelInferRequest",
    "/tensorflow.serving.PredictionService/Predict": "tensorflow.serving.PredictRequest",
    "/tensorflow.serving.PredictionService/Classify": "tensorflow.serving.ClassificationRequest",
    f"/{TORCHSERVE}.InferenceAPIsService/Predictions": f"{TORCHSERVE}.PredictionsRequest",
}
PLAIN = {"INVALID_ARGUMENT", "NOT_FOUND"}


def whole(make: Any, path: str) -> bytes:
    """Return a request that fits."""
    rows = np.ones((2, 4), np.float32)
    if path.endswith("ModelInfer"):
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4]}
        request = make(METHODS[path])(
            model_name="demo", id="1", inputs=[tensor], raw_input_contents=[rows.tobytes()],
            parameters={"priority": {"int64_param": 1}}, outputs=[{"name": "output"}],
        )  # fmt: skip
    elif path.endswith("Predictions"):
        text = b'{"x": [[1, 2, 3, 4], [5, 6, 7, 8]]}'
        request = make(METHODS[path])(model_name="demo", input={"data": text})
    elif path.endswith("Classify"):
        features = {"features": {"feature": {"x": {"float_list": {"value": rows[0].tolist()}}}}}
        examples = {"example_list": {"examples": [features, features]}}
        request = make(METHODS[path])(model_spec={"name": "demo"}, input=examples)
    else:
        request = make(METHODS[path])(model_spec={"name": "demo", "version": {"value": 1}})
        shape = {"dim": [{"size": 2}, {"size": 4}]}
        one = {"dtype": 1, "tensor_shape": shape, "float_val": rows.ravel().tolist()}
        request.inputs["x"].CopyFrom(make("tensorflow.TensorProto")(**one))
    encoded: bytes = request.SerializeToString()
    return encoded


def status_of(served: Any, path: str, body: bytes) -> str:
    try:
        served.send(path, body)
    except grpc.RpcError as error:
        name: str = error.code().name
        return name
    return "OK"


def test_a_request_with_bytes_changed_is_answered_or_refused(served: Any, make: Any) -> None:
    bodies = {path: whole(make, path) for path in METHODS}
    assert {status_of(served, path, body) for path, body in bodies.items()} == {"OK"}
    found = set()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(sorted(METHODS)),
        st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3),
        st.integers(0, 200),
    )
    def ask(path: str, changes: list[tuple[int, int]], cut: int) -> None:
        body = bytearray(bodies[path])
        for at, value in changes:
            body[at % len(body)] = value
        if cut < len(body) // 2:
            del body[len(body) - cut :]
        status = status_of(served, path, bytes(body))
        found.add(status)
        assert status in {"OK", *PLAIN}, bytes(body)

    ask()
    assert "INVALID_ARGUMENT" in found
    assert served.events("internal") == []


def test_a_message_of_nothing_is_not_found(served: Any) -> None:
    assert {status_of(served, path, b"") for path in METHODS} == {"NOT_FOUND"}
