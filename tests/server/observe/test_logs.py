"""One line an event, whatever a client put into it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from modelpack.server.observe.logs import (
    MAX_BYTES,
    Output,
    configured,
    event,
    log_failure,
    output,
    trace_of,
)
from modelpack.server.web.incoming import read_body


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
        "\0" * 100_000,
        "é" * 100_000,
        "\U000e0001" * 100_000,
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
    assert len(written.encode()) < 2 * (MAX_BYTES + 300)


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


@pytest.mark.parametrize("char", ["x", '"', "\0", "é", "\u2028", "\U000e0001"])
def test_a_field_takes_as_much_as_it_may_and_no_more(char: str) -> None:
    stream, logs = lines_of("json")
    with logs:
        event("request", text=char * 5000)

    kept = json.loads(stream.getvalue())["text"]
    # Its form in the line ends before the closing brace and the newline, and begins after its key.
    written = stream.getvalue().partition('"text":')[2].removesuffix("}\n").encode()
    assert kept.endswith("...")
    assert set(kept.removesuffix("...")) == {char}
    assert MAX_BYTES - 12 <= len(written) <= MAX_BYTES


def test_texts_inside_of_a_field_are_bounded_too() -> None:
    stream, logs = lines_of("json")
    with logs:
        event("internal", trace=["x" * 9000, {"k" * 9000: "y" * 9000}])

    assert len(stream.getvalue()) < 3 * MAX_BYTES + 200


def test_lines_of_requests_gather_and_come_before_the_next_event() -> None:
    async def requests() -> tuple[str, str]:
        there = output()
        assert there is not None
        there.add(b"one")
        there.add(b"two")
        before = stream.getvalue()
        event("stopped")
        return before, stream.getvalue()

    stream, logs = lines_of("json")
    with logs:
        before, after = asyncio.run(requests())

    assert before == ""
    assert after.splitlines()[:2] == ["one", "two"]
    assert json.loads(after.splitlines()[2])["event"] == "stopped"


def test_what_has_gathered_is_written_soon_without_any_event() -> None:
    class Told(io.StringIO):
        def flush(self) -> None:
            is_written.set()

    async def request() -> None:
        Output(stream, is_text=False).add(b"one")
        await asyncio.wait_for(is_written.wait(), 20)

    stream, is_written = Told(), asyncio.Event()
    asyncio.run(request())

    assert stream.getvalue() == "one\n"


def test_what_has_gathered_is_written_at_the_end() -> None:
    async def request() -> None:
        there = output()
        assert there is not None
        there.add(b"one")

    stream, logs = lines_of("json")
    with logs:
        asyncio.run(request())

    assert stream.getvalue() == "one\n"
    assert output() is None


def test_a_log_that_nobody_reads_any_more_harms_no_request() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    async def requests() -> None:
        there = Output(Broken(), is_text=False)
        there.add(b"one")
        there.flush()

    asyncio.run(requests())


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


def test_frames_of_the_server_are_shown_only_when_the_failure_is_ours() -> None:
    async def broken() -> Any:
        raise KeyError

    with pytest.raises(KeyError) as caught:
        asyncio.run(read_body(broken, 10))

    theirs, ours = trace_of(caught.value), trace_of(caught.value, is_ours=True)
    assert [frame for frame in ours if "/modelpack/server/web/" in frame]
    assert not [frame for frame in theirs if "/modelpack/server/" in frame]
    assert theirs


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
