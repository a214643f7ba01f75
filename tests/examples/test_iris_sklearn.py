"""The example with a scikit-learn pipeline, which runs code when it is loaded."""

import json
from collections.abc import Callable
from typing import Any

import httpx

import modelpack
from modelpack.store import Store


def test_service_is_a_plain_object(iris: Any) -> None:
    _, flowers, _, species = iris.split()
    service = iris.service()

    assert (service.predict(flowers) == species).mean() > 0.9
    assert abs(service.probabilities(flowers).sum(axis=1) - 1).max() < 1e-9


def test_model_is_labelled_as_carrying_code(iris: Any) -> None:
    (entry,) = modelpack.models.list("iris-clf")

    assert Store().model_record(entry).carries_code


def test_served_answers_are_those_of_the_plain_object(iris: Any, serve: Callable[..., str]) -> None:
    _, flowers, _, _ = iris.split()
    service = iris.service()

    url = serve(cwd=iris.folder)
    species = httpx.post(f"{url}/predict", json={"x": flowers.tolist()}).json()
    probabilities = httpx.post(f"{url}/probabilities", json={"x": flowers.tolist()}).json()
    example = json.loads((iris.folder / "example.json").read_text())

    assert species == list(service.predict(flowers))
    assert probabilities == service.probabilities(flowers).tolist()
    assert httpx.post(f"{url}/predict", json=example).json() == species[:1]
