"""Judges the head of a request before anything else looks at it (threat model S14).

    method, target, version, header lines ──check_head──► fields by lower-case name
                                                     └──► RefusedRequest: 400, 413, 431

One place for the fast lane and for everything else.  The parser refuses much of this too; what it
lets through, or might in another version, is refused here.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence

from modelpack.server.problems import (
    RefusedRequest,
    bad_request,
    body_too_large,
    head_too_large,
)

MAX_HEAD_BYTES = 32 * 1024
"""Longest header block, request line included."""

Headers = Sequence[tuple[bytes, bytes]]

_ONCE = frozenset(
    (
        b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding",
        b"x-request-id", b"x-request-timeout-ms", b"modelpack-priority", b"modelpack-dtype",
        b"modelpack-shape", b"origin", b"inference-header-content-length",
        b"idempotency-key", b"modelpack-webhook",
    )
)  # fmt: skip
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def check_head(version: str, headers: Headers, max_body_bytes: int) -> dict[bytes, bytes]:
    """Return the header fields of a request that may be answered; names are lower-case already.

    Raises RefusedRequest: 400 when it is malformed, 413 when it announces too long a body.
    """
    fields = dict(headers)
    if len(fields) != len(headers):
        _check_repeats(headers)
    if version not in ("1.1", "1.0"):
        raise RefusedRequest(bad_request(f"HTTP/{version} is not spoken here"))
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise RefusedRequest(bad_request("the Host header is missing"))
    elif not _HOST.fullmatch(host):
        raise RefusedRequest(bad_request("the Host header is malformed"))
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise RefusedRequest(bad_request("both Content-Length and Transfer-Encoding"))
        if version != "1.1" or coding.strip().lower() != b"chunked":
            raise RefusedRequest(bad_request("unknown transfer coding"))
    elif length is not None:
        if not length.isdigit():
            raise RefusedRequest(bad_request("Content-Length is not a number"))
        if len(length) > 18 or int(length) > max_body_bytes:
            raise RefusedRequest(body_too_large(max_body_bytes))
    return fields


def _check_repeats(headers: Headers) -> None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in _ONCE:
            raise RefusedRequest(bad_request(f"the header {name.decode('latin-1')} stands twice"))
        seen.add(name)


def check_head_size(url: bytes, headers: Headers) -> None:
    """Raise RefusedRequest (431) when the header block is too long."""
    size = len(url) + 16 + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > MAX_HEAD_BYTES:
        raise RefusedRequest(head_too_large(MAX_HEAD_BYTES))


def is_plain(version: str, fields: dict[bytes, bytes]) -> bool:
    """Say whether a request brings a body of a known length and asks for nothing unusual."""
    return (
        version == "1.1"
        and b"content-length" in fields
        and b"expect" not in fields
        and b"content-encoding" not in fields
    )


class RequestIds:
    """Gives each request an id: the client's own when it is sane, else the next of a series."""

    __slots__ = ("new_id",)

    def __init__(self) -> None:
        series = os.urandom(6).hex().encode() + b"-%x"
        self.new_id: Callable[[], bytes] = map(series.__mod__, itertools.count(1)).__next__
        """Returns the next id of the series."""

    def id_for(self, given: bytes | None) -> bytes:
        """Return ``given`` when it is short and printable, else a new id."""
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return self.new_id()
