"""What all connections share: the routes of the fast lane, limits, the clock, header bytes.

    Front ◄── one FastProtocol a connection
      ▲
      └── the server's tick: clock, Date header, time-outs

The clock is coarse, one tick: reading it costs a connection nothing, and time-outs are seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from time import monotonic, time

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from modelpack.config.settings import ServerSettings
from modelpack.errors import ConflictError
from modelpack.server.door import Door
from modelpack.server.http.heads import RequestIds
from modelpack.server.http.known import KnownHeads
from modelpack.server.observe.stats import ApiStats, Reading
from modelpack.server.problems import WriteProblem, write_problem

LINGER_S = 2.0
"""How long a refused client may take to read why, before its connection is cut."""


LINGER_BYTES = 256 * 1024
"""What is at least thrown away of a refused request before its connection is cut."""

QUIET_S = 0.5
"""How long it may say nothing meanwhile, where its side cannot be left open (TLS)."""

STALL_S = 60.0
"""How long a client may take nothing of its answer before its connection is cut."""

LEAST_RATE = 500
"""Bytes a second that a body has to come with at least, over its whole time."""

SPARE_S = 2.0
"""How long an idle connection is kept while others wait for its place."""


class Front:
    """Shared by the connections of one server."""

    def __init__(self, settings: ServerSettings, state: ServerState) -> None:
        self.state = state
        self.fast: dict[bytes, Door] = {}
        """Doors by raw path; empty while the service is not ready, or with the lane off.

        Put another mapping in its place to change it: heads are known only as long as the mapping
        stands by which they were judged.
        """
        self.problem_writer: Callable[[str], WriteProblem] = _ours
        """Says how problems are written below a path."""
        self.socket_paths: tuple[bytes, ...] = ()
        """Beginnings of raw paths below which WebSockets may be opened."""
        self.max_body_bytes = settings.max_body_bytes
        self.keep_alive_s = settings.keep_alive_s
        self.head_timeout_s = settings.head_timeout_s
        self.body_timeout_s = settings.body_timeout_s
        self.ids = RequestIds()
        self.refused = ApiStats("")
        """Requests that were refused by their head alone."""
        self.is_ready = False
        """True once the service is warm."""
        self.is_draining = False
        """True once the server was told to stop: each answer closes its connection."""
        self.reload: Callable[[], Awaitable[None]] = _not_managed
        """Serves the service anew, from where it came; set by whoever manages the server."""
        self.http2: Callable[[asyncio.Transport, bytes], None] | None = None
        """Goes on with a connection that begins with HTTP/2; None: it is refused."""
        self.left: Callable[[], None] = _nothing
        """Called when a connection has ended."""
        self.is_full: Callable[[], bool] = _never
        """Says whether new connections have to wait."""
        self.now = monotonic()
        self.known_heads = KnownHeads(is_traced=settings.tracing)
        self._prefixes: dict[tuple[int, bytes], bytes] = {}
        self.refresh()

    def forget(self) -> None:
        """Let go of what only versions of the service need that are gone.

        An idle connection would else keep the last version it was answered by, model and all.
        """
        self.known_heads.clear()
        for connection in list(self.state.connections):
            connection.forget()  # type: ignore[union-attr]

    def refresh(self) -> None:
        """Set the Date header of the answers from now on; once a second is enough."""
        self.state.default_headers = [(b"date", formatdate(time(), usegmt=True).encode())]
        self._prefixes.clear()

    def prefix(self, status: int, content_type: bytes) -> bytes:
        """Return the head of an answer up to the value of Content-Length."""
        key = (status, content_type)
        prefix = self._prefixes.get(key)
        if prefix is None:
            lines = [STATUS_LINE[status]]
            lines += [b"%b: %b\r\n" % header for header in self.state.default_headers]
            lines += [b"content-type: ", content_type, b"\r\ncontent-length: "]
            prefix = self._prefixes[key] = b"".join(lines)
        return prefix

    def reading(self) -> Reading:
        """Return what the metrics show of requests that were refused by their head."""
        return Reading(self.refused, None, 0)


def _ours(_path: str) -> WriteProblem:
    return write_problem


def _nothing() -> None:
    """Do nothing."""


def _never() -> bool:
    return False


async def _not_managed() -> None:
    raise ConflictError("nobody manages this server", hint="start it with 'modelpack serve'")
