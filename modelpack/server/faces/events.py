"""CloudEvents as requests, answered in kind (CloudEvents HTTP protocol binding, KServe v1).

    ce-* headers, the body as it is             ──of_fields──► Event ──wrap──► ce-* headers
    application/cloudevents+json, body in data  ──unwrap─────► Event ──wrap──► an envelope

The answer has the id of its request, a type and a source of its own (KServe: ``create_response_
cloudevent``), and the time at which it was written.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from modelpack.errors import InputError
from modelpack.sdk.values import describe
from modelpack.server.problems import Headers, RefusedRequest, bad_header

MEDIA_TYPE = "application/cloudevents+json"
"""Content type of an event that is an envelope."""

TYPE = "io.kserve.inference.response"
"""Type of the events that answers are."""

_SPEC = b"ce-specversion"
_NEEDED = ("id", "type", "source")


@dataclass(frozen=True, slots=True)
class Event:
    """A request that is an event."""

    id: str
    is_envelope: bool
    """True when the attributes stand around the body, false when they stand in the head."""

    def wrap(self, body: bytes, content_type: bytes, model: str) -> tuple[bytes, bytes, Headers]:
        """Return content type, body and header lines of the answer."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "type": TYPE,
            "source": f"io.kserve.inference.{model}",
            "time": now,
        }
        if not self.is_envelope:
            lines = tuple(
                (b"ce-" + name.encode(), one.encode("latin-1", "replace"))
                for name, one in attributes.items()
            )
            return content_type, body, lines
        envelope = {
            **attributes,
            "datacontenttype": content_type.decode("latin-1"),
            "data": orjson.Fragment(body),
        }
        return MEDIA_TYPE.encode(), orjson.dumps(envelope), ()


def of_fields(fields: Mapping[bytes, bytes]) -> Event | None:
    """Return the event that the head of a request is; None: it is none.

    Raises RefusedRequest (400) when attributes are missing.
    """
    if _SPEC not in fields:
        return None
    for name in _NEEDED:
        if not fields.get(b"ce-" + name.encode()):
            raise RefusedRequest(bad_header(f"ce-{name}", "a text: the request is an event", b""))
    return Event(fields[b"ce-id"].decode("latin-1"), is_envelope=False)


def is_envelope(message: Any) -> bool:
    """Say whether a JSON body is an event, whatever its content type says (as KServe does)."""
    return isinstance(message, dict) and all(
        name in message for name in ("specversion", *_NEEDED, "data")
    )


def unwrap(message: Any, parse: Callable[[bytes], Any]) -> tuple[Event, Any]:
    """Return the event that an envelope is, and what is in it; raises InputError.

    ``parse`` reads data that came as bytes in base64.
    """
    if not isinstance(message, dict):
        raise InputError.at("", "an event: an object", describe(message))
    for name in ("specversion", *_NEEDED):
        if not isinstance(message.get(name), str) or not message[name]:
            got = describe(message[name]) if name in message else "nothing"
            raise InputError.at(f"/{name}", "a text: the request is an event", got)
    event = Event(message["id"], is_envelope=True)
    if "data_base64" not in message:
        return event, message.get("data")
    try:
        return event, parse(base64.b64decode(message["data_base64"], validate=True))
    except (binascii.Error, TypeError, ValueError):
        raise InputError.at("/data_base64", "base64", describe(message["data_base64"])) from None
