"""Takes the arrays and the id out of a request, so that what is left can be known by its bytes.

    {"id":"7f3a","inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5,3,1,0]}]}
       └──cut──► {"id":"@id","inputs":[{… "datatype":"FP32","data":["@0"]}]}   the frame
                 [b"[5,3,1,0]"]                                                the pieces
                 b"7f3a"                                                       the id

A client sends the same frame again and again: it is checked once, and looked up from then on.  The
cut is exact.  Where the frame is valid JSON and has ``["@k"]`` as the data of its k-th tensor, ``"@id"``
as its id and no other text that begins so, and each piece is a valid JSON array by itself, the body is
valid JSON too, and means the frame with the pieces in their places.  Whoever uses a cut has to see to
the frame and to the pieces; a body that is cut in the wrong place (a bracket inside of a text) fails one
of them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_PIECES = 256
"""Most arrays of one body; one with more is read as a whole."""

MAX_AXES = 32
"""Most axes of an array, as numpy 1 has it."""

ID = "@id"
"""What stands in a frame for the id."""


class Cut(NamedTuple):
    """A body in parts."""

    frame: bytes
    pieces: list[bytes]
    id: bytes | None
    """The id as it stands there, in valid UTF-8 and without anything that JSON escapes."""


def place(index: int) -> list[str]:
    """Return what stands in a frame for an array."""
    return [f"@{index}"]


_FLAT = b'"data":['
_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(\[+)')
_ID = re.compile(rb'"id"[ \t\r\n]*:[ \t\r\n]*"([^"\\\x00-\x1f]*)"')


def cut(text: bytes) -> Cut:
    """Return a body in parts; raises ValueError for one that is not as plain."""
    at = text.find(_FLAT)
    if at >= 0 and not text.startswith(b"[", at + len(_FLAT)):
        # One flat array and no other: the same without the pattern, in half the time.
        start = at + len(_FLAT) - 1
        end = text.find(b"]", start) + 1
        if end and text.find(b'"data"', end) < 0:
            return _without_id(text[:start] + b'["@0"]' + text[end:], [text[start:end]])
    match = _DATA.search(text)
    if match is None:
        return _without_id(text, [])
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
        frame += (text[at:start], b'["@%d"]' % len(pieces))
        pieces.append(text[start:end])
        at = end
        match = _DATA.search(text, at)
    frame.append(text[at:])
    return _without_id(b"".join(frame), pieces)


def _without_id(frame: bytes, pieces: list[bytes]) -> Cut:
    """Take the id out of a frame too; raises ValueError when a text of its own looks like a place."""
    found = None
    if b'"id"' in frame and (match := _ID.search(frame)) is not None:
        found = match[1]
        found.decode()  # a ValueError, if it is no text
        start, end = match.span(1)
        frame = frame[:start] + b"@id" + frame[end:]
    if frame.count(b'"@') != len(pieces) + (found is not None):
        raise ValueError
    return Cut(frame, pieces, found)
