"""Takes the arrays out of a request, so that what is left can be known by its bytes.

    {"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5,3,1,0]}]}
       └──cut──► {"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[0]}]}   the frame
                 [b"[5,3,1,0]"]                                                         the pieces

A client sends the same frame again and again: it is checked once, and looked up from then on.  The
cut is exact.  Where the frame is valid JSON and has ``[k]`` as the data of its k-th tensor, and each
piece is a valid JSON array by itself, the body is valid JSON too, and means the frame with the pieces
in their places.  Whoever uses a cut has to see to both; a body that is cut in the wrong place (a
bracket inside of a text) fails one of them.
"""

from __future__ import annotations

import re

MAX_PIECES = 256
"""Most arrays of one body; one with more is read as a whole."""

MAX_AXES = 32
"""Most axes of an array, as numpy 1 has it."""

_FLAT = b'"data":['

_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(\[+)')


def cut(text: bytes) -> tuple[bytes, list[bytes]]:
    """Return the frame of a body and its arrays; raises ValueError for one that is not as plain."""
    at = text.find(_FLAT)
    if at >= 0 and not text.startswith(b"[", at + len(_FLAT)):
        # One flat array and no other: the same without the pattern, in half the time.
        start = at + len(_FLAT) - 1
        end = text.find(b"]", start) + 1
        if end and text.find(b'"data"', end) < 0:
            return text[:start] + b"[0]" + text[end:], [text[start:end]]
    match = _DATA.search(text)
    if match is None:
        return text, []
    frame: list[bytes] = []
    pieces: list[bytes] = []
    at = 0
    while match is not None:
        start, end = match.span(1)
        seam = b"]" * (end - start)
        end = text.find(seam, end)
        if end < 0 or len(seam) > MAX_AXES or len(pieces) == MAX_PIECES:
            raise ValueError
        end += len(seam)
        frame += (text[at:start], b"[%d]" % len(pieces))
        pieces.append(text[start:end])
        at = end
        match = _DATA.search(text, at)
    frame.append(text[at:])
    return b"".join(frame), pieces
