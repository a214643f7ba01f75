"""Knows heads of plain calls that were judged before, but for what differs in each.

    POST /predict … Content-Length: │28│ … X-Request-Id: │a7-3│ …        texts, and holes between them
           same texts ──► same verdict; the values in the holes are judged each time

A client sends the same head again and again, but for the length of its JSON, and perhaps an id of
its own.  Those values are cut out: what is left is compared byte for byte, and a head that is found
is not parsed again.  What always holds: a value in a hole is of a grammar so narrow (digits; up to
128 printable characters without a space) that the verdict about the rest cannot change; a head is
known only while the routes stand that it was judged by.

A connection tries the head it saw last (``KnownHead.read``, 0.5 µs), then all heads
(``KnownHeads.find``, 1 µs).  Parsing and judging one takes ten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.server.door import Door
from modelpack.server.endpoint import Asked, Endpoint

MAX_KNOWN_HEADS = 512
MAX_KNOWN_HEAD_BYTES = 2048

Seen = tuple[int, int, bytes | None]
"""Where the body begins, how long it is, and the request id of the client, if it gave one."""

_END = b"\r\n\r\n"
_LONGEST_NUMBER = 18
_WORD = re.compile(rb"[\x21-\x7e]{1,128}")
_LENGTH, _REQUEST_ID, _TRACE = b"content-length", b"x-request-id", b"traceparent"

Routes = Mapping[bytes, Door]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The head of a plain call, with holes in it."""

    endpoint: Endpoint
    asked: Asked
    routes: Routes
    """The routes by which it was judged."""
    pieces: tuple[tuple[bytes, int, bytes], ...]
    """For each hole the text before it, the size of that text, and whose value stands in it."""
    end: bytes
    """The text behind the last hole."""

    def read(self, data: bytes) -> Seen | None:
        """Return what differs from this head in ``data``; None when it is another head."""
        at = length = 0
        request_id = None
        for text, size, name in self.pieces:
            if not data.startswith(text, at):
                return None
            at += size
            end = data.find(b"\r", at)
            value = data[at:end]
            if name == _LENGTH:
                if not value.isdigit() or len(value) > _LONGEST_NUMBER:
                    return None
                length = int(value)
            elif not _WORD.fullmatch(value):
                return None
            elif name == _REQUEST_ID:
                request_id = value
            at = end
        return (at + len(self.end), length, request_id) if data.startswith(self.end, at) else None


class KnownHeads:
    """The heads that were seen lately; at most twice ``MAX_KNOWN_HEADS``.

    There are two shelves.  A head that is used moves to the new one; when that is full it becomes
    the old one, and what nobody used meanwhile is forgotten.  So a flood of heads that come once
    does not drive out those that come again.
    """

    def __init__(self, *, is_traced: bool = False) -> None:
        """``is_traced``: spans are made, so the parent of a trace matters and is no hole."""
        names = [_LENGTH, _REQUEST_ID] if is_traced else [_LENGTH, _REQUEST_ID, _TRACE]
        self._hole = re.compile(
            rb"(\r\n(?:" + b"|".join(names) + rb"): ?)([^\r\n]*)", re.IGNORECASE
        )
        self._new: dict[tuple[bytes, ...], KnownHead] = {}
        self._old: dict[tuple[bytes, ...], KnownHead] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._new.keys() | self._old.keys())

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old = {}, {}

    def find(self, data: bytes) -> KnownHead | None:
        """Return the known head with which ``data`` begins, but for its holes."""
        end = data.find(_END, 0, MAX_KNOWN_HEAD_BYTES)
        if end < 0:
            return None
        parts = self._hole.split(data[: end + len(_END)])
        del parts[2::3]  # the values
        key = tuple(parts)
        known = self._new.get(key)
        if known is None and (known := self._old.get(key)) is not None:
            self._keep(key, known)
        return known

    def remember(
        self, head: bytes, endpoint: Endpoint, asked: Asked, routes: Routes
    ) -> KnownHead | None:
        """Keep the head of a plain call; returns None when it is not one to keep."""
        if len(head) > MAX_KNOWN_HEAD_BYTES:
            return None
        parts = self._hole.split(head)
        texts, lines = parts[0::3], parts[1::3]
        del parts[2::3]
        key = tuple(parts)
        known = self._new.get(key)
        if known is not None and known.routes is routes:
            return known
        names = [line.strip(b"\r\n: ").lower() for line in lines]
        befores = [text + line for text, line in zip(texts, lines, strict=False)]
        pieces = tuple((text, len(text), name) for text, name in zip(befores, names, strict=True))
        known = KnownHead(endpoint, asked, routes, pieces, texts[-1])
        if _LENGTH not in names or len(set(names)) < len(names) or known.read(head) is None:
            return None
        self._keep(key, known)
        return known

    def _keep(self, key: tuple[bytes, ...], known: KnownHead) -> None:
        if len(self._new) >= MAX_KNOWN_HEADS and key not in self._new:
            self._old, self._new = self._new, {}
        self._new[key] = known
