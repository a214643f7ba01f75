"""The checklist of what clients of other servers rely on: one line of it, one test.

What each contract does beside it stands in the tests of its own.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton

import modelpack


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
    """The client of gRPC has the same line in the tests of gRPC."""
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
