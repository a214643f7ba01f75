"""The document shows what is answered to its examples, in every contract, as far as types tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

import modelpack
from modelpack.config.serving import FACES

T = modelpack.Tensor


@dataclass
class Scores:
    label: T["int64", "batch"]
    scores: T["float32", "batch", 2]


@dataclass
class Person:
    name: str
    age: int | None = None


@modelpack.service
class Forms:
    """Answers of every form."""

    @modelpack.api(batch=True, example={"x": [[1, 2], [3, 4], [6, 5]]})
    def predict(self, x: T["float32", "batch", 2]) -> Scores:
        return Scores(x.argmax(axis=1), x / 2)

    @modelpack.api(batch=True)
    def texts(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    @modelpack.api(batch=True, example={"x": [1, 2]})
    def pair(self, x: list[int]) -> tuple[list[int], list[str]]:
        return x, [str(one) for one in x]

    @modelpack.api
    def vector(self, x: float) -> T["float64", 3]:
        return [x, x, x]  # type: ignore[return-value]

    @modelpack.api
    def older(self, who: Person, years: int = 1) -> Person:
        return Person(who.name, years)

    @modelpack.api
    def size(self, file: bytes) -> int:
        return len(file)

    @modelpack.api
    def free(self, text: str) -> dict[str, Any]:
        return {text: text}

    @modelpack.api
    def picture(self, file: bytes) -> bytes:
        return file


TOLD = {"predict", "texts", "pair", "vector", "older", "size"}


@pytest.fixture(scope="module")
def server(start_once: Callable[..., Any]) -> Any:
    return start_once(Forms, faces=",".join(FACES))


@pytest.fixture(scope="module")
def document(server: Any) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/openapi.json").json()
    return found


def shown(document: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the examples of request and answer of each POST path that has both in JSON."""
    found = {}
    for path, item in document["paths"].items():
        post = item.get("post", {})
        asked = post.get("requestBody", {}).get("content", {}).get("application/json", {})
        said = post.get("responses", {}).get("200", {}).get("content", {})
        said = said.get("application/json", {})
        if "example" in asked and "example" in said:
            found[path] = asked["example"], said["example"]
    return found


def same_form(one: Any, other: Any) -> bool:
    """Say whether two JSON values differ in nothing but numbers and texts."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_form(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_form, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return True
    return type(one) is type(other)


def test_what_is_answered_has_the_form_that_is_shown(server: Any, document: dict[str, Any]) -> None:
    validate(document)
    differ = []
    for path, (asked, said) in shown(document).items():
        answer = server.client.post(path.format(version="1", label="stable"), json=asked)
        if answer.status_code != 200 or not same_form(said, answer.json()):
            differ.append(f"{path}: {said} and {answer.text[:200]}")

    assert differ == []


def test_every_api_whose_types_tell_shows_an_answer_that_fits_its_schema(
    document: dict[str, Any],
) -> None:
    assert {path[1:] for path in shown(document) if path.count("/") == 1} >= TOLD
    for name in TOLD:
        media = document["paths"][f"/{name}"]["post"]["responses"]["200"]["content"]
        media = media["application/json"]
        schema = {**media["schema"], "components": document["components"]}
        jsonschema.validate(media["example"], schema)
    free = document["paths"]["/free"]["post"]["responses"]["200"]["content"]["application/json"]
    assert "example" not in free


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/forms/infer", "/v1/models/forms:predict", "/predictions/forms", "/score",
        "/invocations", "/endpoints/forms/invocations", "/vertex/predict", "/api/v1.0/predictions",
    ],
)  # fmt: skip
def test_contracts_show_it_too(document: dict[str, Any], path: str) -> None:
    assert path in shown(document)


def test_an_answer_has_as_many_rows_as_the_example(document: dict[str, Any]) -> None:
    examples = shown(document)

    assert len(examples["/predict"][1]["scores"]) == 3
    assert len(examples["/v1/models/forms:predict"][1]["predictions"]) == 3
    assert examples["/v2/models/forms/infer"][1]["outputs"][1]["shape"] == [3, 2]
