"""Which change of an api breaks the clients that were written for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.archive.schemas import ApiChange, api_changes

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def body(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def api(input: Any = None, output: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "name": "predict",
        "route": "/predict",
        "input": input if input is not None else body(),
        "output": output if output is not None else STRING,
        "stream": False,
        **more,
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, bool]]:
    return [
        (f"{one.where}: {one.what}" if one.where else one.what, one.is_breaking)
        for one in api_changes([old], [new])
    ]


INPUTS = [
    ("a new required field", body(), body(("x",), x=STRING), "/x: added, required", True),
    ("a new optional field", body(), body(x=STRING), "/x: added", False),
    ("a field that is gone", body(x=STRING), body(), "/x: removed", True),
    ("now required", body(x=STRING), body(("x",), x=STRING), "/x: now required", True),
    (
        "not required any more",
        body(("x",), x=STRING),
        body(x=STRING),
        "/x: not required any more",
        False,
    ),
    ("narrower type", body(x=NUMBER), body(x=INTEGER), "/x: number → integer", True),
    ("wider type", body(x=INTEGER), body(x=NUMBER), "/x: integer → number", False),
    ("other type", body(x=INTEGER), body(x=STRING), "/x: integer → string", True),
    (
        "fewer values",
        body(x={"enum": ["a", "b"]}),
        body(x={"enum": ["a"]}),
        '/x: values "a", "b" → "a"',
        True,
    ),
    (
        "more values",
        body(x={"enum": ["a"]}),
        body(x={"enum": ["a", "b"]}),
        '/x: values "a" → "a", "b"',
        False,
    ),
    (
        "any string instead of some",
        body(x={"enum": ["a"]}),
        body(x=STRING),
        '/x: values "a" → any',
        False,
    ),
    (
        "a higher minimum",
        body(x={"type": "integer", "minimum": 0}),
        body(x={"type": "integer", "minimum": 1}),
        "/x: minimum 0 → 1",
        True,
    ),
    (
        "no maximum any more",
        body(x={"type": "integer", "maximum": 9}),
        body(x=INTEGER),
        "/x: maximum 9 → none",
        False,
    ),
    (
        "null is taken, too",
        body(x=STRING),
        body(x={"anyOf": [STRING, {"type": "null"}]}),
        "/x: also null",
        False,
    ),
    (
        "null is refused",
        body(x={"anyOf": [STRING, {"type": "null"}]}),
        body(x=STRING),
        "/x: no longer null",
        True,
    ),
    (
        "longer rows",
        body(x={"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4}),
        body(x={"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 8}),
        "/x: maxItems 4 → 8",
        False,
    ),
    (
        "elements inside",
        body(x={"type": "array", "items": NUMBER}),
        body(x={"type": "array", "items": INTEGER}),
        "/x/items: number → integer",
        True,
    ),
    (
        "what cannot be judged",
        body(x={"type": "string", "pattern": "a"}),
        body(x={"type": "string", "pattern": "b"}),
        "/x: pattern 'a' → 'b'",
        True,
    ),
    (
        "another default",
        body(x={"type": "integer", "default": 1}),
        body(x={"type": "integer", "default": 2}),
        "/x: default 1 → 2",
        False,
    ),
    (
        "only what is named",
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {}, "additionalProperties": False},
        "/*: only what is named",
        True,
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "what", "is_breaking"),
    [one[1:] for one in INPUTS],
    ids=[one[0] for one in INPUTS],
)
def test_what_a_request_may_be(old: Any, new: Any, what: str, is_breaking: bool) -> None:
    assert changes(api(old), api(new)) == [(f"input{what}", is_breaking)]


OUTPUTS = [
    ("one more key", body(("a",), a=STRING), body(("a",), a=STRING, b=STRING), "/b: added", False),
    ("a key is gone", body(a=STRING), body(), "/a: removed", True),
    (
        "not always there",
        body(("a",), a=STRING),
        body(a=STRING),
        "/a: not always there any more",
        True,
    ),
    ("wider type", INTEGER, NUMBER, ": integer → number", True),
    ("narrower type", NUMBER, INTEGER, ": number → integer", False),
    (
        "null may come",
        STRING,
        {"anyOf": [STRING, {"type": "null"}]},
        ": also null",
        True,
    ),
    ("other numbers", {**NUMBER, "x-dtype": "float32"}, {**NUMBER, "x-dtype": "float64"},
     ": x-dtype 'float32' → 'float64'", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "what", "is_breaking"),
    [one[1:] for one in OUTPUTS],
    ids=[one[0] for one in OUTPUTS],
)
def test_what_an_answer_may_be(old: Any, new: Any, what: str, is_breaking: bool) -> None:
    assert changes(api(output=old), api(output=new)) == [(f"output{what}", is_breaking)]


def test_an_api_that_is_gone_breaks_and_comes_first() -> None:
    old, new = [api(), api(route="/b")], [api(body(x=STRING)), api(route="/c")]
    assert api_changes(old, new) == (
        ApiChange("/b", "", "removed", True),
        ApiChange("/c", "", "added", False),
        ApiChange("/predict", "input/x", "added", False),
    )
    assert str(api_changes(old, [api()])[0]) == "/b: removed (breaking)"


def test_a_stream_is_another_contract_and_batching_is_not() -> None:
    assert changes(api(), api(stream=True)) == [("a stream now", True)]
    batched = api(batch={"max_batch_size": 8})
    assert changes(api(), batched) == [("batching off → up to 8", False)]


def test_words_for_people_are_no_change() -> None:
    old = {"type": "string", "description": "a", "title": "A", "examples": ["x"]}
    assert changes(api(output=old), api(output={"type": "string", "title": "B"})) == []


def test_references_are_followed_in_their_own_document_and_may_be_circular() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}, "v": INTEGER}}
    old = {"$ref": "#/$defs/T", "$defs": {"T": tree}}
    wide = {**tree, "properties": {**tree["properties"], "v": STRING}}
    new = {"$ref": "#/$defs/T", "$defs": {"T": wide}}
    found = changes(api(output=old), api(output=new))
    assert ("output/v: integer → string", True) in found
    assert changes(api(output=old), api(output=old)) == []


SCHEMAS = st.recursive(
    st.sampled_from([STRING, INTEGER, NUMBER, {}, {"enum": [1, "a"]}, {"type": "null"}]),
    lambda inner: (
        st.builds(lambda one: {"type": "array", "items": one}, inner)
        | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)
        | st.dictionaries(st.sampled_from("abc"), inner).map(lambda fields: body(**fields))
    ),
    max_leaves=8,
)


@given(SCHEMAS, SCHEMAS)
def test_no_schema_upsets_it_and_what_breaks_one_way_is_seen_the_other(a: Any, b: Any) -> None:
    """Equal schemas have no change; different ones have the same places both ways."""
    there, back = changes(api(output=a), api(output=b)), changes(api(output=b), api(output=a))
    assert changes(api(a), api(a)) == []
    assert bool(there) == bool(back)
