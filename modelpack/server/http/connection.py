"""One connection: uvicorn's HTTP protocol, with a guard before it.

    bytes ─► httptools ─► head checks ─► _begin ─► uvicorn ─► the application
       │                     └─► refuse: a problem, then nothing more is read
       └─► the preface of HTTP/2: left to gRPC, where it is spoken (``Front.http2``)

What always holds, whatever the request is and whichever way it takes then:

* a bad head, or one that announces too much, is refused before anything else looks at it;
* a refusal waits for the answers of earlier requests;
* a refused client can read why: our side of the connection ends first, and what still comes is
  thrown away for a while;
* a request that stands still is ended, so is an idle connection (``sweep``).

``FastProtocol`` adds the short way for plain calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from modelpack.server.http.front import LINGER_BYTES, Front
from modelpack.server.http.heads import MAX_HEAD_BYTES, check_head, check_head_size
from modelpack.server.http.patience import BODY, DEAF, HEAD, IDLE, OnWire, Stall, sweep
from modelpack.server.observe.logs import log_internal
from modelpack.server.problems import (
    INTERNAL,
    Headers,
    Problem,
    RefusedRequest,
    bad_request,
    body_too_large,
    head_too_large,
    too_many_pipelined,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn._types import ASGI3Application

_HTTP2 = b"PRI * HTTP/2"
"""How HTTP/2 begins (RFC 9113, section 3.4); no request of HTTP/1.1 does."""

MAX_PIPELINED = 256
"""Most requests that wait on one connection for the answers of those before them."""


class GuardedProtocol(OnWire, HttpToolsProtocol):
    """One connection, as uvicorn handles it, behind our own checks."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        front: Front,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.front = front
        self.phase = IDLE
        self.phase_since = self.since = front.now
        self.stall = Stall()
        self._piece = b""  # what is being parsed
        self._is_at_start = True  # the piece begins with a new request
        self._head_floor = self._head_ceiling = 0  # bytes that the head has at least, and at most
        self.body_bytes = 0  # of the body that is being read
        self._unread = 0
        self._raw_left = 0
        self._handshake = b""  # the head that opens a WebSocket
        self._awaits_continue = False
        self._refusal: Problem | None = None
        self._under_way: RequestResponseCycle | None = None

    # Reading: httptools calls back, and every verdict is reached in the callbacks.

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.since = self.front.now
        if self.phase == DEAF:
            self._swallow(len(data))
            return
        if self._raw_left:
            self._raw_body(data)
            return
        if data.startswith(_HTTP2) and self.front.http2 is not None and self.is_idle:
            self._leave_to(self.front.http2, data)
            return
        self._piece = data
        self._is_at_start = self.phase == IDLE
        if self.phase == HEAD:
            self._head_floor += len(data)
            self._head_ceiling += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._stop(error.__context__)
            return
        except httptools.HttpParserUpgrade as upgrade:
            if self._handshake:
                self._hand_over(data[upgrade.args[0] :])
                return
            # Nothing is spoken here but HTTP/1.1: the request is answered as if it had not asked.
            # The parser leaves its body to us.
            self._raw_body(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self.refuse(bad_request(str(error)[:100] or "malformed"))
            return
        self._piece = b""
        if self.phase == HEAD and self._head_floor > MAX_HEAD_BYTES:
            self.refuse(head_too_large(MAX_HEAD_BYTES))

    def on_message_begin(self) -> None:
        """Start a request; uvicorn's scope is made only if the request becomes uvicorn's."""
        self.phase = HEAD
        self.phase_since = self.front.now
        self.url = b""
        self.headers = []
        self._head_ceiling = len(self._piece)
        self._head_floor = len(self._piece) if self._is_at_start else 0
        self._is_at_start = False
        self._unread = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header line; what comes behind the body (trailers) is not looked at."""
        if self.phase == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Judge the head, then let the request begin."""
        version = self.parser.get_http_version()
        if self._head_ceiling > MAX_HEAD_BYTES:
            check_head_size(self.url, self.headers)
        fields = check_head(version, self.headers, self.front.max_body_bytes)
        if self.front.socket_paths and self._asks_for_socket(version, fields):
            self._handshake = self._raw_head()
            return
        self._begin(version, fields)
        self._enter_body(0)

    def _enter_body(self, size: int) -> None:
        """Read a body from now on, of which ``size`` bytes are there."""
        self.phase = BODY
        self.phase_since = self.front.now
        self.body_bytes = size

    def _begin(self, _version: str, fields: dict[bytes, bytes]) -> None:
        """Let uvicorn have the request."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise RefusedRequest(too_many_pipelined(MAX_PIPELINED))
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = fields.get(b"expect", b"").lower() == b"100-continue"
        self._awaits_continue = self.expect_100_continue
        if self.parser.should_upgrade():
            if b"transfer-encoding" in fields:
                raise RefusedRequest(bad_request("an upgrade with a chunked body"))
            self._raw_left = int(fields.get(b"content-length", b"0"))
        super().on_headers_complete()
        if self.front.is_draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; raises RefusedRequest (413) when a chunked one gets too long."""
        self._awaits_continue = False
        self.body_bytes += len(body)
        if self.body_bytes > self.front.max_body_bytes and not self.cycle.response_complete:
            raise RefusedRequest(body_too_large(self.front.max_body_bytes))
        if self.cycle.response_complete:
            self._swallow(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass the whole request on."""
        if not (self._raw_left or self._handshake):
            self.phase = IDLE
            super().on_message_complete()

    def _raw_body(self, data: bytes) -> None:
        """Take the body of a request that asked for an upgrade."""
        piece, rest = data[: self._raw_left], data[self._raw_left :]
        self._raw_left -= len(piece)
        if piece:
            self.on_body(piece)
            if not self._raw_left:
                self.on_message_complete()
        if rest:
            self.data_received(rest)

    # WebSockets, for mounted applications only

    def _asks_for_socket(self, version: str, fields: dict[bytes, bytes]) -> bool:
        """Say whether the request opens a WebSocket; raises RefusedRequest when it cannot."""
        if (
            not self.parser.should_upgrade()
            or fields.get(b"upgrade", b"").lower() != b"websocket"
            or self.parser.get_method() != b"GET"
            or not self.url.startswith(self.front.socket_paths)
            or version != "1.1"
            or fields.get(b"content-length", b"0") != b"0"
            or b"transfer-encoding" in fields
            or (self.cycle is not None and not self.cycle.response_complete)
        ):
            return False
        from modelpack.server.http.websocket import check_handshake

        check_handshake(fields, is_draining=self.front.is_draining)
        return True

    def _raw_head(self) -> bytes:
        """Return the head that was read, for another parser."""
        lines = [b"%b: %b\r\n" % header for header in self.headers]
        return b"".join((b"GET ", self.url, b" HTTP/1.1\r\n", *lines, b"\r\n"))

    def _hand_over(self, rest: bytes) -> None:
        """Let the protocol of WebSockets have the connection."""
        from modelpack.server.http.websocket import SocketProtocol

        self.connections.discard(self)
        after = SocketProtocol(self)
        self.transport.set_protocol(after)
        after.connection_made(self.transport)
        after.data_received(self._handshake + rest)
        self.parser = None  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]

    def _leave_to(self, speaks: Callable[[asyncio.Transport, bytes], None], first: bytes) -> None:
        """Let go of a connection that speaks HTTP/2."""
        self.connections.discard(self)
        self._unset_keepalive_if_required()
        speaks(self.transport, first)
        self.parser = self.cycle = None  # type: ignore[assignment]
        self.front.left()

    # Answering

    def on_response_complete(self) -> None:
        """Go on with the next pipelined request, if there is one."""
        self.server_state.total_requests += 1
        self.since = self.front.now
        if self.transport.is_closing():
            return
        if self._awaits_continue and self.phase == BODY:
            # Whether the client still sends the body that it was not asked for, nobody knows.
            self.transport.close()
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._write_refusal(self._refusal)

    # Refusing

    def refuse(self, problem: Problem) -> None:
        """Answer with a problem and read no further, once earlier requests have their answers."""
        cycle = self.cycle
        is_busy = cycle is not None and not cycle.response_complete
        if self.phase == BODY:
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()  # it has not begun; one before it has
            elif not is_busy or getattr(cycle, "response_started", False):
                self.transport.close()  # this very request has its answer, or a part of it
                return
            else:
                is_busy = False
                self._abandon(cycle)
        self.phase = DEAF
        self.phase_since = self.front.now
        if is_busy:
            self._refusal = problem
        else:
            self._write_refusal(problem)

    def _abandon(self, cycle: Any) -> None:
        """Give up the request whose body is being read."""
        cycle.disconnected = True  # what the application still says goes nowhere
        cycle.message_event.set()

    def _stop(self, cause: BaseException | None) -> None:
        """End the connection for what a callback raised."""
        if isinstance(cause, RefusedRequest):
            self.refuse(cause.problem)
        elif isinstance(cause, httptools.HttpParserError):
            self.refuse(bad_request("the request target is malformed"))
        else:
            log_internal(cause)
            self.refuse(INTERNAL)

    def _write_refusal(self, problem: Problem) -> None:
        self._refusal = None
        self.phase_since = self.front.now
        transport, front = self.transport, self.front
        if transport.is_closing():
            return
        front.refused.add(problem.status, 0.0, code=problem.code)
        request_id = front.ids.id_for(dict(self.headers or ()).get(b"x-request-id"))
        write = front.problem_writer(self.url.partition(b"?")[0].decode("latin-1"))
        status, content_type, body, headers = write(problem, request_id)
        head = front.prefix(status, content_type)
        middle = b"%d\r\nx-request-id: " % len(body)
        tail = head_tail(headers, closes=True)
        transport.write(b"".join((head, middle, request_id, tail, body)))
        # A close with unread bytes would reset the connection, and the client could lose the
        # answer: so our side ends first, and what the client still sends is thrown away.  TLS has
        # no end of one side; there the client is given a moment.
        if not self.is_tls:
            transport.write_eof()

    def _swallow(self, count: int) -> None:
        """Count what is read and thrown away; too much of it ends the connection."""
        self._unread += count
        if self._unread <= max(self.front.max_body_bytes, LINGER_BYTES):
            return
        if self._refusal is None:
            self.transport.close()
        else:
            self.flow.pause_reading()  # earlier requests wait for their answers

    # Ending

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Remember which of the pipelined requests the application is busy with."""
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, also when another request was pipelined behind its own."""
        super().connection_lost(exc)
        self.front.left()
        cycle, self._under_way = self._under_way, None
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    @property
    def is_idle(self) -> bool:
        """True when no request is being read or answered."""
        return self.phase == IDLE and (self.cycle is None or self.cycle.response_complete)

    @property
    def is_movable(self) -> bool:
        """True when another process can go on with it: nothing of it is in this one's memory."""
        transport = self.transport
        is_quiet = self.is_idle and not self.pipeline and not self.is_tls
        return is_quiet and not transport.is_closing() and not transport.get_write_buffer_size()

    @property
    def is_closable(self) -> bool:
        """True when closing loses nothing."""
        if self.transport.is_closing():
            return False
        return self.is_idle or (self.phase == DEAF and self._refusal is None)

    def forget(self) -> None:
        """Let go of the last request, if it is over."""
        if self.is_idle:
            self.cycle = None  # type: ignore[assignment]

    def sweep(self) -> None:
        """End what has stood still for too long; called once a second."""
        sweep(self)

    def shutdown(self) -> None:
        """Let the answer that is under way be the last of the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False


def head_tail(headers: Headers, *, closes: bool) -> bytes:
    """Return the rest of a head, from the end of the request id on."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    if closes:
        lines.append(b"connection: close\r\n")
    return b"".join((b"\r\n", *lines, b"\r\n"))
