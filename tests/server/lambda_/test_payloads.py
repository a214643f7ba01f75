"""The payload log of a function that may be frozen whenever it has answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.collector import Collector, collector

__all__ = ["collector"]

Begin = Callable[..., Any]


@pytest.mark.parametrize("who", ["ours", "awslambdaric"])
def test_events_are_sent_before_the_next_invocation_is_asked_for(
    begin: Begin, bundle: Callable[..., Path], collector: Collector, who: str
) -> None:
    api, _ = begin(who, bundle(), MODELPACK_PAYLOAD_LOG_URL=collector.url)
    sent_before: list[int] = []
    next_event = api.next_event

    def noticed() -> Any:
        sent_before.append(len(collector.posts))
        return next_event()

    api.next_event = noticed
    for number in range(2):
        outcome = api.invoke({"x": [[1, number]]})
        assert outcome.kind == "response"
    posts = collector.wait_for(4)
    deadline = time.monotonic() + 20
    while sent_before[-1:] != [4] and time.monotonic() < deadline:
        time.sleep(0.01)

    assert sent_before[-2:] == [2, 4]
    assert {post.event.get_id() for post in posts} == {"id-1", "id-2"}
    assert posts[0].event.get_extension("path") == "/predict"


def test_a_collector_that_is_away_keeps_no_invocation_waiting(
    begin: Begin, bundle: Callable[..., Path]
) -> None:
    api, _ = begin("ours", bundle(), MODELPACK_PAYLOAD_LOG_URL="http://127.0.0.1:9/")
    for _ in range(3):
        assert api.invoke({"x": [[1, 2]]}).json == [3.0]
