"""What long steps say while they run, without knowing who listens.

A lower layer is given a ``Progress``; the command line draws it, everyone else is silent.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Hears what happens during a long task."""

    def note(self, text: str) -> None:
        """Say one fact, lower case, no full stop."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Wrap a step that takes a while; its duration is shown when it ends."""


class Silent:
    """Says nothing."""

    def note(self, text: str) -> None:
        """Drop the fact."""

    def step(self, text: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Time nothing."""
        return nullcontext()


SILENT = Silent()
