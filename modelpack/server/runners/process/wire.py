"""One connection between a front process and a runner, as either side uses it.

    send(kind, ...) ──► one write                                  what is large: into shared memory
    readable ──► one read ──► every whole frame in it ──► on_frame(head, value, descriptor)
    end of the stream, or bytes that are no frames ──► on_lost(why), once

Nothing here waits: what the socket does not take now is written when it can be.  The values that
come in are arrays over bytes of their own, or over shared memory that is theirs for as long as they
live; when they are gone the other side hears of it (FREE), from whatever thread that was.
"""

from __future__ import annotations

import array
import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from modelpack.server.observe.logs import log_internal
from modelpack.server.runners.process.arena import ArenaError, Borrower, Lender
from modelpack.server.runners.process.codes import PackingError
from modelpack.server.runners.process.frames import (
    HAS_DESCRIPTOR,
    HEAD,
    MAGIC,
    TO_FRONT,
    FrameError,
    Head,
    Kind,
    read_head,
)
from modelpack.server.runners.process.packing import Packed
from modelpack.server.runners.process.unpacking import unpack

INLINE_BYTES = 64 * 1024
"""Longest body that goes through the socket; a longer one goes into shared memory."""

READ_BYTES = 128 * 1024
_MAX_DESCRIPTORS = 8
_ANCILLARY = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)


class OnFrame(Protocol):
    """Takes one frame; may raise FrameError, which ends the connection."""

    def __call__(self, head: Head, value: Any, descriptor: int) -> None:
        """``value`` is None for a frame without a body.

        ``descriptor`` is -1 when none came along, and closed when this returns.
        """


class Wire:
    """Reads and writes frames on a connected socket."""

    def __init__(
        self,
        connection: socket.socket,
        loop: asyncio.AbstractEventLoop,
        *,
        reads: frozenset[Kind],
        on_frame: OnFrame,
        on_lost: Callable[[str], None],
    ) -> None:
        """``reads`` are the kinds of frames that may come."""
        connection.setblocking(False)
        self._socket = connection
        self._loop = loop
        self._reads = reads
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._lender = Lender()
        # A method may change its arguments; nobody changes an answer.
        self._borrower = Borrower(self._hear_of_free, is_writable=reads is not TO_FRONT)
        self._freed: deque[int] = deque()
        self._queue: deque[tuple[memoryview, int]] = deque()
        self._is_broken = False
        self.is_open = True
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._start = self._end = 0
        self._head: Head | None = None
        self._body = bytearray()
        self._filled = 0
        self._descriptors: deque[int] = deque()
        # libuv stops polling a socket that has an error, without a word, and what was sent before is
        # lost with it: a process that was killed leaves such sockets.  An epoll that holds the
        # socket is readable whatever happens to it.
        self._events = select.epoll()
        self._events.register(connection, select.EPOLLIN)
        loop.add_reader(self._events.fileno(), self._read)

    def send(
        self,
        kind: Kind,
        *,
        api: int = 0,
        call: int = 0,
        packed: Packed | None = None,
        segment: int = 0,
        descriptor: int = -1,
    ) -> None:
        """Write a frame now, or as soon as the socket takes it; raises OSError without memory.

        ``descriptor`` goes along and stays the caller's.
        """
        if not self.is_open:
            return
        if packed is not None and packed.size > INLINE_BYTES:
            self._send_shared(kind, api, call, packed)
            return
        size = 0 if packed is None else packed.size
        flags = HAS_DESCRIPTOR if descriptor >= 0 else 0
        data = bytearray(HEAD.size + size)
        HEAD.pack_into(data, 0, MAGIC, kind, flags, api, call, size, segment)
        if packed is not None:
            packed.write(data, HEAD.size)
        self._write(data, os.dup(descriptor) if descriptor >= 0 else -1)

    def close(self) -> None:
        """Close the connection; nothing is called any more."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._events.fileno())
        self._events.close()
        if self._queue:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptor in self._queue:
            _close(descriptor)
        for descriptor in self._descriptors:
            _close(descriptor)
        self._queue.clear()
        self._descriptors.clear()
        self._lender.close()
        self._borrower.close()

    def _send_shared(self, kind: Kind, api: int, call: int, packed: Packed) -> None:
        segment, dropped = self._lender.lend(packed.size)
        with memoryview(segment.memory) as place:
            packed.write(place)
        descriptor, segment.descriptor = segment.descriptor, -1
        flags = HAS_DESCRIPTOR if descriptor >= 0 else 0
        head = Head(kind, flags, api, call, packed.size, segment.id)
        self._write(_drops(dropped) + head.to_bytes(), descriptor)

    def _write(self, data: bytes | bytearray, descriptor: int) -> None:
        """Write bytes; the descriptor goes along and is closed then."""
        if self._is_broken:
            _close(descriptor)
            return
        view = memoryview(data)
        if self._queue:
            self._queue.append((view, descriptor))
            return
        sent = self._try(view, descriptor)
        if sent < len(view) and not self._is_broken:
            self._queue.append((view[sent:], -1 if sent else descriptor))
            self._loop.add_writer(self._socket.fileno(), self._write_more)

    def _try(self, view: memoryview, descriptor: int) -> int:
        """Write what the socket takes; returns how much that was."""
        try:
            if descriptor < 0:
                return self._socket.send(view)
            rights = array.array("i", [descriptor])
            sent = self._socket.sendmsg([view], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # What the other side wrote before it went can still be read; the reader says the end.
            self._is_broken = True
            _close(descriptor)
            return 0
        if sent:
            _close(descriptor)
        return sent

    def _write_more(self) -> None:
        while self._queue:
            view, descriptor = self._queue[0]
            sent = self._try(view, descriptor)
            if self._is_broken:
                self._queue.popleft()
                for _, later in self._queue:
                    _close(later)
                self._queue.clear()
            elif sent < len(view):
                self._queue[0] = (view[sent:], -1 if sent else descriptor)
                return
            else:
                self._queue.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            if not self._receive():
                self._lose("the connection was closed")
                return
            while self.is_open and self._deliver():
                pass
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, FrameError, PackingError, ArenaError) as error:
            self._lose(f"{type(error).__name__}: {error}")

    def _receive(self) -> bool:
        """Read once; returns False at the end of the stream."""
        places = [self._buffer[self._end :]]
        if self._head is not None:
            places.insert(0, memoryview(self._body)[self._filled :])
        count, ancillary, flags, _ = self._socket.recvmsg_into(
            places, _ANCILLARY, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", data[: len(data) & -4]))
        if flags & socket.MSG_CTRUNC or len(self._descriptors) > _MAX_DESCRIPTORS:
            raise FrameError("too many descriptors")
        if self._head is not None:
            body = min(count, len(places[0]))
            self._filled += body
            self._end += count - body
        else:
            self._end += count
        return count > 0

    def _deliver(self) -> bool:
        """Hand on the next frame; returns False when it is not there as a whole."""
        head = self._head
        if head is None:
            if self._end - self._start < HEAD.size:
                self._move()
                return False
            head = read_head(self._buffer, self._start, self._reads)
            self._start += HEAD.size
            inline = 0 if head.segment else head.size
            body = self._buffer[self._start : min(self._end, self._start + inline)]
            self._start += len(body)
            if len(body) < inline:
                self._head, self._body, self._filled = head, bytearray(inline), len(body)
                self._body[: len(body)] = body
            else:
                self._dispatch(head, bytearray(body))
        elif self._filled == len(self._body):
            data, self._head, self._body = self._body, None, bytearray()
            self._dispatch(head, data)
        if self._start == self._end:
            self._start = self._end = 0
        return self._head is None and self._start < self._end

    def _move(self) -> None:
        """Put the beginning of a frame where the rest has room."""
        rest = bytes(self._buffer[self._start : self._end])
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _dispatch(self, head: Head, body: bytearray) -> None:
        descriptor = -1
        if head.flags & HAS_DESCRIPTOR:
            if not self._descriptors:
                raise FrameError("the descriptor is missing")
            descriptor = self._descriptors.popleft()
        try:
            if head.kind is Kind.FREE:
                self._write_drops(self._lender.take_back(head.segment))
            elif head.kind is Kind.DROP:
                self._borrower.drop(head.segment)
            elif head.segment:
                if descriptor >= 0:
                    self._borrower.accept(head.segment, descriptor)
                self._hand_on(head, unpack(self._borrower.borrow(head.segment, head.size)), -1)
            else:
                self._hand_on(head, unpack(body) if body else None, descriptor)
        finally:
            _close(descriptor)

    def _hand_on(self, head: Head, value: Any, descriptor: int) -> None:
        try:
            self._on_frame(head, value, descriptor)
        except (FrameError, ArenaError):
            raise
        except Exception as error:  # a failure of ours must not hold up the frames behind it
            log_internal(error)

    def _hear_of_free(self, segment: int) -> None:
        """Note, in any thread, that nobody uses a segment of the other side any more."""
        self._freed.append(segment)
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it
            self._loop.call_soon_threadsafe(self._tell_freed)

    def _tell_freed(self) -> None:
        while self._freed:
            self.send(Kind.FREE, segment=self._freed.popleft())

    def _write_drops(self, dropped: list[int]) -> None:
        if dropped:
            self._write(_drops(dropped), -1)

    def _lose(self, why: str) -> None:
        if self.is_open:
            self.close()
            self._on_lost(why)


def _drops(segments: list[int]) -> bytes:
    return b"".join([Head(Kind.DROP, segment=one).to_bytes() for one in segments])


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
