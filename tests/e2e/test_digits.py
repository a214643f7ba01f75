"""The digits project, as a user makes it: served answers are the model's own, index by index."""

from __future__ import annotations

import json
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

import modelpack

CLIENTS = 32
MODELPACK = Path(sys.executable).with_name("modelpack")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make and train the project of the onnx template."""
    make = [MODELPACK, "init", "digits", "--template", "onnx"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "digits"
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True)
    return folder


def ask(url: str, rows: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Ask for every row by itself; answers stand at the index of their row.

    The 32 clients send in waves, from bytes made beforehand: a client library takes longer for a
    request than the server does, and then nothing would ever be there to be batched.
    """
    where = urlsplit(url)
    requests = [request(where.netloc, row) for row in rows]
    answers: list[dict[str, Any]] = []
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), 30))
            for _ in range(CLIENTS)
        ]
        for start in range(0, len(rows), CLIENTS):
            wave = list(zip(clients, requests[start : start + CLIENTS], strict=False))
            for client, data in wave:
                client.sendall(data)
            answers += [read(client) for client, _ in wave]
    return answers


def request(host: str, row: np.ndarray[Any, Any]) -> bytes:
    body = json.dumps({"x": [row.tolist()]})
    head = f"POST /predict HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


def read(client: socket.socket) -> dict[str, Any]:
    with HTTPResponse(client) as response:
        response.begin()
        body = response.read()
    assert response.status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_32_clients_get_the_predictions_of_the_model_itself(
    project: Path, serve: Callable[..., str]
) -> None:
    _, images, _, truth = runpy.run_path(str(project / "train.py"))["split"]()
    assert len(images) >= 400
    model = modelpack.models.load("digits-clf:latest")
    expected = model(images)

    url = serve(cwd=project)
    answers = ask(url, images)
    labels = np.array([answer["label"][0] for answer in answers])
    np.testing.assert_array_equal(labels, expected["label"])
    np.testing.assert_allclose(
        [answer["probabilities"][0] for answer in answers], expected["probabilities"], atol=1e-5
    )
    assert (labels == truth).mean() == (expected["label"] == truth).mean() > 0.9

    metrics = httpx.get(f"{url}/metrics").text
    rows = float(re.findall(r'^modelpack_batch_rows_sum\{api="predict"\} (\S+)', metrics, re.M)[0])
    batches = re.findall(r'^modelpack_batch_rows_count\{api="predict"\} (\S+)', metrics, re.M)[0]
    assert rows / float(batches) > 2


def test_the_bundle_answers_clients_of_triton_with_the_predictions_of_the_model(
    project: Path, serve: Callable[..., str]
) -> None:
    _, images, _, _ = runpy.run_path(str(project / "train.py"))["split"]()
    expected = modelpack.models.load("digits-clf:latest")(images)
    subprocess.run([MODELPACK, "build"], cwd=project, check=True, capture_output=True)

    url = serve("digits:latest", cwd=project)
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        found = [
            client.infer("digits", [image_tensor(images, binary=binary)])
            for binary in (True, False)
        ]
        (version,) = client.get_model_metadata("digits")["versions"]
        assert client.is_model_ready("digits", version)

    for answer in found:
        np.testing.assert_array_equal(answer.as_numpy("label"), expected["label"])
        np.testing.assert_allclose(
            answer.as_numpy("probabilities"), expected["probabilities"], atol=1e-5
        )


def image_tensor(images: np.ndarray[Any, Any], *, binary: bool) -> triton.InferInput:
    """Return all images as the input of one request."""
    x = triton.InferInput("x", list(images.shape), "FP32")
    return x.set_data_from_numpy(images.astype(np.float32), binary_data=binary)
