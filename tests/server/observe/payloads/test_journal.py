"""Events in files."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.formats.json import JSONFormat

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.server.observe.payloads.events import Event, Form, events_of
from modelpack.server.observe.payloads.journal import KEPT, Journal
from modelpack.server.observe.payloads.log import open_log
from modelpack.server.observe.payloads.record import ApiPayloads, Exchange, Rules, Said
from tests.collector import REQUEST, RESPONSE, sample

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]


def exchange(body: bytes, content_type: bytes = b"application/json") -> Exchange:
    """Return a call that was answered with what it sent."""
    payloads = ApiPayloads("demo", "double", Rules(), lambda _: None)
    one = Exchange(payloads, Said("/double", content_type), b"id-1", body)
    one.end(200, content_type, body)
    return one


def numbered(number: int) -> list[Event]:
    return events_of(exchange(b"%d" % number))


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_each_event_is_a_line_that_the_sdk_reads(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "pay loads.jsonl"
    server = start(Demo, payload_log_url=f"file://{tmp_path}/pay%20loads.jsonl")
    for number in range(3):
        server.post("/double", {"x": [number]})
    server.wait_until(lambda: server.server.payloads.stats.sent == 6)
    page = server.client.get("/metrics").text
    events = [JSONFormat().read(None, line) for line in file.read_bytes().splitlines()]

    assert [one.get_type() for one in events] == [REQUEST, RESPONSE] * 3
    assert [one.get_data() for one in events[:3]] == [{"x": [0]}, [0], {"x": [1]}]
    assert events[0].get_extension("inferenceservicename") == "demo"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sample(page, "modelpack_payload_events_sent_total") == 6


@pytest.mark.parametrize(
    ("content_type", "body", "member", "value"),
    [
        (b"application/json", b'{"a":\r\n [1, 2.50]}', "data", {"a": [1, 2.5]}),
        (b"application/json; charset=utf-8", b'"a\\nb"', "data", "a\nb"),
        (b"application/problem+json", b"null", "data", None),
        (b"application/json", b'{"a": NaN}', "data_base64", "eyJhIjogTmFOfQ=="),
        (b"application/json", b'{"a":', "data_base64", "eyJhIjo="),
        (b"application/x-ndjson", b"1\n2\n", "data", "1\n2\n"),
        (b"text/event-stream", b"data: 1\n\n", "data", "data: 1\n\n"),
        (b"text/plain", b"\xff", "data_base64", "/w=="),
        (b"image/png", b"\x89PNG", "data_base64", "iVBORw=="),
    ],
)
def test_a_body_stands_in_its_line_as_it_is_or_as_base64(
    content_type: bytes, body: bytes, member: str, value: Any
) -> None:
    line = Form({}).as_json(events_of(exchange(body, content_type))[0])

    assert b"\n" not in line
    event = json.loads(line)
    assert event[member] == value
    assert event.keys() >= {"specversion", "id", "source", "type", "time", "datacontenttype"}


def test_numbers_stay_as_they_were_written() -> None:
    body = b'{"big": 123456789012345678901234567890, "exact": 0.10}'
    assert body in Form({}).as_json(events_of(exchange(body))[0])


def test_a_file_that_is_long_enough_is_followed_by_another(tmp_path: Path) -> None:
    file = tmp_path / "p"
    journal = Journal(str(file), Form({}), max_bytes=1)
    for number in range(KEPT + 3):
        assert not journal.deliver(numbered(number), 1.0)[0].failure
    journal.close()

    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["p", *(f"p.{n}" for n in range(1, KEPT + 1)), "p.lock"]
    assert lines_of(file)[0]["data"] == KEPT + 2
    assert lines_of(tmp_path / f"p.{KEPT}")[0]["data"] == 2


def test_several_writers_share_a_file_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p"
    journals = [Journal(str(file), Form({}), max_bytes=3000) for _ in range(3)]
    for number in range(8):
        for journal in journals:
            assert not journal.deliver(numbered(number), 1.0)[0].failure
    for journal in journals:
        journal.close()

    files = [one for one in tmp_path.iterdir() if one.suffix != ".lock"]
    assert len(files) > 1
    found = [event["data"] for one in files for event in lines_of(one)]
    assert sorted(found) == sorted(list(range(8)) * 6)


def test_a_file_that_somebody_moved_away_is_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "p"
    journal = Journal(str(file), Form({}), max_bytes=10**6)
    journal.deliver(numbered(1), 1.0)
    file.rename(tmp_path / "moved")
    journal.deliver(numbered(2), 1.0)
    journal.close()

    assert [lines_of(tmp_path / name)[0]["data"] for name in ("moved", "p")] == [1, 2]


def test_after_a_full_disk_whole_lines_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "p"
    journal = Journal(str(file), Form({}), max_bytes=10**6)
    write, room = os.write, [40]

    def cramped(descriptor: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        size, room[0] = min(room[0], len(data)), 0
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", cramped)
    outcome, _ = journal.deliver(numbered(1), 1.0)
    monkeypatch.undo()
    assert (outcome.failure, outcome.why) == ("unreachable", "No space left on device")
    assert not outcome.was_heard  # so it is tried again as long as it takes
    assert not journal.deliver(numbered(1), 1.0)[0].failure
    journal.close()

    torn, *whole = file.read_bytes().splitlines()
    assert len(torn) == 40
    assert [json.loads(line)["data"] for line in whole] == [1, 1]


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    for path in (tmp_path / "none" / "p", tmp_path, tmp_path / "link"):
        with pytest.raises(UsageError, match="cannot be written") as caught:
            open_log(ServerSettings(payload_log_url=f"file://{path}"), {})
        assert "folder that is there" in (caught.value.hint or "")


PROJECT = """
import modelpack


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]
"""


def test_workers_write_to_one_file_and_are_counted_together(
    serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service.py").write_text(PROJECT)
    file = tmp_path / "payloads.jsonl"
    monkeypatch.setenv("MODELPACK_PAYLOAD_LOG_URL", f"file://{file}")
    url = serve("--workers", "2", cwd=tmp_path)
    ids = set()
    for number in range(20):  # each on a connection of its own
        answer = httpx.post(f"{url}/double", json={"x": [number]})
        ids.add(answer.headers["x-request-id"])
    end = time.monotonic() + 20
    while len(file.read_bytes().splitlines()) < 40 and time.monotonic() < end:
        time.sleep(0.02)
    page = httpx.get(f"{url}/metrics").text

    events = lines_of(file)
    assert {one["id"] for one in events} == ids
    assert len(events) == 40
    assert sample(page, "modelpack_payload_events_sent_total") == 40
    assert sample(page, "modelpack_payload_queue_events") == 0
