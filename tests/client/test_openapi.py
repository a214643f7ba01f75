"""What is read out of the OpenAPI documents of strangers."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.client.openapi import ABSENT, json_calls


def body(media: Any, **more: Any) -> dict[str, Any]:
    return {"post": {"requestBody": {"content": {"application/json": media}}, **more}}


def test_the_calls_with_a_json_body_are_found_in_their_order() -> None:
    paths = {"/b": body({"example": 1}), "/a": body({}), "/get": {"get": {}}}
    assert [call.route for call in json_calls({"paths": paths})] == ["/b", "/a"]


@pytest.mark.parametrize(
    ("media", "example"),
    [
        ({"example": None}, None),
        ({"example": [1], "examples": {"one": {"value": 2}}}, [1]),
        ({"examples": {"one": {"value": 2}, "two": {"value": 3}}}, 2),
        ({"examples": {}}, ABSENT),
        ({"examples": {"one": {"externalValue": "elsewhere"}}}, ABSENT),
        ({"examples": [1]}, ABSENT),
        ({}, ABSENT),
    ],
)
def test_the_example_is_the_one_or_the_first_of_several(media: Any, example: Any) -> None:
    (call,) = json_calls({"paths": {"/a": body(media)}})
    assert call.example is example or call.example == example


def test_where_apis_are_marked_other_contracts_are_left_out() -> None:
    paths = {"/v2/infer": body({}, tags=["oip"]), "/own": body({}, tags=["apis"])}
    assert [call.route for call in json_calls({"paths": paths})] == ["/own"]


def test_where_the_marked_ones_take_no_json_there_is_none() -> None:
    upload = {"post": {"tags": ["apis"], "requestBody": {"content": {"image/png": {}}}}}
    assert json_calls({"paths": {"/v2/infer": body({}, tags=["oip"]), "/own": upload}}) == []


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"paths": None},
        {"paths": {"/a": None, "/b": {"post": 1}, "/c": {"post": {"requestBody": 1}}}},
        {"paths": {"/a": {"post": {"tags": 1, "requestBody": {"content": None}}}}},
        {"paths": {"/a": body(None)}},
    ],
)
def test_what_has_another_form_is_passed_over(document: Any) -> None:
    assert json_calls(document) == []
