"""Bodies that came compressed.

    body ──gzip, deflate──► the body as it was, of ``most`` bytes at most    else RefusedRequest: 413
      └── broken, cut short, or with something behind it ──► InputError: 400

Inflating stops at the limit: a bomb costs no more memory than a body that is allowed.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from modelpack.errors import InputError
from modelpack.server.problems import RefusedRequest, body_too_large

CODINGS = ("gzip", "deflate")
"""Content codings that can be turned on."""

MAX_MEMBERS = 16
"""Most gzip files, one behind the other, in one body."""

_GZIP = 16 + zlib.MAX_WBITS


def inflate(body: bytes, coding: str, most: int) -> bytes:
    """Return a body without its ``coding``; raises RefusedRequest (413) or InputError."""
    bits = _GZIP
    if coding == "deflate":
        # RFC 9110 means zlib; some senders leave out its two bytes of header.
        is_zlib = len(body) > 1 and body[0] & 15 == zlib.DEFLATED
        is_zlib = is_zlib and int.from_bytes(body[:2], "big") % 31 == 0
        bits = zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
    pieces: list[bytes] = []
    size = 0
    for _ in range(MAX_MEMBERS if coding == "gzip" else 1):
        stream = zlib.decompressobj(bits)
        try:
            piece = stream.decompress(body, most - size + 1)
        except zlib.error as error:
            raise _broken(coding, str(error)) from None
        size += len(piece)
        if size > most:
            detail = f"the body may have at most {most} bytes once it is decompressed"
            raise RefusedRequest(replace(body_too_large(most), detail=detail, closes=False))
        if not stream.eof:
            raise _broken(coding, "its end is missing")
        pieces.append(piece)
        body = stream.unused_data
        if not body:
            return piece if len(pieces) == 1 else b"".join(pieces)
    raise _broken(coding, "there is more behind its end")


def _broken(coding: str, why: str) -> InputError:
    expected, got = f"a body in {coding}", f"one that does not inflate: {why[:100]}"
    return InputError.at("", expected, got)
