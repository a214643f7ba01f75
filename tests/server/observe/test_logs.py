"""One line an event, whatever a client put into it."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from modelpack.server.observe.logs import (
    MAX_CHARS,
    configured,
    event,
    log_failure,
    log_request,
    trace_of,
)


def lines_of(form: str, level: str = "info") -> tuple[io.StringIO, Any]:
    stream = io.StringIO()
    return stream, configured(form, level, stream)


def test_an_event_is_one_json_line_with_its_fields() -> None:
    stream, logs = lines_of("json")
    with logs:
        event("ready", url="http://127.0.0.1:3000", tag="digits:1", apis=2)

    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "ready",
        "url": "http://127.0.0.1:3000",
        "tag": "digits:1",
        "apis": 2,
    }


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\n{}",
        '"',
        "\x1b[31m",
        "\u2028",
        "\x9b31m",
        "\U000e0001",
        "\0",
        "\udc80",
        "x" * 100_000,
    ],
)
def test_no_text_makes_a_second_line_or_moves_a_terminal(form: str, text: str) -> None:
    stream, logs = lines_of(form)
    with logs:
        event("request", text=text)
        logging.getLogger("service").warning("it says %s", text)

    written = stream.getvalue()
    assert len(written.splitlines()) == 2
    assert "\x1b" not in written
    assert "\0" not in written
    assert len(written) < 2 * (MAX_CHARS + 300)


def test_text_lines_are_short_and_quote_only_what_needs_it() -> None:
    stream, logs = lines_of("text")
    with logs:
        event("ready", url="http://x:1", name="two words", empty="")

    assert stream.getvalue()[9:] == 'info    ready url=http://x:1 name="two words" empty=""\n'


@pytest.mark.parametrize("is_terminal", [True, False])
def test_left_to_itself_it_writes_text_on_a_terminal_only(is_terminal: bool) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
    with configured("auto", "info", stream):
        event("ready")

    assert stream.getvalue().startswith("{") is not is_terminal


def test_the_level_decides_what_is_written() -> None:
    stream, logs = lines_of("json", "error")
    with logs:
        event("ready")
        event("internal", level=logging.ERROR)

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["internal"]


def test_a_request_line_holds_facts_and_no_payload() -> None:
    stream, logs = lines_of("json")
    with logs:
        log_request("predict", b"id-1", 200, 0.0012346, 3)

    line = json.loads(stream.getvalue())
    assert {"api", "status", "ms", "rows", "request_id"} < set(line)
    assert (line["ms"], line["rows"], line["request_id"]) == (1.235, 3, "id-1")


def test_a_failure_names_the_frames_of_the_service() -> None:
    def predict() -> None:
        raise ValueError("no such row")

    stream, logs = lines_of("json")
    with logs:
        try:
            predict()
        except ValueError as error:
            log_failure("model-error", error, "predict", b"id-1")

    line = json.loads(stream.getvalue())
    assert line["error"] == "ValueError: no such row"
    assert [frame.rpartition(" in ")[2] for frame in line["trace"]][-1] == "predict"
    assert line["level"] == "error"


def test_a_trace_is_bounded() -> None:
    def deeper(count: int) -> None:
        if count == 0:
            raise ValueError
        deeper(count - 1)

    with pytest.raises(ValueError) as caught:
        deeper(200)

    assert len(trace_of(caught.value)) == 20


def test_records_of_other_loggers_take_the_same_form() -> None:
    stream, logs = lines_of("json")
    with logs:
        try:
            raise KeyError("k")
        except KeyError:
            logging.getLogger("service").exception("it failed: %s", "badly")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["message"]) == (
        "log",
        "service",
        "it failed: badly",
    )
    assert line["error"] == "KeyError: 'k'"


def test_afterwards_logging_is_as_before() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    _, logs = lines_of("json")
    with logs:
        pass

    assert (list(root.handlers), root.level) == before
