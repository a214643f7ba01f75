"""Tells the service manager that started this process how it is: sd_notify(3), without a library.

READY=1 once requests are answered, STOPPING=1 as the end begins; nothing without $NOTIFY_SOCKET
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class Notifier:
    """Speaks to the manager; children of this process do not, and do not know of it."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def tell(self, state: str) -> None:
        """Send one line, such as ``READY=1``; a manager that is not there is none of our worries."""
        address = self._address
        if not address.startswith(("/", "@")):
            return
        if address.startswith("@"):
            address = "\0" + address[1:]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state.encode(), address)
