"""What a keeper says of a group, and what that amounts to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelpack.deploy import State
from modelpack.deploy.awake import read_awake, state_with
from tests.deploy.test_lineup import FORMER, group

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def said(*, allowed: list[str] | None = None, joined: int = 0, **scaled: Any) -> dict[str, Any]:
    known = {"places": 4, "awake": 0, "wanted": 0, "asleep_since": None, **scaled}
    return {"allowed": allowed, "joined": {"g": joined}, "scaling": {"g": known}}


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        (said(), State.RUNNING, None),
        (said(wanted=3, joined=1), State.RUNNING, None),
        (said(wanted=1), State.STARTING, "0 of 1 replicas are ready"),
        (said(allowed=["h"], wanted=2, joined=2), State.RUNNING, None),
        (said(allowed=["h"], wanted=2, joined=1), State.STARTING, "1 of 2 replicas are ready"),
        (said(allowed=[], joined=0), State.STARTING, "0 of 1 replicas are ready"),
    ],
    ids=["asleep", "serves", "wakes", "trial-ready", "trial-half", "trial-not-woken"],
)
def test_who_serves_needs_one_and_who_is_tried_needs_all(
    answer: dict[str, Any], state: State, detail: str | None
) -> None:
    tried = group(dict.fromkeys((1, 2, 3, 4), FORMER))
    assert state_with(tried, read_awake(answer, "g"), NOW) == (state, detail)


def test_the_numbers_of_a_status_say_since_when_it_sleeps() -> None:
    found = read_awake(said(awake=2, wanted=3), "g").replicas
    assert str(found) == "2 of 4 awake, 3 wanted"

    found = read_awake(said(asleep_since=1_767_225_600.5), "g").replicas
    assert str(found) == "0 of 4 awake since 2026-01-01T00:00:00Z"


def test_of_a_group_that_the_keeper_does_not_know_nothing_is_there() -> None:
    found = read_awake({"allowed": ["h"], "joined": {}, "accepting": {}}, "g")
    assert (found.places, found.awake, found.has_port) == (0, 0, False)
