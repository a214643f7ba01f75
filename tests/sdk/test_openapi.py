"""The document is valid OpenAPI 3.1 and its examples fit its own schemas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import PIL.Image
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

import modelpack
from modelpack.sdk.openapi import openapi_document
from modelpack.sdk.service import spec_of
from modelpack.server.bodies.readers import BodyReader


class Inner(BaseModel):
    a: int = 3


class Outer(BaseModel):
    inner: Inner
    children: list[Inner]


HALVES = np.array([0.5, 1.5], "float32")


@modelpack.service
class Everything:
    """Does it all.

    More words.
    """

    @modelpack.api(batch=True)
    def tensor(self, x: modelpack.Tensor["float32", "batch", 4]) -> dict[str, list[float]]:
        return {}

    @modelpack.api(batch=True)
    def scores(
        self, x: modelpack.Tensor["float32", "batch", 4], top: int = 1
    ) -> modelpack.Tensor["float64", "batch"]:
        return x.sum(axis=1)

    @modelpack.api
    def record(self, outer: Outer, note: str = "") -> Outer:
        return outer

    @modelpack.api
    def picture(self, image: PIL.Image.Image) -> PIL.Image.Image:
        return image

    @modelpack.api
    def settings(
        self,
        x: modelpack.Tensor["float32", 2] = HALVES,
        ratio: float = 0.5,
        label: str | None = None,
        limit: float = math.inf,
    ) -> float:
        return ratio

    @modelpack.api(nan="error")
    def finite(self, ratio: float) -> float:
        return ratio

    @modelpack.api
    def stream(self, n: int) -> Iterator[str]:
        yield "a"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(spec_of(Everything), "1.0")


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["info"]["title"] == "everything"
    assert {"/tensor", "/record", "/picture", "/stream", "/livez"} <= set(document["paths"])


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    for api in spec_of(Everything).apis:
        body = document["paths"][api.route]["post"]["requestBody"]["content"]["application/json"]
        jsonschema.validate(
            body["example"], {**body["schema"], "components": document["components"]}
        )


def test_definitions_are_where_references_look(document: dict[str, Any]) -> None:
    assert {"Inner", "Problem"} <= set(document["components"]["schemas"])
    assert "$defs" not in str(document)


def test_streams_and_files_have_their_own_content_types(document: dict[str, Any]) -> None:
    def answer(route: str) -> set[str]:
        return set(document["paths"][route]["post"]["responses"]["200"]["content"])

    assert answer("/stream") == {"application/x-ndjson", "text/event-stream"}
    assert answer("/picture") == {"image/png"}
    request = document["paths"]["/picture"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in request


def test_arrays_may_be_bytes_where_nothing_else_is_needed(document: dict[str, Any]) -> None:
    scores, tensor = (document["paths"][route]["post"] for route in ("/scores", "/tensor"))
    forms = {"application/json", "application/octet-stream", "application/x-npy"}

    assert set(scores["requestBody"]["content"]) == forms
    assert set(scores["responses"]["200"]["content"]) == forms
    assert set(scores["responses"]["200"]["headers"]) == {
        "Modelpack-Dtype",
        "Modelpack-Shape",
        "X-Request-Id",
    }
    dtype, shape = (one for one in scores["parameters"] if "name" in one)
    assert dtype["schema"]["enum"] == ["float32"]
    assert shape["schema"]["examples"] == ["1,4"]
    assert set(tensor["responses"]["200"]["content"]) == {"application/json"}
    record = document["paths"]["/record"]["post"]
    assert not any(one.get("name", "").startswith("Modelpack-") for one in record["parameters"])


def test_the_document_names_the_forms_that_the_server_reads(document: dict[str, Any]) -> None:
    for api in spec_of(Everything).apis:
        content = document["paths"][api.route]["post"]["requestBody"]["content"]
        assert set(content) == set(BodyReader(api).accepted), api.name


def test_defaults_that_json_can_say_are_in_the_schema(document: dict[str, Any]) -> None:
    content = document["paths"]["/settings"]["post"]["requestBody"]["content"]
    properties = content["application/json"]["schema"]["properties"]

    defaults = {name: one.get("default", "none") for name, one in properties.items()}
    assert defaults == {"x": [0.5, 1.5], "ratio": 0.5, "label": None, "limit": "none"}
    record = document["paths"]["/record"]["post"]["requestBody"]["content"]["application/json"]
    assert "default" not in record["schema"]["properties"]["outer"]


def test_an_answer_may_be_null_where_nan_becomes_null(document: dict[str, Any]) -> None:
    def answer(route: str) -> Any:
        content = document["paths"][route]["post"]["responses"]["200"]["content"]
        return content["application/json"]["schema"]

    assert answer("/settings")["type"] == ["number", "null"]
    assert answer("/scores")["items"]["type"] == ["number", "null"]
    assert answer("/finite")["type"] == "number"


def test_what_is_batched_is_said(document: dict[str, Any]) -> None:
    assert document["paths"]["/scores"]["post"]["x-batched"] == ["x"]
    assert "x-batched" not in document["paths"]["/record"]["post"]


def test_files_of_forms_are_said_to_be_bytes(document: dict[str, Any]) -> None:
    content = document["paths"]["/picture"]["post"]["requestBody"]["content"]
    schema = content["multipart/form-data"]["schema"]

    assert schema["properties"]["image"]["format"] == "binary"
    assert schema["required"] == ["image"]


def test_no_id_of_a_method_is_taken_by_a_probe() -> None:
    @modelpack.service
    class Probed:
        @modelpack.api(route="/alive")
        def livez(self) -> int:
            return 1

    document = openapi_document(spec_of(Probed), "1")

    validate(document)
    assert document["paths"]["/alive"]["post"]["operationId"] == "livez"
