"""Writes events to a file, one line of JSON each, and begins another when it is long enough.

    payloads.jsonl ──too long──► payloads.jsonl.1 ──► … ──► payloads.jsonl.5 ──► gone

Several processes may write to one file: lines are appended whole, and only who holds the lock of
``payloads.jsonl.lock`` moves files on.  The files are for their owner alone (0600): they hold what
clients sent.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from modelpack.errors import UsageError
from modelpack.server.observe.payloads.events import Event, Form
from modelpack.server.observe.payloads.sinks import TAKEN, UNREACHABLE, Outcome

KEPT = 5
"""Files that are kept beside the one that is written."""

MOST_EVENTS = 256

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class Journal:
    """A file of events."""

    most_events = MOST_EVENTS

    def __init__(self, file: str, form: Form, max_bytes: int) -> None:
        """``max_bytes`` is how long the file gets, give or take one delivery."""
        self.name = f"file://{file}"
        self._file = Path(file)
        self._form = form
        self._max_bytes = max_bytes
        self._descriptor = -1
        self._is_torn = False  # the last line broke off

    @staticmethod
    def check(file: str) -> str:
        """Return the name of a file that can be written; raises UsageError."""
        try:
            os.close(os.open(file, _FLAGS, 0o600))
        except OSError as cause:
            raise UsageError(
                f"the payload log cannot be written to '{file}': {cause.strerror}",
                hint="name a file in a folder that is there and can be written",
            ) from cause
        return f"file://{file}"

    def deliver(self, events: Sequence[Event], timeout_s: float) -> Sequence[Outcome]:  # noqa: ARG002 - of sinks
        """Write events; all of them are written, or none counts."""
        return [self._write(events)] * len(events)

    def _write(self, events: Sequence[Event]) -> Outcome:
        text = b"".join(
            [b"\n"] * self._is_torn + [self._form.as_json(one) + b"\n" for one in events]
        )
        try:
            self._ensure_open()
            left = memoryview(text)
            while left:
                left = left[os.write(self._descriptor, left) :]
                self._is_torn = bool(left)
        except OSError as error:
            return Outcome(UNREACHABLE, f"{error.strerror}", was_heard=False)
        return TAKEN

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _ensure_open(self) -> None:
        """Open the file that has the name now, a new one if that is too long; raises OSError."""
        if self._descriptor >= 0 and not self._is_current():
            self.close()
        if self._descriptor < 0:
            self._descriptor = os.open(self._file, _FLAGS, 0o600)
        if os.fstat(self._descriptor).st_size >= self._max_bytes:
            self._move_on()

    def _is_current(self) -> bool:
        own = os.fstat(self._descriptor)
        try:
            there = self._file.stat()
        except FileNotFoundError:
            return False
        return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)

    def _move_on(self) -> None:
        """Begin a new file, unless another process has just done so; raises OSError."""
        lock = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current():
                for number in range(KEPT - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        self._numbered(number).rename(self._numbered(number + 1))
                self._file.rename(self._numbered(1))
        finally:
            os.close(lock)
        self.close()
        self._descriptor = os.open(self._file, _FLAGS, 0o600)

    def _numbered(self, number: int) -> Path:
        return self._file.with_name(f"{self._file.name}.{number}")
