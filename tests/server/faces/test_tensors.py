"""Parameters and answers as named tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.errors import Issue
from modelpack.sdk.service import spec_of
from modelpack.server.faces.tensors import OutputPort, OutputPorts, inputs_of, named


@dataclass
class Person:
    name: str
    age: int


@modelpack.service
class Many:
    @modelpack.api(batch=True)
    def rows(
        self, x: modelpack.Tensor["float32", "batch", 2], texts: list[str] | None = None
    ) -> dict[str, Any]:
        return {"sum": x.sum(axis=1)}

    @modelpack.api
    def plain(  # noqa: PLR0917
        self, number: float, count: int, flag: bool, text: str, who: Person, data: bytes
    ) -> Person:
        return who

    @modelpack.api(nan="error")
    def words(self, words: modelpack.Tensor["str", 2], x: modelpack.Tensor["float64"]) -> list[str]:
        return list(words)

    @modelpack.api(batch=True)
    def split(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> tuple[modelpack.Tensor["float32", "batch"], list[str]]:
        return x, [str(one) for one in x]


ROWS, PLAIN, WORDS, SPLIT = spec_of(Many).apis


def texts(*words: str | bytes, shape: tuple[int, ...] | None = None) -> Any:
    array = np.empty(len(words), dtype=object)
    array[:] = [one.encode() if isinstance(one, str) else one for one in words]
    return array.reshape(shape if shape is not None else (len(words),))


def test_every_kind_of_parameter_has_a_datatype_and_a_shape() -> None:
    declared = {p.name: (p.datatype, p.shape) for a in (ROWS, PLAIN, WORDS) for p in inputs_of(a)}

    assert declared == {
        "x": ("FP64", (-1,)),  # of ``words``, which comes last
        "texts": ("BYTES", (-1,)),
        "number": ("FP64", (1,)),
        "count": ("INT64", (1,)),
        "flag": ("BOOL", (1,)),
        "text": ("BYTES", (1,)),
        "who": ("BYTES", (1,)),
        "data": ("BYTES", (1,)),
        "words": ("BYTES", (2,)),
    }
    assert (inputs_of(ROWS)[0].datatype, inputs_of(ROWS)[0].shape) == ("FP32", (-1, 2))
    assert not inputs_of(ROWS)[1].is_required


@pytest.mark.parametrize(
    ("index", "data", "expected"),
    [
        (0, np.array([2.5]), 2.5),
        (0, np.array([[2]], np.int32), 2.0),
        (1, np.array(7, np.uint8), 7),
        (2, np.array([True]), True),
        (3, texts("é"), "é"),
        (4, texts('{"name": "Ada", "age": 36}'), Person("Ada", 36)),
        (5, texts(b"\xff\x00"), b"\xff\x00"),
    ],
)
def test_a_tensor_becomes_what_the_method_takes(index: int, data: Any, expected: Any) -> None:
    issues: list[Issue] = []

    assert inputs_of(PLAIN)[index].take(data, issues) == expected
    assert issues == []


@pytest.mark.parametrize(
    ("api", "index", "data", "expected", "got"),
    [
        (ROWS, 0, np.zeros((1, 2)), "datatype FP32", "datatype FP64"),
        (ROWS, 0, np.zeros((1, 3), np.float32), "an array float32[batch, 2]", "3 instead of 2"),
        (ROWS, 1, texts("a", "b", shape=(1, 2)), "a tensor of shape [-1]", "shape [1, 2]"),
        (ROWS, 1, texts(b"\xff"), "UTF-8", "1 other bytes"),
        (PLAIN, 0, texts("1"), "datatype FP64", "datatype BYTES"),
        (PLAIN, 1, np.array([1.0]), "datatype INT64", "datatype FP64"),
        (PLAIN, 4, texts("{"), "JSON", "1 other bytes"),
        (PLAIN, 4, texts("{}"), "a string", "nothing"),
        (WORDS, 0, texts(b"\xff", b"a"), "texts in UTF-8", "other bytes"),
        (WORDS, 1, np.array([np.nan]), "finite numbers (float64)", "NaN or an infinity"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(
    api: Any, index: int, data: Any, expected: str, got: str
) -> None:
    issues: list[Issue] = []

    inputs_of(api)[index].take(data, issues)

    assert issues
    assert issues[0].pointer.startswith(f"/{api.parameters[index].name}")
    assert issues[0].expected == expected
    assert got in issues[0].got


def test_the_array_that_a_method_gets_can_be_written_to() -> None:
    data = np.frombuffer(np.ones((1, 2), np.float32).tobytes(), np.float32).reshape(1, 2)

    array = inputs_of(ROWS)[0].take(data, [])

    array -= 1
    assert array.tolist() == [[0, 0]]
    assert data.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("answer", "datatype", "shape", "data"),
    [
        (np.array([1, 2], np.int8), "INT8", (2,), [1, 2]),
        (3, "INT64", (1,), [3]),
        (True, "BOOL", (1,), [True]),
        (np.float32(0.5), "FP64", (1,), [0.5]),
        ([1.5, 2], "FP64", (2,), [1.5, 2]),
        ([[1, 2]], "INT64", (1, 2), [[1, 2]]),
        ([], "FP64", (0,), []),
        ("é", "BYTES", (1,), ["é".encode()]),
        (["a", "b"], "BYTES", (2,), [b"a", b"b"]),
        ([["a", "b"]], "BYTES", (1, 2), [b"a", b"b"]),
        ([["a"], ["b", "c"]], "BYTES", (2,), [b'["a"]', b'["b","c"]']),
        ([{"a": 1}, None], "BYTES", (2,), [b'{"a":1}', b"null"]),
        (b"\x00", "BYTES", (1,), [b"\x00"]),
    ],
)
def test_every_answer_is_some_tensor(
    answer: Any, datatype: str, shape: tuple[int, ...], data: Any
) -> None:
    one = named("y", answer)

    assert (one.datatype, one.shape) == (datatype, shape)
    assert (one.data.tolist() if isinstance(one.data, np.ndarray) else one.data) == data


def test_an_object_is_one_tensor_a_key() -> None:
    parts = OutputPorts(ROWS).split({"sum": np.array([1.0]), "label": ["a"]})

    assert [(one.name, one.datatype) for one in parts] == [("sum", "FP64"), ("label", "BYTES")]


def test_columns_in_a_tuple_are_numbered() -> None:
    ports = OutputPorts(SPLIT)

    parts = ports.split((np.array([1.0, 2.0], np.float32), ["a", "b"]))
    assert [(one.name, one.datatype, one.shape) for one in parts] == [
        ("output", "FP32", (2,)),
        ("output_1", "BYTES", (2,)),
    ]
    assert ports.declared == (
        OutputPort("output", "FP32", (-1,)),
        OutputPort("output_1", "BYTES", (-1,)),
    )


def test_what_the_signature_says_of_answers_is_declared() -> None:
    assert OutputPorts(ROWS).declared == ()
    assert OutputPorts(WORDS).declared == (OutputPort("output", "BYTES", (-1,)),)
    assert OutputPorts(PLAIN).declared == (
        OutputPort("name", "BYTES", (1,)),
        OutputPort("age", "INT64", (1,)),
    )
