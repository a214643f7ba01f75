"""WebSockets for mounted applications: uvicorn's protocol, behind our checks.

    GET /ui/ws, Upgrade: websocket ──check_handshake──► SocketProtocol takes the transport over
                                          └──► a problem: 400, 426, 503

The library is imported with this module, and this module when something is mounted.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol

from modelpack.server.http.patience import OnWire, Stall
from modelpack.server.problems import UNAVAILABLE, Problem, RefusedRequest, bad_request

if TYPE_CHECKING:
    from modelpack.server.http.connection import GuardedProtocol

_COMPRESSION: dict[str, Any] = {
    "server_max_window_bits": 12, "client_max_window_bits": 12, "compress_settings": {"memLevel": 5},
}  # fmt: skip
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_UPGRADE_REQUIRED = Problem(
    426,
    "bad-request",
    "upgrade required",
    "WebSockets of version 13 are spoken here",
    headers=((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")),
    closes=True,
)


def check_handshake(fields: dict[bytes, bytes], *, is_draining: bool) -> None:
    """Raise RefusedRequest for a handshake that cannot be completed."""
    if is_draining:
        raise RefusedRequest(UNAVAILABLE)
    if fields.get(b"sec-websocket-version") != b"13":
        raise RefusedRequest(_UPGRADE_REQUIRED)
    if not _KEY.fullmatch(fields.get(b"sec-websocket-key", b"")):
        raise RefusedRequest(bad_request("Sec-WebSocket-Key is missing or malformed"))


class SocketProtocol(OnWire, WebSocketsSansIOProtocol):
    """One WebSocket; a message may be as long as a body."""

    is_closable = False

    def __init__(self, before: GuardedProtocol) -> None:
        """``before`` read the handshake on this connection."""
        super().__init__(before.config, before.server_state, before.app_state, before.loop)
        self._front = before.front
        self.stall = Stall()
        # Its own lines name paths with their queries, which may hold secrets.
        self.logger = logging.Logger("uvicorn.error", logging.WARNING)
        self.logger.parent = logging.getLogger("uvicorn.error")
        self.conn = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory(**_COMPRESSION)],
            max_size=before.front.max_body_bytes,
            logger=self.logger,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for the place."""
        super().connection_lost(exc)
        self._front.left()

    def forget(self) -> None:
        """Keep what it has: its application ends with it."""

    def sweep(self) -> None:
        """Cut off a client that takes nothing; pings of the library find those that are gone."""
        if self.stall.is_over(self.waiting_bytes, self._front.now) or self.is_over:
            self.transport.abort()
