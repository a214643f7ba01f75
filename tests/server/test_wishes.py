"""Deadlines and priorities as a client writes them."""

from __future__ import annotations

import json

import pytest

from modelpack.server.problems import RefusedRequest
from modelpack.server.wishes import priority_of, timeout_of


def test_a_request_may_want_its_answer_sooner_but_not_later() -> None:
    assert timeout_of({}, 30.0) == 30.0
    assert timeout_of({b"x-request-timeout-ms": b"250"}, 30.0) == 0.25
    assert timeout_of({b"x-request-timeout-ms": b"30001"}, 30.0) == 30.0
    assert timeout_of({b"x-request-timeout-ms": b"9" * 18}, 30.0) == 30.0


@pytest.mark.parametrize("wish", [b"", b"0", b"000", b"-5", b"1.5", b"1e3", b"soon", b"9" * 19])
def test_a_deadline_that_is_none_is_refused(wish: bytes) -> None:
    with pytest.raises(RefusedRequest) as refused:
        timeout_of({b"x-request-timeout-ms": wish}, 30.0)

    assert refused.value.problem.status == 400
    assert not refused.value.problem.closes
    assert "whole milliseconds" in refused.value.problem.detail


def test_priorities_have_three_names() -> None:
    assert [
        priority_of({b"modelpack-priority": name}) for name in (b"high", b"Normal", b"low")
    ] == [
        0,
        1,
        2,
    ]
    assert priority_of({}) == 1


@pytest.mark.parametrize("wish", [b"", b"1", b"urgent", b"high "])
def test_another_priority_is_refused(wish: bytes) -> None:
    with pytest.raises(RefusedRequest) as refused:
        priority_of({b"modelpack-priority": wish})

    assert refused.value.problem.status == 400


def test_a_refused_value_is_shown_bounded_and_printable() -> None:
    with pytest.raises(RefusedRequest) as refused:
        priority_of({b"modelpack-priority": b"\xe9" * 500})

    body = json.loads(refused.value.problem.to_bytes(b"id"))
    assert len(body["detail"]) < 120
    assert body["code"] == "bad-request"
