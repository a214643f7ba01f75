"""Texts in, texts out, and answers that come piece by piece."""

from __future__ import annotations

from typing import Any

import orjson
import pytest


def events(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    return [orjson.loads(block.removeprefix("data: ")) for block in blocks]


def test_a_text_is_answered_by_a_text(models: Any) -> None:
    answer = models.post("/models/kinds.write/generate", {"text_input": "ab"})

    assert answer.json() == {
        "model_name": "kinds.write",
        "model_version": "1",
        "text_output": "AB",
    }


@pytest.mark.parametrize(
    "body",
    [
        {"text_input": "a", "parameters": {"times": 3, "temperature": 0.5}, "id": "7"},
        {"prompt": "a", "times": 3, "id": "7", "stream": False},
    ],
)
def test_parameters_are_those_of_the_api_and_others_are_passed_over(models: Any, body: Any) -> None:
    answer = models.post("/models/kinds.write/versions/1/generate", body).json()

    assert (answer["text_output"], answer["id"]) == ("A A A", "7")


def test_an_api_that_takes_no_text_is_asked_by_its_keys(models: Any) -> None:
    answer = models.post("/models/kinds/generate", {"x": [[1, 2, 3, 4]]})

    assert answer.json()["text_output"] == [[0, 2, 4]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "an object with 'text_input'"),
        ({"text_input": 7}, "/prompt: expected a string"),
        ({}, "/prompt: expected a string, got nothing"),
        ({"text_input": "a", "parameters": []}, "/parameters"),
        ({"text_input": "a", "id": 7}, "/id: expected a string"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(models: Any, body: Any, said: str) -> None:
    for end in ("generate", "generate_stream"):
        answer = models.post(f"/models/kinds.write/{end}", body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
        assert said in answer.json()["error"]


def test_each_piece_of_a_stream_is_an_event(models: Any) -> None:
    answer = models.post("/models/kinds.tell/generate_stream", {"text_input": "a b", "id": "1"})

    assert events(answer) == [
        {"id": "1", "model_name": "kinds.tell", "model_version": "1", "text_output": f"{one} "}
        for one in "ab"
    ]


def test_an_api_that_does_not_stream_is_one_event(models: Any) -> None:
    answer = models.post("/models/kinds.write/generate_stream", {"text_input": "a"})

    assert [one["text_output"] for one in events(answer)] == ["A"]


def test_a_stream_is_joined_where_one_answer_is_asked_for(models: Any) -> None:
    answer = models.post("/models/kinds.tell/generate", {"text_input": "a b c"})

    assert answer.json()["text_output"] == "a b c "


def test_what_fails_at_once_has_a_status_and_what_fails_later_is_an_event(models: Any) -> None:
    at_once = models.post("/models/kinds.tell/generate_stream", {"text_input": "stumble"})
    later = models.post("/models/kinds.tell/generate_stream", {"text_input": "a stumble"})
    joined = models.post("/models/kinds.tell/generate", {"text_input": "a stumble"})

    assert (at_once.status_code, list(at_once.json())) == (500, ["error"])
    assert [list(one)[-1] for one in events(later)] == ["text_output", "error"]
    assert (joined.status_code, list(joined.json())) == (500, ["error"])


def test_inference_of_a_stream_is_an_event_each(models: Any) -> None:
    sent = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["a b"]}

    streamed = models.post("/models/kinds.tell/infer_stream", {"inputs": [sent], "id": "5"})
    refused = models.infer("kinds.tell", [sent])

    assert [one["outputs"][0]["data"] for one in events(streamed)] == [["a "], ["b "]]
    assert {one["id"] for one in events(streamed)} == {"5"}
    assert refused.status_code == 400
    assert "infer_stream or generate_stream" in refused.json()["error"]


def test_a_stream_that_is_left_ends_its_generator(models: Any) -> None:
    """Nothing stays in flight after a client that closes in the middle."""
    client = models.running.client
    body = orjson.dumps({"text_input": "a " * 20_000})
    with client.stream("POST", "/v2/models/kinds.tell/generate_stream", content=body) as answer:
        assert next(answer.iter_lines()).startswith("data: ")

    stats = next(one.stats for one in models.running.server.endpoints if one.api.name == "tell")
    models.running.wait_until(lambda: stats.in_flight == 0)
