"""What goes over the socket between a front process and a runner.

    ├── 32 bytes: head ──┤── body, ``packing`` of a value ──┤        small
    ├── 32 bytes: head ──┤   body in segment n              │        large, see ``arena``

    front ──► runner                                    runner ──► front
    RUN   api, call, arguments                          WELCOME  front's number; the page comes along
    CANCEL  call                                        ANSWER   call, plain value
    OPEN  api, stream, arguments                        FAIL     call, what went wrong
    NEXT  stream: one more piece, an ANSWER             END      stream: there is no more
    CLOSE stream: an END follows                        LEAVING  send no more, and close
    FREE, DROP  segment                                 FREE, DROP  segment

A body has a length before it is read, and what is inline is small: nothing that a head says can make
the reader allocate more than ``MAX_INLINE``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

HEAD = struct.Struct("<HBBIQQI4x")
MAGIC = 0x506D

MAX_INLINE = 1 << 20
"""Longest body that is sent through the socket, in bytes."""

HAS_DESCRIPTOR = 1
"""Flag: a descriptor (of a new segment, or of the page) comes with this frame."""


class Kind(IntEnum):
    """What a frame says."""

    RUN = 1
    CANCEL = 2
    OPEN = 3
    NEXT = 4
    CLOSE = 5
    FREE = 6
    DROP = 7
    WELCOME = 8
    ANSWER = 9
    FAIL = 10
    END = 11
    LEAVING = 12


TO_RUNNER = frozenset(
    {Kind.RUN, Kind.CANCEL, Kind.OPEN, Kind.NEXT, Kind.CLOSE, Kind.FREE, Kind.DROP}
)
TO_FRONT = frozenset(
    {Kind.WELCOME, Kind.ANSWER, Kind.FAIL, Kind.END, Kind.LEAVING, Kind.FREE, Kind.DROP}
)


class FrameError(ValueError):
    """The bytes are not a frame that this side reads."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first 32 bytes of a frame."""

    kind: Kind
    flags: int = 0
    api: int = 0
    """Index of the api in the service, or the front's number."""
    call: int = 0
    """Id of the call or stream; rises."""
    size: int = 0
    """Bytes of the body."""
    segment: int = 0
    """Where the body is, or what FREE and DROP are about; 0: inline."""

    def to_bytes(self) -> bytes:
        """Return the bytes."""
        return HEAD.pack(MAGIC, self.kind, self.flags, self.api, self.call, self.size, self.segment)


def read_head(source: memoryview, at: int, expected: frozenset[Kind]) -> Head:
    """Return the head that begins at ``at``; raises FrameError unless it is of an expected kind."""
    magic, kind, flags, api, call, size, segment = HEAD.unpack_from(source, at)
    if magic != MAGIC or kind not in expected or flags & ~HAS_DESCRIPTOR:
        raise FrameError(f"no frame begins with {bytes(source[at : at + 4]).hex()}")
    if segment == 0 and size > MAX_INLINE:
        raise FrameError(f"a body of {size} bytes does not go through the socket")
    return Head(_KINDS[kind], flags, api, call, size, segment)


_KINDS = {int(kind): kind for kind in Kind}
