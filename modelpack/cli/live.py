"""One line at the foot of a terminal that is drawn anew; nothing at all anywhere else."""

from __future__ import annotations

import sys

from modelpack.cli import console


class LiveLine:
    """Shows how something goes on, on standard error, and leaves no trace of it."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, text: str) -> None:
        """Draw the line in place of the one before it."""
        if console.is_terminal(sys.stderr):
            sys.stderr.write(f"\r\x1b[2K  {text}")
            sys.stderr.flush()
            self._is_shown = True

    def clear(self) -> None:
        """Take it away."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._is_shown = False
