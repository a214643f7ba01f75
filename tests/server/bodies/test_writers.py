"""Answers in the form that was asked for, when they have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.sdk.service import spec_of
from modelpack.server.bodies.writers import MAX_KNOWN, AnswerWriter, only_array
from modelpack.server.problems import BadOutput


@modelpack.service
class Apis:
    @modelpack.api
    def anything(self, x: int) -> Any: ...

    @modelpack.api(nan="error")
    def strict(self, x: int) -> Any: ...

    @modelpack.api
    def raw(self, x: int) -> bytes: ...


APIS = {api.name: api for api in spec_of(Apis).apis}
BINARY, NPY = b"application/octet-stream", b"application/x-npy"


@pytest.mark.parametrize(
    ("answer", "is_array"),
    [
        (np.zeros(2), True),
        ({"scores": np.zeros(2)}, True),
        (np.array(1.0), True),
        (np.zeros((0, 3), "bool"), True),
        ({"scores": np.zeros(2), "label": np.zeros(2)}, False),
        ({"scores": np.zeros(2), "note": "a"}, False),
        ({}, False),
        ([1.0, 2.0], False),
        (np.array(["a"]), False),
        (np.array([None]), False),
        (np.zeros(1, "complex64"), False),
        (np.zeros(1, "M8[s]"), False),
        (1.0, False),
    ],
)
def test_an_answer_is_one_array_or_it_is_json(answer: Any, is_array: bool) -> None:
    assert (only_array(answer) is not None) is is_array
    if np.asarray(answer).dtype.kind not in "cM":
        kind, _, _ = AnswerWriter(APIS["anything"]).writer_for(NPY)(answer)
        assert kind == (NPY if is_array else b"application/json")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(12, dtype="int64").reshape(4, 3)[::2],
        np.asfortranarray(np.arange(6, dtype="uint16").reshape(2, 3)),
        np.array([[True, False, True]]),
    ],
)
def test_bytes_are_little_endian_and_row_by_row(array: np.ndarray[Any, Any]) -> None:
    _, body, headers = AnswerWriter(APIS["anything"]).writer_for(BINARY)(array)

    fields = dict(headers)
    dtype = np.dtype(fields[b"modelpack-dtype"].decode()).newbyteorder("<")
    shape = [int(length) for length in fields[b"modelpack-shape"].split(b",")]
    assert np.array_equal(np.frombuffer(body, dtype).reshape(shape), array)


@pytest.mark.parametrize(
    "answer",
    [
        float("nan"),
        np.float32("inf"),
        np.array([1.0, np.nan]),
        [1.0, [float("-inf")]],
        {"a": {"b": (1.0, float("nan"))}},
        {"a": np.array([[np.inf]], "float16")},
    ],
)
def test_nan_anywhere_in_an_answer_is_found_when_it_is_refused(answer: Any) -> None:
    strict, usual = AnswerWriter(APIS["strict"]), AnswerWriter(APIS["anything"])

    for accept in (b"", BINARY, NPY):
        with pytest.raises(BadOutput, match="NaN or an infinity"):
            strict.writer_for(accept)(answer)
        assert usual.writer_for(accept)(answer)[1]
    assert b"null" in usual.json(answer)[1]


@pytest.mark.parametrize("answer", [1.5, 3, "nan", None, True, [1, "a"], {"a": np.arange(3)}])
def test_other_answers_are_fine(answer: Any) -> None:
    strict, usual = AnswerWriter(APIS["strict"]), AnswerWriter(APIS["anything"])

    assert strict.json(answer) == usual.json(answer)


def test_a_file_is_a_file_whatever_is_asked_for() -> None:
    writer = AnswerWriter(APIS["raw"])

    assert writer.writer_for(NPY)(b"abc") == (BINARY, b"abc", ())


def test_values_of_accept_are_remembered_and_never_too_many() -> None:
    writer = AnswerWriter(APIS["anything"])
    first = writer.writer_for(NPY)

    assert writer.writer_for(NPY) is first
    for number in range(10 * MAX_KNOWN):
        writer.writer_for(b"text/x-%d" % number)
        assert len(writer._known) <= MAX_KNOWN
