"""Structured logs: one line an event, on standard error.

    event("ready", url=...)  ──►  {"time":"…Z","level":"info","event":"ready","url":"…"}
                             ──►  12:30:01 info    ready url=…        (``text``, for people)
    Output.add(line)         ──►  lines of requests (``access``), written several at a time

Records of other loggers (the service's own, uvicorn's) take the same form as event ``log``.
Values are JSON-encoded, so that no text of a client's can make or end a line, and cut to
``MAX_BYTES`` (threat model S19).  Payloads and secrets are never fields.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import orjson

from modelpack.server.problems import ServiceFailed

MAX_BYTES = 2048
"""Longest text of one field, as it is written."""

FLUSH_S = 0.1
"""Longest that the line of a request is held back."""

_LOGGER = "modelpack.server"
_MAX_FRAMES = 20
_MOST_LINES = 256


@contextmanager
def configured(form: str, level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Send every log record of this process to ``stream`` (default: standard error) meanwhile."""
    global _current  # noqa: PLW0603 (there is one standard error, and one way to write to it)
    stream = stream or sys.stderr
    is_text = form == "text" or (form == "auto" and stream.isatty())
    output = Output(stream, is_text=is_text)
    handler = _Handler(output)
    handler.setFormatter(TextFormatter() if is_text else JsonFormatter())
    root, own = logging.getLogger(), logging.getLogger(_LOGGER)
    # What uvicorn would say here is said by us, with the request's id.
    theirs = logging.getLogger("uvicorn.error")
    before = root.level, own.level, theirs.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    own.setLevel(level.upper())
    theirs.setLevel(logging.CRITICAL + 1)
    outer, _current = _current, output
    try:
        yield
    finally:
        _current = outer
        output.flush()
        root.removeHandler(handler)
        for logger, old in zip((root, own, theirs), before, strict=True):
            logger.setLevel(old)


class Output:
    """Where log lines go; those of requests gather for ``FLUSH_S`` and are written together.

    A write is a system call, which costs more than all that comes before it.
    """

    def __init__(self, stream: TextIO, *, is_text: bool) -> None:
        self.stream = stream
        self.is_text = is_text
        self._lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Write a line soon; called on the event loop."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._lines.append(line)
        if len(self._lines) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if lines:
            with suppress(OSError, ValueError):  # nobody reads the log: requests go on
                self.stream.write(b"\n".join([*lines, b""]).decode())
                self.stream.flush()


def output() -> Output | None:
    """Return where log lines go now, or None while ``configured`` is not entered."""
    return _current


_current: Output | None = None


class _Handler(logging.StreamHandler[TextIO]):
    """Writes one record, after the lines that were there before it."""

    def __init__(self, output: Output) -> None:
        super().__init__(output.stream)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        self._output.flush()
        super().emit(record)


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event with its fields."""
    logger = logging.getLogger(_LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


def log_failure(code: str, error: BaseException, api: str, request_id: bytes) -> None:
    """Log an error of the service or of ours, with where it came from."""
    event(
        code,
        level=logging.ERROR,
        api=api,
        request_id=request_id.decode("latin-1"),
        error=error.said
        if isinstance(error, ServiceFailed)
        else f"{type(error).__name__}: {error}",
        trace=trace_of(error, is_ours=code == "internal"),
    )


def log_internal(error: BaseException | None) -> None:
    """Log a failure of the server's own."""
    trace = [] if error is None else trace_of(error, is_ours=True)
    event("internal", level=logging.ERROR, error=repr(error), trace=trace)


def trace_of(error: BaseException, *, is_ours: bool = False) -> list[str]:
    """Return ``file:line in function`` of the innermost frames.

    Those of the server itself are left out, unless the error ``is_ours``.
    """
    if isinstance(error, ServiceFailed):
        return error.trace
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in frames
        if is_ours or not frame.filename.startswith(_OWN_FOLDER)
    ]
    return lines[-_MAX_FRAMES:]


_OWN_FOLDER = f"{Path(__file__).parents[1]}/"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            **_content_of(record),
        }
        return _json(line)


class TextFormatter(JsonFormatter):
    """A short line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content = _content_of(record)
        name = content.pop("event")
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return text_line(clock, record.levelname.lower(), str(name), content)


def text_line(clock: str, level: str, name: str, fields: Mapping[str, object]) -> str:
    """Return a line for people."""
    words = " ".join(f"{key}={_word(value)}" for key, value in fields.items())
    return f"{clock} {level:7} {name} {words}".rstrip()


def _content_of(record: logging.LogRecord) -> dict[str, object]:
    fields: Mapping[str, object] | None = getattr(record, "fields", None)
    if fields is not None:
        return {"event": record.getMessage(), **{k: _bounded(v) for k, v in fields.items()}}
    content: dict[str, object] = {
        "event": "log",
        "logger": record.name,
        "message": _bounded(record.getMessage()),
    }
    if record.exc_info is not None and (error := record.exc_info[1]) is not None:
        content["error"] = _bounded(f"{type(error).__name__}: {error}")
        content["trace"] = trace_of(error)
    return content


def _bounded(value: object) -> object:
    """Return a value whose texts take no more than ``MAX_BYTES`` each when they are written."""
    if isinstance(value, int | float) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_bounded(one) for one in value]
    if isinstance(value, dict):
        return {str(_bounded(key)): _bounded(one) for key, one in value.items()}
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if len(text) <= MAX_BYTES and len(_json(text).encode()) <= MAX_BYTES:
        return text
    text = text[: MAX_BYTES - 5]  # quotes and dots
    while (excess := len(_json(text).encode()) + 3 - MAX_BYTES) > 0:
        # No character takes more than twelve bytes, so this many at least must go.
        text = text[: -max(1, excess // 12)]
    return text + "..."


def _word(value: object) -> str:
    text = _json(value)
    plain = text[1:-1]
    if isinstance(value, str) and plain and " " not in plain and "\\" not in plain:
        return plain
    return text


def _json(value: object) -> str:
    """Return one line of JSON in which every character can be seen."""
    text = orjson.dumps(value, default=str).decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _time_of(record: logging.LogRecord) -> str:
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{clock}.{int(record.msecs):03d}Z"
