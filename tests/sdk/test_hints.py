"""Type hints become values that decode, encode, describe and exemplify themselves."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from modelpack.errors import Issue, SignatureError
from modelpack.sdk.definitions import hoist
from modelpack.sdk.hints import Range, answer_of, value_of
from modelpack.sdk.tensor import Tensor


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Checked:
    age: int

    def __post_init__(self) -> None:
        if self.age < 0:
            raise ValueError("age is negative")


class Options(TypedDict):
    limit: int
    note: NotRequired[str]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class House(BaseModel):
    rooms: int = Field(ge=1, le=20)
    town: str
    colour: Colour = Colour.RED


GOOD: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (int, 5, 5),
    (float, 5, 5.0),
    (str, "a", "a"),
    (Any, {"a": [1]}, {"a": [1]}),
    (list[int], [1, 2], [1, 2]),
    (Sequence[str], ["a"], ["a"]),
    (tuple[int, ...], [1], [1]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (int | None, None, None),
    (int | str, "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (Colour, "red", Colour.RED),
    (Point, {"x": 1}, Point(1.0)),
    (Options, {"limit": 3}, {"limit": 3}),
    (list[Point], [{"x": 1, "y": 2}], [Point(1.0, 2.0)]),
    (House, {"rooms": 3, "town": "Ulm"}, House(rooms=3, town="Ulm")),
    (bytes, "aGk=", b"hi"),
    (Annotated[float, Range(0, 1)], 0.5, 0.5),
]


@pytest.mark.parametrize(("hint", "raw", "value"), GOOD)
def test_what_fits_is_taken(hint: Any, raw: Any, value: Any) -> None:
    issues: list[Issue] = []
    assert value_of(hint, "f(a)").decode(raw, "/a", issues) == value
    assert issues == []


@pytest.mark.parametrize(("hint", "raw", "value"), GOOD)
def test_what_was_taken_goes_out_again(hint: Any, raw: Any, value: Any) -> None:
    wire = value_of(hint, "f(a)")
    schema = wire.schema()
    definitions: dict[str, Any] = {}
    hoisted = hoist(schema, definitions)
    document = {**hoisted, "components": {"schemas": definitions}}
    jsonschema.validate(raw, document)
    jsonschema.validate(wire.encode(value), document)
    jsonschema.validate(wire.example(), document)


@pytest.mark.parametrize(
    ("hint", "raw", "pointer"),
    [
        (bool, 1, "/a"),
        (int, True, "/a"),
        (int, 1.0, "/a"),
        (int, "1", "/a"),
        (float, True, "/a"),
        (float, "1", "/a"),
        (str, 1, "/a"),
        (list[int], [1, "2"], "/a/1"),
        (list[int], {"0": 1}, "/a"),
        (tuple[int, str], [1], "/a"),
        (dict[str, int], {"x/y~z": "1"}, "/a/x~1y~0z"),
        (dict[str, int], [1], "/a"),
        (int | None, "x", "/a"),
        (int | str, [], "/a"),
        (Literal[1], True, "/a"),
        (Colour, "green", "/a"),
        (Point, {"y": 1}, "/a/x"),
        (Point, {"x": 1, "z": 1}, "/a/z"),
        (Point, [], "/a"),
        (Options, {}, "/a/limit"),
        (House, {"rooms": "many", "town": "Ulm"}, "/a/rooms"),
        (House, {"rooms": 3}, "/a/town"),
        (bytes, "not base64!", "/a"),
        (bytes, 5, "/a"),
    ],
)
def test_what_does_not_fit_is_named(hint: Any, raw: Any, pointer: str) -> None:
    issues: list[Issue] = []
    value_of(hint, "f(a)").decode(raw, "/a", issues)
    assert [issue.pointer for issue in issues] == [pointer]
    assert not issues[0].is_refused


@pytest.mark.parametrize(
    ("hint", "raw"),
    [
        (Annotated[float, Range(0, 1)], 1.5),
        (Annotated[int, Range(low=0)], -1),
        (House, {"rooms": 99, "town": "Ulm"}),
        (Checked, {"age": -1}),
    ],
)
def test_a_value_outside_its_range_is_refused_not_malformed(hint: Any, raw: Any) -> None:
    issues: list[Issue] = []
    value_of(hint, "f(a)").decode(raw, "/a", issues)
    assert [issue.is_refused for issue in issues] == [True]


def test_all_mistakes_of_an_object_are_found_at_once() -> None:
    issues: list[Issue] = []
    value_of(list[Point], "f(a)").decode([{"x": "a"}, {"y": "b"}], "/a", issues)
    assert [issue.pointer for issue in issues] == ["/a/0/x", "/a/1/x", "/a/1/y"]


def test_arrays_are_hinted_in_three_ways() -> None:
    for hint, dtype in (
        (Tensor["float32", "batch", 4], "float32"),
        (NDArray[np.int32], "int32"),
        (np.ndarray, "float64"),
    ):
        assert value_of(hint, "f(a)").schema()["x-dtype"] == dtype


@pytest.mark.parametrize(
    ("hint", "is_stream"),
    [(AsyncIterator[str], True), (Iterator[int], True), (Iterator, True), (list[str], False)],
)
def test_iterators_are_streams(hint: Any, is_stream: bool) -> None:
    assert answer_of(hint, "f")[1] is is_stream


@pytest.mark.parametrize("hint", [complex, dict[int, str], type, "later", np.float32])
def test_a_hint_without_a_json_form_is_refused(hint: Any) -> None:
    with pytest.raises(SignatureError, match=r"Digits\.predict\(x\)"):
        value_of(hint, "Digits.predict(x)")


@pytest.mark.parametrize(
    ("hint", "wrong"),
    [(str, 5), (list[int], "abc"), (Literal["a"], "b"), (dict[str, int], [1]), (Point, 5),
     (tuple[int, int], (1,)), (bytes, "text"), (Options, {}), (int | bytes, {})],
)  # fmt: skip
def test_a_wrong_answer_is_not_sent(hint: Any, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        value_of(hint, "f").encode(wrong)


def test_an_array_is_a_list_of_numbers_without_being_copied() -> None:
    array = np.arange(3)
    assert value_of(list[int], "f").encode(array) is array
