"""The access log: a line for each answered request, or for a share of them.

    Answered ──AccessLog.add──► every failed one, each 1/share-th of the others ──► Output

A line costs about 2 µs, one that is left out some 0.1: the line is made by the JSON encoder alone,
without the logging library, and lines are written several at a time.  It holds facts about the
request and nothing that the client sent but its request id, encoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import orjson

from modelpack.server.observe.logs import Output, output, text_line

_HEAD = ("time", "level", "event")
_WHOLE = 1 - 1e-9
"""Ten times a tenth, in floating point."""


class Answered(Protocol):
    """What is known of a request that was answered."""

    request_id: bytes
    rows: int
    queue_s: float
    run_s: float
    face: str


class AccessLog:
    """Chooses requests and writes their lines."""

    def __init__(
        self,
        share: float,
        *,
        find_output: Callable[[], Output | None] = output,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``share`` of the requests with a status below 400 are logged, evenly."""
        self._share = share
        self._owed = 1.0 - share if share else 0.0  # so that the first one is there
        self._find_output = find_output
        self._clock = clock
        self._second = -1
        self._prefix = ""

    def add(
        self, api: str, call: Answered, status: int, seconds: float, trace_id: str = ""
    ) -> None:
        """Log a request, if it is one of those that are."""
        if status < 400:
            self._owed += self._share
            if self._owed < _WHOLE:
                return
            self._owed -= 1.0
        output = self._find_output()
        if output is None:
            return
        now = self._clock()
        line: dict[str, object] = {
            "time": self._time(now),
            "level": "info",
            "event": "request",
            "api": api,
            "status": status,
            "ms": int(seconds * 1e6) / 1e3,  # half the time of round()
            "queue_ms": int(call.queue_s * 1e6) / 1e3,
            "run_ms": int(call.run_s * 1e6) / 1e3,
            "rows": call.rows,
            "request_id": call.request_id.decode("latin-1"),
        }
        if call.face:
            line["face"] = call.face
        if trace_id:
            line["trace_id"] = trace_id
        if output.is_text:
            facts = {key: line[key] for key in line if key not in _HEAD}
            clock = time.strftime("%H:%M:%S", time.localtime(now))
            output.add(text_line(clock, "info", "request", facts).encode())
        else:
            output.add(orjson.dumps(line))

    def _time(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z"
