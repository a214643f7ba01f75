"""Sends events to a collector, by HTTP POST on connections that are kept.

    one event   ──► ce-* header lines, the body as it was      binary content mode, eight at a time
    some events ──► application/cloudevents-batch+json         batched content mode

Messages of one delivery are sent on a connection each before the first answer is waited for: a
collector that is far away is waited for once.  No redirect is followed and no proxy asked: payloads go
where the operator said, and nowhere else.  Any 2xx takes an event; 408, 425, 429 and 5xx want it again;
anything else refuses it for good.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import monotonic
from urllib.parse import urlsplit

from modelpack.errors import UsageError
from modelpack.server.observe.payloads.events import BATCH, Event, Form
from modelpack.server.observe.payloads.sinks import STATUS, TAKEN, TIMEOUT, UNREACHABLE, Outcome
from modelpack.server.observe.payloads.wire import Answer, BadAnswer, Connection, Place
from modelpack.version import __version__

AT_ONCE = 8
"""Messages that are under way at a time."""

MOST_IN_A_BATCH = 100
"""Most events of one message in batched content mode."""

_LONGEST_WAIT_S = 60.0
_LATER = (408, 425, 429, 503)
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}): ?([\x20-\x7e]{1,4096})")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection")


def header_from(variable: str, text: str) -> bytes:
    """Return a header line of the operator's, or nothing; raises UsageError, which does not show it."""
    if not text:
        return b""
    found = _HEADER.fullmatch(text)
    if found is None or found[1].lower() in _OURS or found[1].lower().startswith("ce-"):
        raise UsageError(
            f"{variable} is not a header line that events can be sent with",
            hint=f"set it to one such as {variable}='Authorization: Bearer TOKEN'",
        )
    return f"{found[1]}: {found[2].strip()}\r\n".encode()


class Collector:
    """A collector at a URL."""

    def __init__(
        self, url: str, form: Form, *, header: bytes = b"", is_batched: bool = False
    ) -> None:
        """``header`` is one more header line, with its end."""
        parts = urlsplit(url)
        place = Place(url)
        self.name = self.name_of(url)
        self.most_events = MOST_IN_A_BATCH if is_batched else AT_ONCE
        self._is_batched = is_batched
        self._form = form
        first = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        self._head = first.encode() + f"user-agent: modelpack/{__version__}\r\n".encode() + header
        self._connections = [Connection(place) for _ in range(AT_ONCE)]

    @staticmethod
    def name_of(url: str) -> str:
        """Return what may be shown of a URL: not its path, which may be known to a few alone."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    def deliver(self, events: Sequence[Event], timeout_s: float) -> Sequence[Outcome]:
        """Send events; returns what became of each."""
        end = monotonic() + timeout_s
        if self._is_batched:
            return self._exchange([self._listed(events)], end) * len(events)
        return self._exchange([self._single(event) for event in events], end)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def _single(self, event: Event) -> bytes:
        """Return a request with one event."""
        lines, body = self._form.binary(event)
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, lines, len(body), body)

    def _listed(self, events: Sequence[Event]) -> bytes:
        """Return a request with a list of events."""
        body = b"[" + b",".join(map(self._form.as_json, events)) + b"]"
        lines = f"content-type: {BATCH}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        return self._head + lines + body

    def _exchange(self, messages: Sequence[bytes], end: float) -> list[Outcome]:
        """Send requests, then read their answers."""
        begun: list[Outcome | None] = []
        nobody: Outcome | None = None
        for connection, message in zip(self._connections, messages, strict=False):
            failed = nobody or _begin(connection, message, end)
            begun.append(failed)
            if failed is not None and not failed.was_heard:
                nobody = failed
        pairs = zip(self._connections, begun, strict=False)
        return [failed or _finish(connection, end) for connection, failed in pairs]


def _begin(connection: Connection, message: bytes, end: float) -> Outcome | None:
    """Send a request; returns what kept it from being sent."""
    try:
        connection.begin(message, end)
    except OSError as error:
        return _failed(connection, error)
    return None


def _finish(connection: Connection, end: float) -> Outcome:
    """Return what an answer means, or what kept it from coming."""
    try:
        return _outcome(connection.finish(end))
    except (OSError, EOFError, BadAnswer) as error:
        return _failed(connection, error)


def _outcome(answer: Answer) -> Outcome:
    """Return what an answer means for an event."""
    status = answer.status
    if 200 <= status < 300:
        return TAKEN
    why = f"status {status}"
    if status in _LATER or status >= 500:
        wait = answer.retry_after
        wait_s = min(float(wait), _LONGEST_WAIT_S) if wait.isdigit() else 0.0
        return Outcome(STATUS, why, was_heard=status not in _LATER, retry_after_s=wait_s)
    return Outcome(STATUS, why, is_final=True)


def _failed(connection: Connection, error: Exception) -> Outcome:
    """Close a connection that is of no use any more."""
    was_heard = connection.is_open
    connection.close()
    if isinstance(error, TimeoutError):
        return Outcome(TIMEOUT, "no answer in time", was_heard=was_heard)
    return Outcome(UNREACHABLE, _words(error), was_heard=was_heard)


def _words(error: Exception) -> str:
    """Return what went wrong, without what was sent."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return f"{type(error).__name__}: {error}"[:200]
