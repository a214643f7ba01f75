"""Lines come out of Cloud Logging once each, oldest first, however late they get there."""

from __future__ import annotations

from itertools import islice
from typing import Any

from modelpack_gcp.loglines import log_lines, text_of

from modelpack.deploy import Clock


class Logs:
    """Cloud Logging with entries of its own: pages of two, in the order that is asked for."""

    project = "demo"

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.asked: list[dict[str, Any]] = []
        self.later: list[dict[str, Any]] = []
        self.clock = Clock(now=lambda: 0.0, sleep=self._wait)

    def _wait(self, _: float) -> None:
        if self.later:
            self.entries.append(self.later.pop(0))

    def call(self, method: str, what: str, body: Any = None, **_: Any) -> dict[str, Any]:
        assert (method, what) == ("logging.entries.list", "read the log")
        self.asked.append(dict(body))
        rows = sorted(self.entries, key=lambda one: str(one["timestamp"]))
        if ">=" in body["filter"]:
            since = body["filter"].rpartition('"')[0].rpartition('"')[2]
            rows = [one for one in rows if str(one["timestamp"]) >= since]
        if body["orderBy"] == "timestamp desc":
            rows.reverse()
        start = int(body.get("pageToken") or 0)
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(rows) else {}
        return {"entries": rows[start : start + 2], **more}


def entry(second: int, text: Any) -> dict[str, Any]:
    kind = "textPayload" if isinstance(text, str) else "jsonPayload"
    at = f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"
    return {"insertId": f"{second}-{text}", "timestamp": at, kind: text}


def lines(
    logs: Logs, *, follow: bool = False, tail: int | None = None, most: int = 99
) -> list[str]:
    return list(islice(log_lines(logs, "a", follow=follow, tail=tail), most))  # type: ignore[arg-type]


def test_all_pages_are_read_oldest_first() -> None:
    logs = Logs(*(entry(second, f"line {second}") for second in range(5)))

    assert lines(logs) == [f"line {second}" for second in range(5)]
    assert len(logs.asked) == 3


def test_of_a_tail_the_newest_are_shown_in_their_order() -> None:
    logs = Logs(*(entry(second, f"line {second}") for second in range(5)))

    assert lines(logs, tail=3) == ["line 2", "line 3", "line 4"]
    assert logs.asked[0]["pageSize"] == 3


def test_a_tail_counts_lines_and_not_entries() -> None:
    logs = Logs(entry(1, "a\nb\nc"), entry(2, "d"))

    assert lines(logs, tail=2) == ["c", "d"]
    assert lines(logs, tail=0) == []


def test_an_entry_is_the_lines_that_were_written() -> None:
    assert text_of({"textPayload": "one\ntwo"}) == ["one", "two"]
    assert text_of({"textPayload": ""}) == [""]
    assert text_of({"jsonPayload": {"event": "bereit", "n": 1}}) == ['{"event":"bereit","n":1}']
    assert text_of({"protoPayload": {}}) == []


def test_who_follows_gets_what_comes_later_and_nothing_twice() -> None:
    logs = Logs(entry(1, "first"))
    logs.later = [entry(2, "second"), entry(3, "third")]

    assert lines(logs, follow=True, most=3) == ["first", "second", "third"]


def test_what_gets_there_late_is_found_within_half_a_minute() -> None:
    logs = Logs(entry(100, "first"))
    logs.later = [entry(80, "late"), entry(60, "too late"), entry(101, "next")]

    assert lines(logs, follow=True, most=3) == ["first", "late", "next"]


def test_a_tail_of_none_still_follows() -> None:
    logs = Logs()
    logs.later = [entry(1, "first")]

    assert lines(logs, follow=True, tail=0, most=1) == ["first"]
