"""Answers that JSON has no form of its own for: files, and bytes where there are only events."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Odd:
    @modelpack.api
    def predict(self, text: str) -> bytes:
        return text.encode() + b"\xff"

    @modelpack.api(batch=True)
    def double(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x * 2


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Odd)


@pytest.mark.parametrize("call", ["generate", "generate_stream"])
def test_a_file_is_base64_in_what_is_generated(server: Any, call: str) -> None:
    answer = server.post(f"/v2/models/odd/{call}", {"text_input": "hi"})

    assert answer.status_code == 200
    assert base64.b64encode(b"hi\xff").decode() in answer.text


@pytest.mark.parametrize(
    "asks",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "output", "parameters": {"binary_data": True}}]},
    ],
)
def test_bytes_are_no_events_and_that_is_said(server: Any, asks: dict[str, Any]) -> None:
    inputs = [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2]}]

    answer = server.post("/v2/models/odd.double/infer_stream", {"inputs": inputs, **asks})

    assert answer.status_code == 400
    assert "ask for the outputs without binary data" in answer.json()["error"]
