"""TensorFlow Serving's gRPC: predict, metadata and status, as its clients ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
FLOAT, DOUBLE, INT32, STRING, INT64, BOOL, HALF = 1, 2, 3, 7, 9, 10, 19
Why = Callable[..., tuple[str, str]]

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def tensor(dtype: int, shape: list[int], **values: Any) -> dict[str, Any]:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": n} for n in shape]}, **values}


CONTENT = tensor(FLOAT, [2, 4], tensor_content=ROWS.tobytes())


@pytest.fixture
def predict(served: Any, make: Any) -> Any:
    """Call Predict; returns its answer."""

    def send(spec: dict[str, Any], inputs: dict[str, Any], **more: Any) -> Any:
        request = make("tensorflow.serving.PredictRequest")(model_spec=spec, **more)
        for name, one in inputs.items():
            request.inputs[name].CopyFrom(make("tensorflow.TensorProto")(**one))
        return served.call(PREDICT, request, "tensorflow.serving.PredictResponse")

    return send


@pytest.mark.parametrize("x", [CONTENT, tensor(FLOAT, [2, 4], float_val=ROWS.ravel().tolist())])
def test_a_prediction_has_the_form_of_tensorflow_serving(predict: Any, x: dict[str, Any]) -> None:
    answer = predict({"name": "demo"}, {"x": x})

    output = answer.outputs["output"]
    assert (output.dtype, [dim.size for dim in output.tensor_shape.dim]) == (FLOAT, [2, 4])
    assert list(output.float_val) == (ROWS * 2).ravel().tolist()
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("demo", 1, "serving_default")


def test_one_element_fills_a_tensor(predict: Any) -> None:
    answer = predict({"name": "demo"}, {"x": tensor(FLOAT, [2, 4], float_val=[1.5])})

    assert list(answer.outputs["output"].float_val) == [3.0] * 8


def test_half_precision_is_kept_as_its_bits(predict: Any) -> None:
    bits = np.array([0.5, -2.0], np.float16).view(np.uint16).tolist()

    answer = predict({"name": "demo.half"}, {"x": tensor(HALF, [2], half_val=bits)})

    assert list(answer.outputs["output"].half_val) == bits


def test_texts_are_bytes(predict: Any) -> None:
    answer = predict({"name": "demo.label"}, {"text": tensor(STRING, [1], string_val=[b"ab"])})

    assert list(answer.outputs["output"].string_val) == [b"abab"]


@pytest.mark.parametrize(
    "spec",
    [
        {"signature_name": "serving_default"},
        {"signature_name": "predict"},
        {"version": {"value": 1}},
        {"version": {"value": 0}},
        {"version_label": "stable"},
        {"version_label": "1"},
    ],
)
def test_what_is_served_has_versions_labels_and_signatures(
    predict: Any, spec: dict[str, Any]
) -> None:
    answer = predict({"name": "demo", **spec}, {"x": CONTENT})

    assert len(answer.outputs["output"].float_val) == 8


def test_a_signature_is_another_api(predict: Any) -> None:
    spec = {"name": "demo", "signature_name": "label"}

    answer = predict(spec, {"text": tensor(STRING, [1], string_val=[b"x"])})

    assert list(answer.outputs["output"].string_val) == [b"xx"]
    assert answer.model_spec.signature_name == "label"


def test_only_outputs_of_the_filter_come(predict: Any, why: Why) -> None:
    answer = predict({"name": "demo"}, {"x": CONTENT}, output_filter=["output"])

    assert list(answer.outputs) == ["output"]
    code, text = why(lambda: predict({"name": "demo"}, {"x": CONTENT}, output_filter=["y"]))
    assert code == "INVALID_ARGUMENT"
    assert "'y'" in text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"name": "half"}, "Servable not found for request: Latest(half)"),
        ({"name": "demo", "version": {"value": 7}}, "Servable not found for request: Specific(demo, 7)"),
        ({"name": "demo", "version_label": "old"}, "Servable not found for request: Label(demo, old)"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_not_found_in_its_words(
    predict: Any, why: Why, spec: dict[str, Any], text: str
) -> None:
    assert why(lambda: predict(spec, {"x": CONTENT})) == ("NOT_FOUND", text)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (tensor(DOUBLE, [1, 4], double_val=[1.0] * 4), "datatype FP32"),
        (tensor(FLOAT, [1, 4], float_val=[1.0] * 5), "float_val"),
        (tensor(FLOAT, [1, 4]), "float_val"),
        (tensor(FLOAT, [2, -4], float_val=[1.0]), "shape"),
        (tensor(FLOAT, [2**30, 4], float_val=[1.0]), "of one element"),
        (tensor(FLOAT, [2**62, 2**62], float_val=[1.0]), "shape"),
        (tensor(FLOAT, [1, 4], tensor_content=b"abc"), "3 bytes"),
        (tensor(0, [1, 4], float_val=[1.0]), "dtype 0"),
        (tensor(8, [1, 4], float_val=[1.0]), "dtype 8"),
        (tensor(STRING, [1, 4], tensor_content=b"abc"), "string_val"),
        ({"dtype": FLOAT, "tensor_shape": {"unknown_rank": True}, "float_val": [1.0]}, "shape"),
    ],
)
def test_a_tensor_that_does_not_fit_is_an_invalid_argument(
    predict: Any, why: Why, x: dict[str, Any], said: str
) -> None:
    code, text = why(lambda: predict({"name": "demo"}, {"x": x}))

    assert code == "INVALID_ARGUMENT"
    assert said in text


def test_an_unknown_signature_is_refused(predict: Any, why: Why) -> None:
    spec = {"name": "demo", "signature_name": "other"}

    assert why(lambda: predict(spec, {"x": CONTENT}))[0] == "INVALID_ARGUMENT"


def test_metadata_has_a_signature_for_each_api(served: Any, make: Any, why: Why) -> None:
    kind = make("tensorflow.serving.GetModelMetadataRequest")
    request = kind(model_spec={"name": "demo"}, metadata_field=["signature_def"])

    found = served.call(METADATA, request, "tensorflow.serving.GetModelMetadataResponse")

    packed = found.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = make("tensorflow.serving.SignatureDefMap").FromString(packed.value).signature_def
    assert {"serving_default", "predict", "label"} <= set(signatures)
    x = signatures["serving_default"].inputs["x"]
    assert (x.dtype, [dim.size for dim in x.tensor_shape.dim], x.name) == (FLOAT, [-1, 4], "x:0")
    assert signatures["serving_default"].method_name == "tensorflow/serving/predict"
    other = kind(model_spec={"name": "demo"}, metadata_field=["graph"])
    assert why(lambda: served.send(METADATA, other.SerializeToString()))[0] == "INVALID_ARGUMENT"


def test_the_status_is_available(served: Any, make: Any, why: Why) -> None:
    kind = make("tensorflow.serving.GetModelStatusRequest")

    found = served.call(
        STATUS, kind(model_spec={"name": "demo"}), "tensorflow.serving.GetModelStatusResponse"
    )

    (version,) = found.model_version_status
    assert (version.version, version.state, version.status.error_code) == (1, 30, 0)
    unknown = kind(model_spec={"name": "other"}).SerializeToString()
    assert why(lambda: served.send(STATUS, unknown))[0] == "NOT_FOUND"
