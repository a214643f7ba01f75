"""The binary tensor data extension."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import numpy as np
import orjson
import pytest


def sent(name: str, array: Any, datatype: str, size: int | None = None) -> dict[str, Any]:
    """Return an input whose bytes stand behind the JSON."""
    length = array.nbytes if size is None else size
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype,
        "parameters": {"binary_data_size": length},
    }


def parts(answer: Any) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of an answer and what stands behind it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    assert int(answer.headers["content-length"]) == len(answer.content)
    return orjson.loads(answer.content[:size]), answer.content[size:]


ROW = np.array([[1, 2, 3, 4]], "<f4")


def test_bytes_in_and_bytes_out(models: Any) -> None:
    head = {"inputs": [sent("x", ROW, "FP32")], "parameters": {"binary_data_output": True}}

    answer, behind = parts(models.binary("kinds", head, ROW.tobytes()))

    assert answer["outputs"] == [
        {
            "name": "output",
            "datatype": "FP32",
            "shape": [1, 3],
            "parameters": {"binary_data_size": 12},
        }
    ]
    assert np.frombuffer(behind, "<f4").tolist() == [0, 2, 4]


def test_json_and_bytes_may_be_mixed_both_ways(models: Any) -> None:
    a = np.array([1, 2, 3], "<i8")
    json_b = {"name": "b", "shape": [3], "datatype": "BOOL", "data": [True, False, True]}
    outputs = [
        {"name": "total", "parameters": {"binary_data": True}},
        {"name": "is_even", "parameters": {"binary_data": False}},
    ]
    for inputs in ([sent("a", a, "INT64"), json_b], [json_b, sent("a", a, "INT64")]):
        head = {
            "inputs": inputs,
            "outputs": outputs,
            "parameters": {"binary_data_output": True},
        }
        answer, behind = parts(models.binary("kinds.both", head, a.tobytes()))

        assert np.frombuffer(behind, "<i8").tolist() == [2, 2, 4]
        assert answer["outputs"][1]["data"] == [False, True, False]


def test_several_tensors_stand_in_their_order(models: Any) -> None:
    a, b = np.array([5, 6], "<i8"), np.array([True, False])
    head = {"inputs": [sent("b", b, "BOOL"), sent("a", a, "INT64")]}

    answer = models.binary("kinds.both", head, b.tobytes() + a.tobytes())

    assert answer.json()["outputs"][0]["data"] == [6, 6]


def test_texts_are_lengths_and_bytes(models: Any) -> None:
    words = b"".join(len(one).to_bytes(4, "little") + one for one in (b"a", b"", b"\xc3\xa9"))
    head = {
        "inputs": [sent("words", np.empty(3), "BYTES", len(words))],
        "parameters": {"binary_data_output": True},
    }

    answer, behind = parts(models.binary("kinds.upper", head, words))

    assert answer["outputs"][0]["shape"] == [3]
    assert behind == b"\1\0\0\0A\0\0\0\0\2\0\0\0\xc3\x89"


def test_numbers_of_16_bits_go_through_as_they_are(models: Any) -> None:
    x = np.array([0.5, np.nan, 100], "<f2")
    head = {"inputs": [sent("x", x, "FP16")], "parameters": {"binary_data_output": True}}

    answer, behind = parts(models.binary("kinds.half", head, x.tobytes()))

    assert answer["outputs"][0]["datatype"] == "FP16"
    assert np.array_equal(np.frombuffer(behind, "<f2"), x * 2, equal_nan=True)


def test_a_body_of_nothing_but_bytes_is_one_row(models: Any) -> None:
    answer, behind = parts(_bare(models))

    assert answer["outputs"][0]["shape"] == [1, 3]
    assert np.frombuffer(behind, "<f4").tolist() == [0, 2, 4]


def _bare(models: Any, model: str = "kinds", body: bytes = ROW.tobytes()) -> Any:
    return models.post(f"/models/{model}/infer", body, inference_header_content_length="0")


def test_bare_bytes_fill_the_open_axis_or_are_one_text(models: Any) -> None:
    _, numbers = parts(_bare(models, "kinds.half", np.array([1, 2, 3], "<f2").tobytes()))
    _, text = parts(_bare(models, "kinds.turn", b"abc"))

    assert np.frombuffer(numbers, "<f2").tolist() == [2, 4, 6]
    assert text == b"\3\0\0\0cba"


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        ("kinds", ROW.tobytes() * 2, "the bytes of one row, FP32[1, 4], got 32 bytes"),
        ("kinds", b"", "the bytes of one row"),
        ("kinds.half", b"abc", "the bytes of one row, FP16[?], got 3 bytes"),
        ("kinds.both", b"", "the model has several inputs"),
    ],
)
def test_bare_bytes_that_fit_nowhere_are_refused(
    models: Any, model: str, body: bytes, said: str
) -> None:
    answer = _bare(models, model, body)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("change", "data", "length", "said"),
    [
        ({}, ROW.tobytes()[:-1], None, "16 bytes behind the JSON part, got 15"),
        ({}, ROW.tobytes() + b"\0", None, "16 bytes behind the JSON part, got 17"),
        ({"parameters": {"binary_data_size": 15}}, ROW.tobytes(), None, "expected 16 for FP32"),
        ({"parameters": {"binary_data_size": -1}}, ROW.tobytes(), None, "a whole number"),
        ({"parameters": {"binary_data_size": 16.0}}, ROW.tobytes(), None, "a whole number"),
        ({"parameters": {"binary_data_size": 2**63}}, ROW.tobytes(), None, "expected 16 for FP32"),
        ({"data": [1, 2, 3, 4]}, ROW.tobytes(), None, "got both"),
        ({"parameters": {}}, ROW.tobytes(), None, "got neither"),
        ({"shape": [2**62, 4]}, ROW.tobytes(), None, "fits into memory"),
        ({}, ROW.tobytes(), 100_000, "a JSON part of 100000 bytes"),
        ({}, ROW.tobytes(), 20, "not valid JSON"),
    ],
)
def test_lengths_that_do_not_agree_are_refused(
    models: Any, change: Any, data: bytes, length: int | None, said: str
) -> None:
    head = {"inputs": [{**sent("x", ROW, "FP32"), **change}]}

    answer = models.binary("kinds", head, data, length=length)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "", "9" * 19, "0x10"])
def test_a_header_length_that_is_no_number_is_refused(models: Any, length: str) -> None:
    answer = models.post("/models/kinds/infer", b"{}", inference_header_content_length=length)

    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"\5\0\0\0abc", "an element of 5 bytes, got 3 bytes"),
        (b"\xff\xff\xff\xffabcd", "an element of 4294967295 bytes"),
        (b"\1\0\0\0a\0", "1 elements, got 1 bytes behind"),
        (b"\1\0", "4 bytes of length before each"),
    ],
)
def test_texts_whose_lengths_do_not_agree_are_refused(models: Any, words: bytes, said: str) -> None:
    head = {"inputs": [sent("words", np.empty(1), "BYTES", len(words))]}

    answer = models.binary("kinds.upper", head, words)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_a_byte_that_is_no_bool_is_refused(models: Any) -> None:
    a, b = np.array([1], "<i8"), np.array([2], np.uint8)
    head = {"inputs": [sent("a", a, "INT64"), sent("b", b, "BOOL")]}

    answer = models.binary("kinds.both", head, a.tobytes() + b.tobytes())

    assert answer.status_code == 400
    assert "0 or 1 (BOOL)" in answer.json()["error"]


def test_nan_in_bytes_is_refused_where_the_api_says_so(models: Any) -> None:
    x = np.array([np.nan], "<f8")

    answer = models.binary("kinds.strict", {"inputs": [sent("x", x, "FP64")]}, x.tobytes())

    assert answer.status_code == 400
    assert "finite numbers" in answer.json()["error"]


@pytest.mark.parametrize(
    ("coding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_the_header_length_holds_for_the_body_as_it_was(
    models: Any, coding: str, squeeze: Any
) -> None:
    head = orjson.dumps({"inputs": [sent("x", ROW, "FP32")]})

    answer = models.post(
        "/models/kinds/infer",
        squeeze(head + ROW.tobytes()),
        inference_header_content_length=str(len(head)),
        content_encoding=coding,
    )

    assert answer.json()["outputs"][0]["data"] == [0, 2, 4]


def test_long_answers_are_compressed_for_who_asks(models: Any) -> None:
    x = {"name": "x", "shape": [5000], "datatype": "FP32", "data": [1.5] * 5000}

    squeezed = models.post("/models/kinds.echo/infer", {"inputs": [x]}, accept_encoding="gzip")
    plain = models.post("/models/kinds.echo/infer", {"inputs": [x]}, accept_encoding="identity")

    assert squeezed.headers["content-encoding"] == "gzip"
    assert int(squeezed.headers["content-length"]) < int(plain.headers["content-length"]) / 10
    assert squeezed.json() == plain.json()


def test_an_unknown_coding_is_refused(models: Any) -> None:
    answer = models.post("/models/kinds/infer", b"{}", content_encoding="br")

    assert (answer.status_code, list(answer.json())) == (415, ["error"])
