"""The fast lane: uvicorn's HTTP protocol with a short way for plain inference calls.

    bytes ─► known head? ─► yes ───────────────┐
                └─► no ─► parsed, checked ─┬─ plain call ─► Endpoint.accept ─► one write
                                           └─ anything else ─► uvicorn ─► the application

A plain call is a POST to an api's exact raw path, JSON, of a known length, in HTTP/1.1, on a
connection with no unfinished request.  It never becomes an ASGI scope or a task.  What always holds:

* both ways give the same answers, byte by byte but for the date;
* answers leave in the order of their requests, however they were pipelined;
* a client that leaves takes its waiting rows with it.

``FastCall`` stands where uvicorn keeps its own request cycle, so that uvicorn's pipeline, shutdown
and connection loss work on it unchanged.
"""

from __future__ import annotations

from typing import Any

from modelpack.server.endpoint import Asked, Endpoint, HttpCall
from modelpack.server.http.connection import IDLE, GuardedProtocol, head_tail
from modelpack.server.http.front import KnownHead
from modelpack.server.http.heads import is_plain
from modelpack.server.problems import INTERNAL, Headers


class _Ignored:
    """Takes the place of an asyncio.Event that nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


class FastCall(HttpCall):
    """A plain inference call; to uvicorn it looks like one of its own request cycles."""

    __slots__ = ("asked", "disconnected", "keep_alive", "protocol", "response_complete")

    asked: Asked
    message_event = _Ignored()

    def __init__(self, protocol: FastProtocol, endpoint: Endpoint, request_id: bytes) -> None:
        super().__init__(endpoint, request_id)
        self.protocol = protocol
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False

    def send(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Write the answer to the connection."""
        self.response_complete = True
        self.values, self.parts = {}, None  # the connection keeps the call until its next request
        self.protocol.answer(self, status, content_type, body, headers)


class FastProtocol(GuardedProtocol):
    """One connection with a short way for plain calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As the guarded protocol."""
        super().__init__(*args, **options)
        self._call: FastCall | None = None  # whose body is being read
        self._chunks: list[bytes] = []
        self._is_fresh = True  # the parser stands between two requests and has consumed nothing

    def data_received(self, data: bytes) -> None:
        """Take a call whose head is known, or have it parsed."""
        if self._is_fresh and self._recall(data):
            return
        self._is_fresh = False
        super().data_received(data)

    def _recall(self, data: bytes) -> bool:
        """Take a whole plain call whose head was judged before; the same bytes, the same verdict."""
        end = data.find(b"\r\n\r\n") + 4
        known = self.front.known_heads.get(data[:end])
        if (
            known is None
            or len(data) != end + known.body_bytes
            or self.flow.write_paused
            or (self.cycle is not None and not self.cycle.response_complete)
        ):
            return False
        self.since = self.front.now
        call = FastCall(self, known.endpoint, self.front.ids.new_id())
        self.cycle = call  # type: ignore[assignment]
        self._accept(call, data[end:], known.asked)
        return True

    def _remember(self, call: FastCall, body: bytes) -> None:
        """Keep the head of a plain call, if the piece that was parsed is that call and no more."""
        piece = self._piece
        end = len(piece) - len(body)
        if self._head_ceiling == len(piece) and end == piece.find(b"\r\n\r\n") + 4:
            self._is_fresh = piece.startswith(b"POST ")
            if self._is_fresh and call.keep_alive and b"x-request-id" not in dict(self.headers):
                self.front.remember(piece[:end], KnownHead(call.endpoint, call.asked, len(body)))

    def _begin(self, version: str, fields: dict[bytes, bytes]) -> None:
        """Choose the way."""
        front = self.front
        endpoint = front.fast.get(self.url)
        if (
            endpoint is not None
            and (self.cycle is None or self.cycle.response_complete)
            and is_plain(version, fields)
            and self.parser.get_method() == b"POST"
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        ):
            call = FastCall(self, endpoint, front.ids.id_for(fields.get(b"x-request-id")))
            call.asked = endpoint.asked(fields)
            call.keep_alive = self.parser.should_keep_alive()
            self.cycle = self._call = call  # type: ignore[assignment]
        else:
            super()._begin(version, fields)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._call is not None:
            self._chunks.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass the whole request on."""
        call = self._call
        if call is None:
            super().on_message_complete()
            return
        self.phase = IDLE
        self._call = None
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._remember(call, body)
        self._accept(call, body, call.asked)

    def _accept(self, call: FastCall, body: bytes, asked: Asked) -> None:
        try:
            call.endpoint.accept(call, body, asked)
        except Exception as error:  # ours: the service's own errors do not come this way
            if not call.response_complete:
                call.refuse(INTERNAL, error)

    def answer(
        self, call: FastCall, status: int, content_type: bytes, body: bytes, headers: Headers
    ) -> None:
        """Write a whole answer, and go on with what the client sent meanwhile."""
        transport, front = self.transport, self.front
        if transport.is_closing():
            return
        closes = not call.keep_alive or (
            front.is_draining and self.phase == IDLE and not self.pipeline
        )
        parts = [
            front.prefix(status, content_type),
            b"%d\r\nx-request-id: " % len(body),
            call.request_id,
            b"\r\n\r\n",
            body,
        ]
        if headers or closes:
            parts[3] = head_tail(headers, closes=closes)
        transport.write(b"".join(parts))
        if closes:
            transport.close()
        self.on_response_complete()

    def _abandon(self, cycle: Any) -> None:
        """Give up the request whose body is being read."""
        if self._call is None:
            super()._abandon(cycle)
        else:
            self._call = None
            cycle.response_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the call that waits on this connection."""
        call: object = self.cycle
        super().connection_lost(exc)
        if isinstance(call, FastCall):
            if call is not self._call and not call.response_complete:
                call.endpoint.drop(call)
            # Each would keep the other until the garbage collector comes by.
            self.cycle = self._call = None  # type: ignore[assignment]
