"""Orders to the supervisor of a local deployment: one line of JSON there, one line back.

    ask(folder, order="load", environ={…}) ──socket in the private folder──► Orders ──obey──► answer

Only the owner can reach the socket.  An answer may come later, when what was asked for is so.  The
path of a folder may be longer than the 107 bytes that a socket's address has room for (unix(7)); it
is reached through a handle of the folder then.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelpack.deploy.command import ORDERS_FILE
from modelpack.deploy.watching import Watch

_BACKLOG = 16
_MOST_BYTES = 8 * 1024 * 1024
_LONGEST_PATH = 100
_CHUNK = 65536

Answer = Callable[[Mapping[str, Any]], None]
"""Sends one answer; to one who has gone nothing is sent."""

Obey = Callable[[Mapping[str, Any], Answer], None]


def ask(folder: Path, *, timeout_s: float, **order: Any) -> dict[str, Any]:
    """Give one order and return the answer.

    Raises OSError when nobody listens there, or not in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        with short_path(folder / ORDERS_FILE) as path:
            line.connect(path)
        line.sendall(json.dumps(order).encode() + b"\n")
        said = bytearray()
        while not said.endswith(b"\n"):
            piece = line.recv(_CHUNK)
            if not piece:
                raise ConnectionResetError("it ended before it answered")
            said += piece
    answer: dict[str, Any] = json.loads(said)
    return answer


def private_socket(path: Path, kind: socket.SocketKind) -> socket.socket:
    """Return a socket that listens at the path, for its owner alone, in place of a former one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o177)
    try:
        with short_path(path) as short:
            listener.bind(short)
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for the path that fits into the address of a socket."""
    if len(os.fsencode(path)) < _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Orders:
    """Takes orders at the socket of a folder."""

    def __init__(self, folder: Path, watch: Watch, obey: Obey) -> None:
        self._watch = watch
        self._obey = obey
        self._listener = private_socket(folder / ORDERS_FILE, socket.SOCK_STREAM)
        self._lines: dict[socket.socket, bytearray] = {}
        watch.add(self._listener, self._accept)

    def close(self) -> None:
        """Take no orders any more."""
        for line in (self._listener, *self._lines):
            self._watch.remove(line)
            line.close()
        self._lines.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            line, _ = self._listener.accept()
            line.setblocking(False)
            self._lines[line] = bytearray()
            self._watch.add(line, lambda: self._read(line))

    def _read(self, line: socket.socket) -> None:
        try:
            piece = line.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        said = self._lines[line]
        said += piece
        if not piece or len(said) > _MOST_BYTES:
            self._hang_up(line)
        elif said.endswith(b"\n"):
            try:
                order = json.loads(said)
                said.clear()
                self._obey(order, lambda answer: self._answer(line, answer))
            except (ValueError, TypeError, KeyError):
                self._hang_up(line)  # that is no order

    def _answer(self, line: socket.socket, answer: Mapping[str, Any]) -> None:
        if line in self._lines:
            with suppress(OSError):
                line.send(json.dumps(answer).encode() + b"\n")

    def _hang_up(self, line: socket.socket) -> None:
        del self._lines[line]
        self._watch.remove(line)
        line.close()
