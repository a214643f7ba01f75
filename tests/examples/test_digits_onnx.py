"""The example with an ONNX model: trained, called, served, built."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import modelpack
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import spec_of

CLIENTS = 32


def test_training_saves_a_good_model_and_a_valid_example(digits: Any) -> None:
    tag, accuracy = re.fullmatch(
        r"(\S+) reads ([\d.]+)% of 450 held-out images\n", digits.said
    ).groups()
    body = json.loads((digits.folder / "example.json").read_text())
    (api,) = spec_of(type(digits.service())).apis

    assert [str(entry.tag) for entry in modelpack.models.list()] == [tag]
    assert float(accuracy) > 95
    assert isinstance(api, ApiSpec)
    assert api.decode(body).rows == 1


def test_training_again_gives_the_same_model(digits: Any) -> None:
    """The version is made of the content, so the same training changes nothing in the store."""
    again = subprocess.run(
        [sys.executable, "train.py"], capture_output=True, text=True, check=True, cwd=digits.folder
    )

    assert again.stdout == digits.said
    assert len(modelpack.models.list()) == 1


@pytest.mark.parametrize("module", ["sklearn", "skl2onnx", "modelpack"])
def test_training_says_what_to_install(digits: Any, module: str) -> None:
    code = f"import sys, runpy; sys.modules['{module}'] = None; runpy.run_path('train.py')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=digits.folder
    )

    assert done.returncode == 1
    assert re.fullmatch(
        rf"no module '{module}[\w.]*': run 'pip install -r requirements-train.txt'\n", done.stderr
    )


def test_service_is_a_plain_object(digits: Any) -> None:
    _, images, _, truth = digits.split()

    reading = digits.service().predict(images)

    assert reading.probabilities.shape == (450, 10)
    assert (reading.label == reading.probabilities.argmax(axis=1)).all()
    assert (reading.label == truth).mean() > 0.95


def test_served_answers_are_those_of_the_model(digits: Any, serve: Callable[..., str]) -> None:
    """Every held-out image, asked by many clients at once, compared by index."""
    _, images, _, _ = digits.split()
    model = modelpack.models.load("digits-clf:latest")
    expected = [int(model(image[None])["label"][0]) for image in images]

    url = serve(cwd=digits.folder)
    answers = ask_all(url, [{"x": [image.tolist()]} for image in images])

    assert [answer["label"] for answer in answers] == [[label] for label in expected]


def test_example_of_the_readme_is_answered(digits: Any, serve: Callable[..., str]) -> None:
    body = (digits.folder / "example.json").read_bytes()

    url = serve(cwd=digits.folder)
    answer = httpx.post(
        f"{url}/predict", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 200
    (label,), (probabilities,) = answer.json()["label"], answer.json()["probabilities"]
    assert probabilities[label] == max(probabilities)


def ask_all(url: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    local = threading.local()

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=url)
            clients.append(local.client)
        answer = local.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    clients: list[httpx.Client] = []
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(ask, bodies))
    finally:
        for client in clients:
            client.close()
