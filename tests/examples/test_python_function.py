"""The example without a model: a text function, and one that streams."""

import json
from collections.abc import Callable
from typing import Any

import httpx

TEXT = "The keeper lit the lamp. It rained. Ships saw the lamp of the keeper."


def test_service_is_a_plain_object(words: Any) -> None:
    service = words.service()

    assert [(one.word, one.count) for one in service.keywords(TEXT, top=2)] == [
        ("keeper", 2),
        ("lamp", 2),
    ]
    assert list(service.summary(TEXT, top=2)) == [
        "The keeper lit the lamp.",
        "Ships saw the lamp of the keeper.",
    ]


def test_an_empty_text_has_no_keywords_and_no_sentences(words: Any) -> None:
    assert words.service().keywords("") == []
    assert list(words.service().summary("")) == []


def test_served_function_answers(words: Any, serve: Callable[..., str]) -> None:
    example = json.loads((words.folder / "example.json").read_text())

    url = serve(cwd=words.folder)
    answer = httpx.post(f"{url}/keywords", json=example)
    refused = httpx.post(f"{url}/keywords", json={"text": TEXT, "top": 1000})

    assert answer.json() == [{"word": "lighthouse", "count": 2}, {"word": "rock", "count": 2}]
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/top"


def test_served_stream_comes_sentence_by_sentence(words: Any, serve: Callable[..., str]) -> None:
    url = serve(cwd=words.folder)

    with httpx.stream("POST", f"{url}/summary", json={"text": TEXT}) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert lines == list(words.service().summary(TEXT))
