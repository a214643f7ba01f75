"""Over either protocol of gRPC, an answer is what the service gives in-process.  (Over HTTP:
``tests/server/faces/test_equal.py``.)"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

SERVICE = """
import numpy as np
import modelpack


@modelpack.service
class Three:
    @modelpack.api(batch=True)
    def digits(self, x: modelpack.Tensor["float32", "batch", 4]) -> dict:
        return {"label": x.argmax(axis=1), "scores": x / (1 + x.sum(axis=1, keepdims=True))}

    @modelpack.api(batch=True)
    def iris(self, x: modelpack.Tensor["float64", "batch", 4]) -> list[str]:
        return ["setosa" if row[0] < 1 else f"number {row.argmax()}" for row in x]

    @modelpack.api
    def echo(self, text: str) -> str:
        return text[::-1]
"""

ROWS = [[0.1, 2, 3, 0.25], [5, 6.5, 7, 8], [-1, 0, 1e-3, 0.5]]
CASES = {
    "digits": ("x", "FP32", np.array(ROWS, np.float32)),
    "iris": ("x", "FP64", np.array(ROWS)),
    "echo": ("text", "BYTES", np.array(["é and \N{SNOWMAN}".encode()], dtype=object)),
}
FIELDS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents",
          "BYTES": "bytes_contents"}  # fmt: skip
VALUES = {"FP32": (1, "float_val"), "FP64": (2, "double_val"), "INT64": (9, "int64_val"),
          "BYTES": (7, "string_val")}  # fmt: skip
DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}

Outputs = dict[str, list[Any]]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, start_grpc: Any) -> Iterator[Any]:
    with start_grpc(tmp_path_factory.mktemp("three")) as start:
        yield start("service:Three", text=SERVICE)


def in_process(api: str) -> Outputs:
    """Return what the service itself answers, flat, by the name of the output."""
    module = types.ModuleType("three")
    exec(SERVICE, module.__dict__)
    _, datatype, array = CASES[api]
    argument = array if datatype != "BYTES" else array[0].decode()
    answer = getattr(module.Three(), api)(argument)
    named = answer if isinstance(answer, dict) else {"output": answer}
    return {name: np.ravel(one).tolist() for name, one in named.items()}


def texts(values: list[Any]) -> list[Any]:
    return [one.decode() if isinstance(one, bytes) else one for one in values]


def typed(three: Any, make: Any, api: str) -> Outputs:
    name, datatype, array = CASES[api]
    contents = {FIELDS[datatype]: array.ravel().tolist()}
    one = {"name": name, "datatype": datatype, "shape": array.shape, "contents": contents}
    answer = three.infer(model_name=model_of(api), inputs=[one])
    return {
        out.name: texts(list(getattr(out.contents, FIELDS[out.datatype]))) for out in answer.outputs
    }


def raw(three: Any, make: Any, api: str) -> Outputs:
    name, datatype, array = CASES[api]
    data = array.tobytes()
    if datatype == "BYTES":
        data = b"".join(len(one).to_bytes(4, "little") + one for one in array)
    one = {"name": name, "datatype": datatype, "shape": array.shape}
    answer = three.infer(model_name=model_of(api), inputs=[one], raw_input_contents=[data])
    found = {}
    for out, content in zip(answer.outputs, answer.raw_output_contents, strict=True):
        if out.datatype == "BYTES":
            found[out.name] = list(unpacked(content))
        else:
            found[out.name] = np.frombuffer(content, DTYPES[out.datatype]).tolist()
    return found


def unpacked(content: bytes) -> Iterator[str]:
    while content:
        length = int.from_bytes(content[:4], "little")
        yield content[4 : 4 + length].decode()
        content = content[4 + length :]


def tensorflow(three: Any, make: Any, api: str) -> Outputs:
    name, datatype, array = CASES[api]
    number, field = VALUES[datatype]
    request = make("tensorflow.serving.PredictRequest")(model_spec={"name": model_of(api)})
    shape = {"dim": [{"size": n} for n in array.shape]}
    one = {"dtype": number, "tensor_shape": shape, field: array.ravel().tolist()}
    request.inputs[name].CopyFrom(make("tensorflow.TensorProto")(**one))
    path = "/tensorflow.serving.PredictionService/Predict"
    answer = three.call(path, request, "tensorflow.serving.PredictResponse")
    by_number = dict(VALUES.values())
    return {
        key: texts(list(getattr(out, by_number[out.dtype]))) for key, out in answer.outputs.items()
    }


def model_of(api: str) -> str:
    return "three" if api == "digits" else f"three.{api}"  # the first api has the service's name


@pytest.mark.parametrize("api", CASES)
@pytest.mark.parametrize("ask", [typed, raw, tensorflow], ids=lambda one: one.__name__)
def test_an_answer_is_what_the_service_gives(
    three: Any, make: Any, ask: Callable[..., Outputs], api: str
) -> None:
    assert ask(three, make, api) == in_process(api)
