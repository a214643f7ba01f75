"""Structured logs: one line an event, on standard error.

    event("ready", url=...)  ──►  {"time":"…Z","level":"info","event":"ready","url":"…"}
                             ──►  12:30:01 info    ready url=…        (``text``, for people)

Records of other loggers (the service's own, uvicorn's) take the same form as event ``log``.
Values are JSON-encoded, so that no text of a client's can make or end a line, and cut to
``MAX_CHARS`` (threat model S19).  Payloads and secrets are never fields.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import orjson

MAX_CHARS = 2048
"""Longest text of one field."""

_LOGGER = "modelpack.server"
_MAX_FRAMES = 20


@contextmanager
def configured(form: str, level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Send every log record of this process to ``stream`` (default: standard error) meanwhile."""
    stream = stream or sys.stderr
    is_text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if is_text else JsonFormatter())
    root, own = logging.getLogger(), logging.getLogger(_LOGGER)
    # What uvicorn would say here is said by us, with the request's id.
    theirs = logging.getLogger("uvicorn.error")
    before = root.level, own.level, theirs.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    own.setLevel(level.upper())
    theirs.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, old in zip((root, own, theirs), before, strict=True):
            logger.setLevel(old)


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event with its fields."""
    logger = logging.getLogger(_LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


def log_request(api: str, request_id: bytes, status: int, seconds: float, rows: int) -> None:
    """Log one answered request."""
    event(
        "request",
        api=api,
        status=status,
        ms=round(seconds * 1000, 3),
        rows=rows,
        request_id=request_id.decode("latin-1"),
    )


def log_failure(code: str, error: BaseException, api: str, request_id: bytes) -> None:
    """Log an error of the service or of ours, with where it came from."""
    event(
        code,
        level=logging.ERROR,
        api=api,
        request_id=request_id.decode("latin-1"),
        error=f"{type(error).__name__}: {error}",
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
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in frames
        if is_ours or not frame.filename.startswith(_OWN_FOLDER)
    ]
    return lines[-_MAX_FRAMES:]


_OWN_FOLDER = __file__.rpartition("/")[0]


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
        fields = " ".join(f"{key}={_word(value)}" for key, value in content.items())
        return f"{clock} {record.levelname.lower():7} {name} {fields}".rstrip()


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
    if isinstance(value, int | float | list | dict) or value is None:
        return value
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3] + "..."


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
