"""Arguments are checked where they come in and made where they are used."""

from __future__ import annotations

import base64
import enum
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image

import modelpack
from modelpack import Tensor
from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import spec_of
from modelpack.server.bodies.readers import BodyReader
from modelpack.server.runners.process.arguments import arriving, crossing
from modelpack.server.runners.process.codes import ABSENT
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.unpacking import unpack


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


@modelpack.service
class Demo:
    @modelpack.api
    def plain(self, n: int, f: float, b: bool, a: Any, x: Tensor["int8", 2]) -> int:
        return 0

    @modelpack.api
    def made(self, p: Point, who: Person, c: Colour, both: tuple[Point, int]) -> int:
        return 0

    @modelpack.api
    def maybe(self, p: Point | None, m: dict[str, Point], c: Colour = Colour.BLUE) -> int:
        return 0

    @modelpack.api(batch=True)
    def rows(self, points: list[Point], words: list[str] = ["one"]) -> list[int]:  # noqa: B006
        return []


APIS: dict[str, ApiSpec] = {api.name: api for api in spec_of(Demo).apis}


def across(api: ApiSpec, values: dict[str, Any]) -> dict[str, Any]:
    packed = pack(values)
    place = bytearray(packed.size)
    packed.write(place)
    return arriving(api)(unpack(place))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("plain", {"n": 1, "f": 2, "b": True, "a": {"k": [None]}, "x": [1, 2]}),
        (
            "made",
            {"p": {"x": 1}, "who": {"name": "a", "age": 3}, "c": "red", "both": [{"x": 1.5}, 2]},
        ),
        ("maybe", {"p": None, "m": {"a": {"x": 1}}}),
        ("maybe", {"p": {"x": 1}, "m": {}, "c": "red"}),
        ("rows", {"points": [{"x": 1}, {"x": 2}], "words": ["a", "b"]}),
        ("rows", {"points": [{"x": 1}]}),
    ],
)
def test_what_arrives_is_what_would_have_been_decoded_here(name: str, body: dict[str, Any]) -> None:
    api = APIS[name]

    crossed = crossing(api).decode(body)
    got, expected = across(api, crossed.values), api.decode(body)

    assert crossed.rows == expected.rows
    assert list(got) == list(expected.values)
    for key, value in expected.values.items():
        assert type(got[key]) is type(value)
        assert np.array_equal(got[key], value) if key == "x" else got[key] == value


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("made", {"p": {"x": "1"}, "who": {"name": "a", "age": -3}, "c": "no", "both": [1]}),
        ("maybe", {"p": 1, "m": {"a": 2}, "c": 3, "d": 4}),
        ("rows", {"points": [], "words": []}),
        ("rows", {"points": [{"x": 1}], "words": ["a", "b"]}),
        ("plain", []),
    ],
)
def test_a_request_that_does_not_fit_is_refused_as_here(name: str, body: Any) -> None:
    with pytest.raises(InputError) as here:
        APIS[name].decode(body)
    with pytest.raises(InputError) as there:
        crossing(APIS[name]).decode(body)

    assert there.value.issues == here.value.issues


def test_a_default_stays_where_it_is() -> None:
    crossed = crossing(APIS["maybe"]).decode({"p": None, "m": {}})

    assert crossed.values["c"] is ABSENT
    assert across(APIS["maybe"], crossed.values)["c"] is Colour.BLUE


def test_of_a_picture_only_the_size_is_read_here() -> None:
    @modelpack.service
    class Pictures:
        @modelpack.api
        def size(self, picture: Image.Image) -> int:
            return 0

    file = io.BytesIO()
    Image.new("L", (20, 30)).save(file, format="PNG")
    data = file.getvalue()
    (api,) = spec_of(Pictures).apis
    reader = BodyReader(crossing(api))

    values = reader.json(b'{"picture": "' + base64.b64encode(data) + b'"}').values
    cut = reader.reader_for({b"content-type": b"image/png"})(data[:45]).values

    assert values == {"picture": data}
    assert across(api, values)["picture"].size == (20, 30)
    with pytest.raises(InputError, match="image file"):
        across(api, cut)
    with pytest.raises(InputError, match="image file"):
        reader.json(b'{"picture": "aGVsbG8="}')
