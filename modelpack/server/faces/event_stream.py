"""Answers as Amazon's event streams, which boto3 reads a part at a time.

    the answer's pieces ──EventStream──► one message each: PayloadPart
                                           └── it breaks off ──► ModelStreamError

A message is: its length, that of its headers, a checksum of both, the headers, the piece, a checksum
of all; big-endian, CRC-32.  An answer that is no 200 is passed on as it is.  Source: Amazon event
stream encoding (Smithy specification); the API model of ``sagemaker-runtime`` in botocore.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = b"application/vnd.amazon.eventstream"

_TEXT = 7  # type of a header's value


def message_of(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message."""
    block = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", _TEXT, len(value)) + value
        for name, value in ((name, text.encode()) for name, text in headers.items())
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def part_of(payload: bytes) -> bytes:
    """Return the message that holds a piece of an answer."""
    headers = {
        ":message-type": "event",
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
    }
    return message_of(headers, payload)


_BROKEN = message_of(
    {
        ":message-type": "exception",
        ":exception-type": "ModelStreamError",
        ":content-type": "application/json",
    },
    b'{"Message":"the stream broke off","ErrorCode":"StreamBroken"}',
)


class EventStream:
    """An application whose answers are sent as event streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_stream = is_over = False

        async def sending(message: Message) -> None:
            nonlocal is_stream, is_over
            if message["type"] == "http.response.start" and message["status"] == 200:
                is_stream = True
                message = {**message, "headers": _headers(message["headers"])}
            elif message["type"] == "http.response.body" and is_stream:
                is_over = not message.get("more_body", False)
                piece = message.get("body", b"")
                message = {**message, "body": part_of(piece) if piece else b""}
            await send(message)

        await self._app(_asking(scope), receive, sending)
        if is_stream and not is_over:
            await send({"type": "http.response.body", "body": _BROKEN, "more_body": False})


def _asking(scope: Scope) -> Scope:
    """Return the request with what it accepts under the usual name."""
    wish = b"x-amzn-sagemaker-accept"
    headers = [(b"accept" if name == wish else name, value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


def _headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return header lines of which the content type is that of the parts."""
    kept = [one for one in headers if one[0] not in (b"content-type", b"content-length")]
    kind = dict(headers).get(b"content-type", b"application/json")
    return [(b"content-type", CONTENT_TYPE), (b"x-amzn-sagemaker-content-type", kind), *kept]
