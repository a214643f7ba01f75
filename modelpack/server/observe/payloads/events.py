"""Exchanges as CloudEvents 1.0: two events a call, with one id.

    Event(exchange, "request") ──attributes──► id, source, type, time, …
                               ──binary──────► header lines, body       one event a message
                               ──as_json─────► one line of JSON         files, and several a message

Types and the names of the attributes that KServe has (``inferenceservicename``, ``component``,
``metadata``) are those of its agent (kserve/kserve, pkg/logger/worker.go), so what collects its
events collects ours.  ``source`` tells request and response of a call apart, because source and id
together have to be unique (CloudEvents 1.0.2, "id").

Forms: CloudEvents, HTTP Protocol Binding 1.0.2, 3.1 (binary) and 3.3 (batched); JSON Event Format
1.0.2, 3.1 (``data``, ``data_base64``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import orjson

from modelpack.server.observe.payloads.record import REQUEST, Exchange
from modelpack.server.problems import Headers

TYPES = {
    "request": "org.kubeflow.serving.inference.request",
    "response": "org.kubeflow.serving.inference.response",
}

RESERVED = frozenset(
    ("specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema",
     "data", "status", "path", "metadata", "omittedbytes", "model", "version",
     "face")
)  # fmt: skip
"""Attributes that nobody else may set."""

BATCH = "application/cloudevents-batch+json; charset=utf-8"

_MOST_HEADS = 512
_LONGEST = 256
_UNSAFE = re.compile(r"[^\x21\x23\x24\x26-\x7e]")
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")

_Write = Callable[[dict[str, str]], bytes]


@dataclass(frozen=True, slots=True)
class Event:
    """One side of an exchange."""

    exchange: Exchange
    kind: str

    @property
    def content_type(self) -> bytes:
        """Content type of the body; empty: it was not said."""
        one = self.exchange
        found = one.said.content_type if self.kind == REQUEST else one.content_type
        return _UNPRINTABLE.sub(b"", found)[:_LONGEST]

    @property
    def body(self) -> bytes | None:
        """The body; None: it was too long."""
        return self.exchange.request if self.kind == REQUEST else self.exchange.answer

    def changing(self) -> dict[str, str]:
        """Return the attributes that differ from call to call."""
        one = self.exchange
        is_request = self.kind == REQUEST
        found = {
            "id": one.request_id.decode("latin-1"),
            "time": _time(one.began if is_request else one.ended),
            "status": str(one.status),
        }
        if metadata := one.said.metadata if is_request else one.metadata:
            found["metadata"] = _metadata(metadata)
        if self.body is None:
            found["omittedbytes"] = str(one.request_bytes if is_request else one.answer_bytes)
        return found


def events_of(exchange: Exchange) -> list[Event]:
    """Return the events of a call, the request first."""
    return [Event(exchange, kind) for kind in exchange.kinds]


class Form:
    """Writes events; what does not change from call to call is written once."""

    def __init__(self, added: Mapping[str, str]) -> None:
        """``added`` are attributes of the operator's own, beside those of every event."""
        self._added = added
        self._heads: dict[tuple[object, ...], bytes] = {}

    def binary(self, event: Event) -> tuple[bytes, bytes]:
        """Return the header lines of a message and its body."""
        lines = [self._head(event, _lines)]
        lines.append(_lines(event.changing()))
        if content_type := event.content_type:
            lines.append(b"content-type: %b\r\n" % content_type)
        return b"".join(lines), event.body or b""

    def as_json(self, event: Event) -> bytes:
        """Return an event as one line of JSON, without the end of the line."""
        changing: dict[str, object] = dict(event.changing())
        content_type = event.content_type
        if content_type:
            changing["datacontenttype"] = content_type.decode()
        if (body := event.body) is not None:
            name, value = _data(content_type, body)
            changing[name] = value
        head = self._head(event, orjson.dumps)
        return head[:-1] + b"," + orjson.dumps(changing)[1:]

    def _head(self, event: Event, write: _Write) -> bytes:
        """Return what all events of an api have that were asked for at one path."""
        source = event.exchange.source
        key = (write, source, event.exchange.said, event.kind)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[key] = write(self._lasting(event))
        return head

    def _lasting(self, event: Event) -> dict[str, str]:
        source = event.exchange.source
        names = ":".join(quote(one, safe="") for one in (source.service, source.api, event.kind))
        lasting = {
            "specversion": "1.0",
            "type": TYPES[event.kind],
            "source": f"urn:modelpack:{names}",
            "inferenceservicename": source.service,
            "component": "predictor",
            "model": source.model,
            "version": source.version,
            "path": event.exchange.said.path,
            "face": event.exchange.said.face,
            **self._added,
        }
        return {name: value for name, value in lasting.items() if value}


def _lines(attributes: Mapping[str, str]) -> bytes:
    """Return attributes as header lines; values are percent-encoded (binding 3.1.3.2)."""
    return b"".join(
        b"ce-%b: %b\r\n" % (name.encode(), _UNSAFE.sub(_encoded, value).encode())
        for name, value in attributes.items()
    )


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def _metadata(headers: Headers) -> str:
    """Return header fields as KServe writes them: JSON, each with a list of values."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").title(), []).append(value.decode("latin-1"))
    return orjson.dumps(found).decode()


def _data(content_type: bytes, body: bytes) -> tuple[str, object]:
    """Return the member for a body: as it is where it is JSON or text, else as base64."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind in (b"application/json", b"") or kind.endswith(b"+json"):
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
        else:  # outside of texts a break is a space, inside there is none
            return "data", orjson.Fragment(body.translate(None, b"\r\n"))
    elif kind.startswith(b"text/") or kind == b"application/x-ndjson":
        try:
            return "data", body.decode()
        except UnicodeDecodeError:
            pass
    return "data_base64", base64.b64encode(body).decode()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
