"""A log file that cannot fill the disk, and how it is read while it is written.

    service output ──LogWriter──► service.log ──(at max_bytes)──► service.log.1
                                       └──LogReader──► lines ──read_lines(tail, until)──► caller

One file is kept aside; the one before it goes.
"""

from __future__ import annotations

import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Size at which a log file is set aside; one older file is kept."""

_LOOK_EVERY_S = 0.1
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def older(file: Path) -> Path:
    """Return where a log file stands once it is set aside."""
    return file.with_name(file.name + ".1")


class LogWriter:
    """Appends bytes to a 0600 file and sets it aside when it gets too long."""

    def __init__(self, file: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._handle = os.open(file, _WRITE_FLAGS, 0o600)
        self._size = os.fstat(self._handle).st_size

    def write(self, data: bytes) -> None:
        """Append; on a full disk the line is lost and the service goes on."""
        with suppress(OSError):
            if self._size and self._size + len(data) > self._max_bytes:
                self._set_aside()
            self._size += os.write(self._handle, data)

    def move(self, file: Path) -> None:
        """Let the log be another file from now on, with all that it has, in place of that one."""
        with suppress(OSError):
            older(file).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                older(self._file).replace(older(file))
            self._file.replace(file)
        self._file = file

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _set_aside(self) -> None:
        self._file.replace(older(self._file))
        fresh = os.open(self._file, _WRITE_FLAGS, 0o600)
        os.close(self._handle)
        self._handle, self._size = fresh, 0


class LogReader:
    """Gives out the lines of a log file as they come, also when it is set aside meanwhile."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: io.FileIO | None = None
        self._rest = b""

    def read(self) -> list[str]:
        """Return the whole lines that were written since the last call."""
        data = self._read_on()
        if self._has_moved():
            data += self._read_on()  # what was written between reading and setting aside
            self.close()
            data += self._read_on()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_text(line) for line in lines]

    def read_rest(self) -> list[str]:
        """Return a last line that lacks its newline, if there is one."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    def close(self) -> None:
        """Close the file; the next ``read`` starts at the beginning of what is there then."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _read_on(self) -> bytes:
        if self._stream is None:
            try:
                self._stream = io.FileIO(self._file, "rb")
            except FileNotFoundError:
                return b""
        return self._stream.readall() or b""

    def _has_moved(self) -> bool:
        if self._stream is None:
            return False
        try:
            return not os.path.samestat(self._file.stat(), os.fstat(self._stream.fileno()))
        except FileNotFoundError:
            return False


def read_lines(
    file: Path, *, tail: int | None = None, until: Callable[[], bool] | None = None
) -> Iterator[str]:
    """Yield the lines of both files, oldest first, without their newlines.

    ``tail`` starts at the last so many.  With ``until`` it goes on until that returns True and
    everything written by then has been given out.
    """
    before, present = LogReader(older(file)), LogReader(file)
    try:
        lines = before.read() + present.read()
        if until is None:
            lines += present.read_rest()
        yield from deque(lines, maxlen=tail)
        while until is not None:
            is_over = until()
            yield from present.read()
            if is_over:
                yield from present.read_rest()
                return
            time.sleep(_LOOK_EVERY_S)
    finally:
        before.close()
        present.close()


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
