"""What platforms say is made fit for a message."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta, timezone

import pytest

from modelpack.deploy import is_reachable, moment, one_line


def test_text_becomes_one_line_that_steers_no_terminal() -> None:
    assert one_line("  Rate\n exceeded\x1b[31m \t now ") == "Rate exceeded [31m now"
    assert one_line("") == ""


def test_long_text_is_cut_and_says_so() -> None:
    assert one_line("a" * 500) == "a" * 239 + "…"
    assert one_line("abcdef", most=4) == "abc…"
    assert one_line("abcd", most=4) == "abcd"


@pytest.mark.parametrize(
    "said",
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01T10:00:00.123456789Z",
        "2026-03-01T10:00:00.1+00:00",
        datetime(2026, 3, 1, 10, 0, 0, 5, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_told_to_the_second(said: object) -> None:
    assert moment(said) == "2026-03-01T10:00:00Z"


@pytest.mark.parametrize("said", [None, "", "yesterday", 7])
def test_what_is_no_time_is_none(said: object) -> None:
    assert moment(said) is None


def test_who_listens_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_reachable(f"http://127.0.0.1:{port}/readyz")
    assert not is_reachable(f"http://127.0.0.1:{port}/readyz")
