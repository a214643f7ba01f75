"""What each contract must hold, one test a line; ``test_equal`` compares answers, these the rest."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import modelpack


@modelpack.service
class Half:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x / 2

    @modelpack.api
    def size(self, file: bytes) -> int:
        return len(file)


@pytest.fixture(scope="module")
def client(start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Half).client
    return found


def test_tensorflow_rows_columns_base64_nan_labels_404_status_and_metadata(
    client: httpx.Client,
) -> None:
    model = "/v1/models/half"

    def ask(path: str, body: bytes) -> Any:
        return client.post(path, content=body)

    data = base64.b64encode(b"abc").decode()
    rows = ask(f"{model}:predict", b'{"instances": [1.0, 3.0]}')
    columns = ask(f"{model}:predict", b'{"inputs": {"x": [1.0, 3.0]}}')
    packed = ask(f"{model}.size:predict", json.dumps({"inputs": {"b64": data}}).encode())
    odd = ask(f"{model}:predict", b'{"instances": [NaN, -Infinity]}')
    labelled = ask(f"{model}/labels/stable:predict", b'{"instances": [1.0]}')
    missing = ask("/v1/models/quarter:predict", b'{"instances": [1.0]}')
    status = client.get(model).json()["model_version_status"]
    metadata = client.get(f"{model}/metadata").json()

    assert rows.json() == {"predictions": [0.5, 1.5]}
    assert columns.json() == {"outputs": [0.5, 1.5]}
    assert packed.json() == {"outputs": 3}
    assert odd.text == '{"predictions":[NaN,-Infinity]}'
    assert labelled.json() == {"predictions": [0.5]}
    assert missing.status_code == 404
    assert missing.json() == {"error": "Servable not found for request: Latest(quarter)"}
    assert [(one["version"], one["state"]) for one in status] == [("1", "AVAILABLE")]
    assert set(metadata) == {"model_spec", "metadata"}
    assert set(metadata["metadata"]["signature_def"]["signature_def"]) == {
        "serving_default",
        "size",
    }


@pytest.mark.parametrize("is_envelope", [True, False])
def test_an_event_and_its_answer_have_one_id(client: httpx.Client, is_envelope: bool) -> None:
    attributes = {"specversion": "1.0", "id": "e-1", "type": "t", "source": "s"}
    body: dict[str, Any] = {"instances": [1.0]}
    head = {f"ce-{name}": one for name, one in attributes.items()}
    if is_envelope:
        body, head = {**attributes, "data": body}, {"content-type": "application/cloudevents+json"}

    answer = client.post("/v1/models/half:predict", json=body, headers=head)

    assert (answer.json()["id"] if is_envelope else answer.headers["ce-id"]) == "e-1"


def test_a_ping_is_one_for_all_who_ask(client: httpx.Client) -> None:
    """TorchServe, SageMaker and MLflow ask the same path; 200 satisfies them all."""
    answer = client.get("/ping")

    assert (answer.status_code, answer.json()) == (200, {"status": "Healthy"})
