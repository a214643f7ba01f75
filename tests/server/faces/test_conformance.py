"""What several contracts have in common; the checklist of them is ``test_checklist``."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def client(start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Half).client
    return found


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
