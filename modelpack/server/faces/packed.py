"""Compresses answers for clients that ask for it, where the operator has turned compression on.

    Accept-Encoding ──packing──► "gzip", "deflate" or ""
    content type, body, headers ──packed──► the same, smaller

What is short is not worth it; what is very long would hold up the event loop for as long as it is
compressed, at some 100 MB a second.  Both are sent as they are.
"""

from __future__ import annotations

import zlib

from modelpack.server.problems import Headers

SHORTEST_BYTES = 1024
LONGEST_BYTES = 1024 * 1024

_LEVEL = 1
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def packing(accept: bytes) -> str:
    """Return the coding that a value of Accept-Encoding allows; "": none."""
    allowed = set()
    for part in accept.lower().decode("latin-1").split(","):
        name, _, weight = (piece.strip() for piece in part.partition(";"))
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            allowed.add(name)
    return next((coding for coding in _WBITS if coding in allowed), "")


def packed(answer: tuple[bytes, bytes, Headers], coding: str) -> tuple[bytes, bytes, Headers]:
    """Return an answer compressed, unless that gains nothing."""
    content_type, body, headers = answer
    if not SHORTEST_BYTES <= len(body) <= LONGEST_BYTES:
        return answer
    small = zlib.compress(body, _LEVEL, _WBITS[coding])
    if len(small) >= len(body):
        return answer
    said = ((b"content-encoding", coding.encode()), (b"vary", b"accept-encoding"))
    return content_type, small, (*headers, *said)
