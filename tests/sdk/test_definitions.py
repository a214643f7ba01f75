"""Definitions of many schemas in one place: none is taken for another."""

from __future__ import annotations

from typing import Any

from modelpack.sdk.definitions import hoist


def with_inner(inner: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"a": {"$ref": "#/$defs/Inner"}}, "$defs": {"Inner": inner}}


def test_references_lead_to_where_the_definitions_are() -> None:
    definitions: dict[str, Any] = {}

    moved = hoist(with_inner({"type": "string"}), definitions)

    assert moved == {"properties": {"a": {"$ref": "#/components/schemas/Inner"}}}
    assert definitions == {"Inner": {"type": "string"}}


def test_two_of_one_name_stay_two_and_the_same_stays_one() -> None:
    definitions: dict[str, Any] = {}

    moved = [
        hoist(with_inner({"type": kind}), definitions) for kind in ("string", "integer", "string")
    ]

    led = [one["properties"]["a"]["$ref"].rpartition("/")[2] for one in moved]
    assert led == ["Inner", "Inner2", "Inner"]
    assert definitions == {"Inner": {"type": "string"}, "Inner2": {"type": "integer"}}


def test_definitions_that_lead_to_each_other_find_each_other_under_new_names() -> None:
    definitions: dict[str, Any] = {"Tree": {"type": "null"}}
    tree = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {"properties": {"next": {"$ref": "#/$defs/Leaf"}}},
            "Leaf": {"properties": {"back": {"$ref": "#/$defs/Tree"}}},
        },
    }

    assert hoist(tree, definitions) == {"$ref": "#/components/schemas/Tree2"}
    there = "#/components/schemas/"
    assert definitions["Tree2"] == {"properties": {"next": {"$ref": there + "Leaf"}}}
    assert definitions["Leaf"] == {"properties": {"back": {"$ref": there + "Tree2"}}}
