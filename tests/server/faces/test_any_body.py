"""Whatever a body holds, it is answered or refused by its contract: never an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelpack


@modelpack.service
class Any_:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2], k: int = 1
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1) * 0 + k % 7

    @modelpack.api
    def explain(self, text: str, file: bytes = b"") -> dict[str, Any]:
        return {"text": text, "size": len(file)}

    @modelpack.api
    def loose(self, value: Any = None) -> Any:
        return value


MODEL = "/v1/models/any"
PATHS = {
    f"{MODEL}:predict": "error",
    f"{MODEL}/versions/1:predict": "error",
    f"{MODEL}:explain": "error",
    f"{MODEL}.loose:predict": "error",
    f"{MODEL}.loose:classify": "error",
    f"{MODEL}:regress": "error",
    "/predictions/any": "code",
    "/predictions/any.explain": "code",
    "/predictions/any.loose": "code",
    "/api/v1.0/predictions": "status",
    "/api/v1.0/feedback": "status",
}

KEYS = st.sampled_from(
    [
        "instances", "inputs", "signature_name", "parameters", "examples", "context", "x", "k",
        "text", "file", "value", "b64", "data", "body", "ndarray", "tensor", "shape", "values",
        "names", "jsonData", "strData", "binData", "meta", "puid", "tags", "reward", "request",
        "specversion", "id", "type", "source", "data_base64",
    ]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "x", "explain", "serving_default", "QUJD", "1.0", "\ud800", "é"])
)
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def client(start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Any_).client
    return found


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(body=st.dictionaries(KEYS, BODIES, max_size=4) | BODIES)
def test_a_body_is_answered_or_refused(client: httpx.Client, path: str, body: Any) -> None:
    answer = client.post(
        path,
        content=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code in {200, 400, 422}, (body, answer.text)
    if answer.status_code != 200:
        assert PATHS[path] in answer.json()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=60),
    kind=st.sampled_from(
        [
            "", "application/json", "text/plain", "application/x-www-form-urlencoded",
            "application/cloudevents+json", "multipart/form-data; boundary=b", "image/png",
            "application/x-npy", "a/b",
        ]
    ),
)  # fmt: skip
def test_bytes_are_answered_or_refused(
    client: httpx.Client, path: str, body: bytes, kind: str
) -> None:
    headers = {"content-type": kind} if kind else {}

    answer = client.post(path, content=body, headers=headers)

    assert answer.status_code in {200, 400, 415, 422}, (body, kind, answer.text)
    if answer.status_code != 200:
        assert PATHS[path] in answer.json()
