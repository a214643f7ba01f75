"""Lines come once and in order, from all replicas, and the following ends with what it follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from modelpack_azure.account import Account
from modelpack_azure.app_logs import log_lines as app_lines
from modelpack_azure.ml_seen import log_lines as ml_lines
from modelpack_azure.modes import Place

from modelpack.errors import DeployError, NotFoundError
from modelpack.testing import Hours


@dataclass
class Streams:
    """Answers for the log streams; each look finds the next of ``looks``, and at last nothing."""

    looks: list[Any]
    status: int = 200
    now: Any = None
    endpoint: str | None = None
    asked: list[Any] = field(default_factory=list)

    def pages(self, path: str, api: str) -> list[Any]:
        if not self.looks:
            raise NotFoundError("it is gone")
        self.now = self.looks.pop(0)
        return [
            {
                "name": name,
                "properties": {
                    "containers": [
                        {"name": "service", "logStreamEndpoint": f"https://s/{name}"},
                        {"name": "beside", "logStreamEndpoint": "https://s/never"},
                    ]
                },
            }
            for name in self.now
        ]

    def post(self, path: str, api: str, body: Any = None) -> Any:
        if body is None:
            return {"properties": {"token": "t"}}
        self.asked.append(body)
        if not self.looks:
            raise NotFoundError("it is gone")
        return {"content": "".join(f"{line}\n" for line in self.looks.pop(0))}

    def fetch(self, url: str, *, token: str) -> tuple[int, bytes]:
        assert token == "t"
        name = url.partition("?")[0].rpartition("/")[2]
        return self.status, b"\n".join(self.now[name])


def place(streams: Streams) -> Place:
    return Place(calls=streams, account=Account(), target="azure", clock=Hours().clock())  # type: ignore[arg-type]


def line(second: int, text: str) -> bytes:
    return json.dumps({"TimeStamp": f"2026-01-01T00:00:{second:02}", "Log": text + "\n"}).encode()


def lines(found: Iterator[str]) -> list[str]:
    return list(found)


def test_the_lines_of_all_replicas_come_by_their_time() -> None:
    streams = Streams([{"a": [line(1, "one"), line(3, "three")], "b": [line(2, "two")]}])
    assert lines(app_lines(place(streams), "/app", "r", follow=False, tail=None)) == [
        "one",
        "two",
        "three",
    ]


def test_what_comes_later_is_told_once_and_ends_with_the_app() -> None:
    first = {"a": [line(1, "one")]}
    later = {"a": [line(1, "one"), line(2, "two")], "b": [line(3, "three")]}
    streams = Streams([first, first, later, later])
    assert lines(app_lines(place(streams), "/app", "r", follow=True, tail=1)) == [
        "one",
        "two",
        "three",
    ]


def test_a_line_that_is_no_record_is_told_as_it_is() -> None:
    streams = Streams([{"a": [b"plain \xff"]}])
    assert lines(app_lines(place(streams), "/app", "r", follow=False, tail=None)) == [
        "plain \ufffd"
    ]


def test_a_stream_that_does_not_answer_is_said() -> None:
    streams = Streams([{"a": []}], status=503)
    with pytest.raises(DeployError, match="the log stream of 'a' answers HTTP 503"):
        lines(app_lines(place(streams), "/app", "r", follow=False, tail=None))


def test_of_an_endpoint_the_newest_lines_are_found_by_where_the_text_before_ends() -> None:
    streams = Streams([["one", "two"], ["one", "two"], ["two", "three"], ["three", "four", "five"]])
    found = lines(ml_lines(place(streams), "/deployment", follow=True, tail=2))
    assert found == ["one", "two", "three", "four", "five"]
    assert streams.asked[0] == {"containerType": "InferenceServer", "tail": 2}
