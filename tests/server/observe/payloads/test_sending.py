"""Collectors that are away, slow, or do not want what they get."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.server.life.stopping import EXIT_INTERRUPTED
from modelpack.server.observe.logs import configured
from modelpack.server.observe.payloads import sender
from modelpack.server.observe.payloads.collector import AT_ONCE
from modelpack.server.observe.payloads.collector import Collector as Sink
from modelpack.server.observe.payloads.log import HEADER, open_log
from tests.collector import REQUEST, RESPONSE, Collector, sample

Start = Callable[..., Any]

SENT = "modelpack_payload_events_sent_total"
DROPPED = "modelpack_payload_events_dropped_total"
FAILURES = "modelpack_payload_failures_total"
WAITING = "modelpack_payload_queue_events"


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/secret-path"


def page(server: Any) -> str:
    text: str = server.client.get("/metrics").text
    return text


def calls(server: Any, count: int = 1) -> None:
    for number in range(count):
        assert server.post("/double", {"x": [number]}).status_code == 200


def test_a_dead_collector_costs_events_and_no_request(start: Start, nobody: str) -> None:
    server = start(Demo, payload_log_url=nobody, payload_log_max_events=6)
    calls(server, 10)
    server.wait_until(lambda: sample(page(server), FAILURES, reason="unreachable") >= 2)

    assert sample(page(server), DROPPED, reason="queue-full") == 14
    assert sample(page(server), WAITING) == 6
    assert sample(page(server), SENT) == 0
    stats = server.server.payloads.stats
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 3.0
    assert (stats.dropped["stopped"], stats.waiting_events, stats.waiting_bytes) == (6, 0, 0)


def test_the_queue_is_bounded_in_bytes_too(start: Start, collector: Collector) -> None:
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url, payload_log_max_bytes=100)
    calls(server, 20)  # of 12 bytes, later 13

    assert sample(page(server), DROPPED, reason="queue-full") == 2 * (20 - 8)
    assert sample(page(server), "modelpack_payload_queue_bytes") == 5 * 12 + 3 * 13
    collector.gate.set()
    server.wait_until(lambda: sample(page(server), WAITING) == 0)
    assert sample(page(server), "modelpack_payload_queue_bytes") == 0


def test_what_was_not_taken_comes_again_with_its_id(start: Start, collector: Collector) -> None:
    collector.statuses = [503, 500]
    server = start(Demo, payload_log_url=collector.url)
    calls(server, 2)
    events = collector.events(4)

    assert [one.get_type() for one in events] == [REQUEST, RESPONSE, REQUEST, RESPONSE]
    assert sample(page(server), FAILURES, reason="status") == 2
    server.wait_until(lambda: sample(page(server), SENT) == 4)


def test_what_is_refused_is_dropped_and_the_next_is_sent(
    start: Start, collector: Collector
) -> None:
    collector.statuses = [400, 307]
    server = start(Demo, payload_log_url=collector.url)
    calls(server)
    server.wait_until(lambda: sample(page(server), DROPPED, reason="refused") == 2)
    calls(server)

    collector.pair()
    assert sample(page(server), FAILURES, reason="status") == 2
    assert collector.tries == 4


def test_a_collector_that_closes_its_connections_loses_nothing(
    start: Start, collector: Collector
) -> None:
    server = start(Demo, payload_log_url=collector.url)
    for count in (2, 4):
        calls(server)
        collector.events(count)
        for connection in list(collector.sockets):
            with suppress(OSError):  # it is one of before
                connection.shutdown(socket.SHUT_RDWR)

    assert len(collector.connections) > 2
    assert sample(page(server), FAILURES, reason="unreachable") == 0


def test_what_a_collector_never_takes_is_given_up_after_some_tries(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE_S", 0.001)
    collector.statuses = [500] * 2 * sender.MOST_TRIES
    server = start(Demo, payload_log_url=collector.url)
    calls(server)
    server.wait_until(lambda: sample(page(server), DROPPED, reason="undelivered") == 2)
    calls(server)

    collector.pair()
    assert sample(page(server), FAILURES, reason="status") == 2 * sender.MOST_TRIES


def test_a_collector_that_wants_no_more_now_gets_all_of_it_later(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE_S", 0.0005)
    collector.statuses = [429, 503] * sender.MOST_TRIES
    monkeypatch.setattr(sender, "LONGEST_PAUSE_S", 0.001)
    server = start(Demo, payload_log_url=collector.url)
    calls(server)

    collector.pair()
    assert sample(page(server), FAILURES, reason="status") == 2 * sender.MOST_TRIES


def test_retry_after_is_heeded(start: Start, collector: Collector) -> None:
    collector.statuses, collector.retry_after = [503], "1"
    server = start(Demo, payload_log_url=collector.url)
    began = time.monotonic()
    calls(server)
    collector.events(2)

    assert time.monotonic() - began > 0.75


def test_a_collector_that_does_not_answer_is_asked_again_on_another_connection(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "TIMEOUT_S", 0.1)
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url)
    calls(server)
    server.wait_until(lambda: sample(page(server), FAILURES, reason="timeout") >= 1)
    monkeypatch.undo()
    collector.gate.set()
    server.wait_until(lambda: sample(page(server), SENT) == 2)

    assert {post.event.get_type() for post in collector.posts} == {REQUEST, RESPONSE}
    assert len(collector.connections) >= 2


def test_a_fault_of_ours_costs_an_event_and_not_the_log(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [RuntimeError("on purpose")]
    deliver = Sink.deliver

    def faulty(self: Sink, *arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return deliver(self, *arguments)

    monkeypatch.setattr(Sink, "deliver", faulty)
    server = start(Demo, payload_log_url=collector.url)
    calls(server)
    server.wait_until(lambda: sample(page(server), DROPPED, reason="internal") == 2)
    calls(server)

    collector.pair()


def test_a_collector_that_is_far_away_is_waited_for_once_for_several_events(
    start: Start, collector: Collector
) -> None:
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url)
    calls(server, 10)
    collector.delay_s = 0.2
    collector.gate.set()

    collector.events(20)
    assert 2 < collector.most_waiting <= AT_ONCE
    assert len(collector.connections) <= AT_ONCE


def test_many_events_go_in_one_message_when_that_is_wanted(
    start: Start, collector: Collector
) -> None:
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url, payload_log_form="batch")
    calls(server)
    server.wait_until(lambda: collector.waiting == 1)
    calls(server, 30)
    collector.gate.set()
    first, *others = collector.wait_for(2)
    listed = [one for post in (first, *others) for one in json.loads(post.body)]
    events = [JSONFormat().read(None, json.dumps(one)) for one in listed]

    assert first.headers["content-type"].startswith("application/cloudevents-batch+json")
    assert len(events) == 62
    assert events[2].get_data() == {"x": [0]}
    assert [one.get_type() for one in events] == [REQUEST, RESPONSE] * 31


def test_what_waits_is_sent_before_the_server_ends(start: Start, collector: Collector) -> None:
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url)
    calls(server, 20)
    threading.Timer(0.2, collector.gate.set).start()

    assert server.stop() == 0
    assert len(collector.posts) == 40


def test_a_collector_that_hangs_holds_the_end_up_no_longer_than_the_grace_period(
    start: Start, collector: Collector
) -> None:
    collector.gate.clear()
    stream = io.StringIO()
    with configured("json", "info", stream):
        server = start(Demo, payload_log_url=collector.url, grace_s=0.5, log_level="info")
        calls(server, 3)
        began = time.monotonic()
        assert server.stop() == 0
    took_s = time.monotonic() - began

    assert 0.3 < took_s < 2.0
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    [ended] = [line for line in lines if line["event"] == "payload-log-ended"]
    assert (ended["sent"], ended["dropped"]) == (0, {"stopped": 6})


def test_who_is_told_twice_to_end_does_not_wait_for_a_collector(
    start: Start, collector: Collector
) -> None:
    collector.gate.clear()
    server = start(Demo, payload_log_url=collector.url, grace_s=15.0)
    calls(server, 3)
    server.loop.call_soon_threadsafe(server.server.stop)
    threading.Timer(0.2, server.loop.call_soon_threadsafe, (server.server.force,)).start()
    began = time.monotonic()
    assert server.stop() == EXIT_INTERRUPTED
    server.outcome["status"] = 0  # it was meant to end so

    assert time.monotonic() - began < 5.0
    assert server.server.payloads.stats.dropped["stopped"] == 6


def test_the_log_says_once_that_a_collector_is_away_and_nothing_secret(
    start: Start, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEADER, "Authorization: Bearer hush-hush")
    stream = io.StringIO()
    with configured("json", "info", stream):
        server = start(Demo, payload_log_url=nobody)
        calls(server)
        server.wait_until(lambda: sample(page(server), FAILURES, reason="unreachable") >= 3)
        server.stop()
    text = stream.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]

    [fails] = [line for line in lines if line["event"] == "payload-log-fails"]
    assert (fails["level"], fails["sink"]) == ("warning", nobody.removesuffix("/secret-path"))
    assert "refused" in fails["error"]
    assert "hush" not in text
    assert "secret-path" not in text


def test_the_header_of_the_operator_is_sent_along(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEADER, "Authorization: Bearer hush-hush")
    server = start(Demo, payload_log_url=collector.url)
    calls(server)

    for post in collector.wait_for(2):
        assert (post.path, post.headers["authorization"]) == ("/events", "Bearer hush-hush")


@pytest.mark.parametrize(
    "line", ["Bearer x", "Authorization: a\r\nx: y", "Content-Length: 3", "ce-id: 7", "A: é", ": x"]
)
def test_a_header_that_cannot_be_is_refused_and_not_shown(line: str) -> None:
    settings = ServerSettings(payload_log_url="http://127.0.0.1:9/")
    with pytest.raises(UsageError, match=HEADER) as caught:
        open_log(settings, {HEADER: line})

    assert line not in str(caught.value)
    assert "Bearer TOKEN" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "host:80", "http://", "https://user:hush@host/", "http://host/?key=hush",
        "http://host/#hush", "http://host:99999/", "http://host/a b", "file://host/x", "file:///",
        "http://host\r\n/", "file:///x?hush",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="payload_log_url: must be") as caught:
        ServerSettings(payload_log_url=url)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "both"), ("form", "xml"), ("share", 1.5), ("max_events", 0), ("max_bytes", 0),
        ("max_body_bytes", 0), ("file_bytes", 0), ("attributes", "Team=x"), ("attributes", "team"),
        ("attributes", "a=b\nc"), ("attributes", f"{'a' * 21}=b"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"payload_log_{name}: must be"):
        ServerSettings(**{f"payload_log_{name}": value})


@pytest.mark.parametrize("name", ["id", "type", "source", "status", "model"])
def test_attributes_of_the_servers_own_are_refused(name: str) -> None:
    settings = ServerSettings(
        payload_log_url="http://127.0.0.1:9/", payload_log_attributes=f"{name}=x"
    )
    with pytest.raises(UsageError, match=f"'{name}' is set by the server"):
        open_log(settings, {})
