"""How an app is, by its newest release and its dynos."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_heroku.looking import state_of

from modelpack.deploy import State

RELEASE = {"version": 7, "status": "succeeded"}


def dyno(state: str, version: int = 7) -> dict[str, Any]:
    return {"type": "web", "state": state, "release": {"version": version}}


@pytest.mark.parametrize(
    ("dynos", "quantity", "state"),
    [
        ([], 0, State.STOPPED),
        ([], 1, State.STARTING),
        ([dyno("starting")], 1, State.STARTING),
        ([dyno("up", 6)], 1, State.STARTING),
        ([dyno("up")], 1, State.RUNNING),
        ([dyno("idle")], 1, State.RUNNING),
        ([dyno("up"), dyno("crashed")], 2, State.RUNNING),
        ([dyno("crashed"), dyno("starting")], 2, State.FAILED),
        ([dyno("crashed", 6), dyno("starting")], 2, State.STARTING),
        ([dyno("down")], 1, State.STARTING),
    ],
)
def test_dynos_of_the_newest_release_decide(dynos: list[Any], quantity: int, state: State) -> None:
    found, why = state_of(RELEASE, dynos, quantity)

    assert found is state
    assert (why is None) == (state is State.RUNNING)


def test_a_release_that_has_failed_is_no_running_app() -> None:
    assert state_of({**RELEASE, "status": "failed"}, [dyno("up")], 1)[0] is State.FAILED
