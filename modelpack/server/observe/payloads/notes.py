"""Calls whose bodies are read and written outside of their endpoint: gRPC, and streams of a contract.

    kept(path, run) ──► run with a note in its context ──► infer, stream ──take──► its endpoint's log
                   └──► the answer of run is the answer of the call

Who reads a message does not know yet which api it asks, and who runs the api has no bytes any more:
between them the note is found by the context that both are in.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modelpack.server.observe.payloads.record import ApiPayloads, Exchange, Said
from modelpack.server.problems import problem_from

if TYPE_CHECKING:
    from types import TracebackType

PROTOBUF = b"application/protobuf"
FRAMED = b"application/grpc+proto"
"""Messages one behind the other, each behind a zero and its length (PROTOCOL-HTTP2 of gRPC)."""


class _HasId(Protocol):
    @property
    def request_id(self) -> bytes: ...


_Asked = TypeVar("_Asked", bound=_HasId)


class Note:
    """What is kept of one such call, once an api is asked."""

    __slots__ = ("_body", "_exchange", "_request_id", "_said")

    def __init__(self, said: Said, request_id: bytes, body: bytes) -> None:
        self._said = said
        self._request_id = request_id
        self._body = body
        self._exchange: Exchange | None = None

    def take(self, payloads: ApiPayloads) -> None:
        """Let the api of these payloads be the one that is asked; of several the first."""
        if self._exchange is None:
            self._exchange = payloads.begin(self._said, self._request_id, self._body)

    def piece(self, message: bytes) -> None:
        """Take one of several messages of the answer."""
        if self._exchange is not None:
            self._exchange.content_type = FRAMED
            self._exchange.piece(b"\0" + len(message).to_bytes(4, "big") + message)

    def answer(self, message: bytes) -> None:
        """Take the only message of the answer."""
        if self._exchange is not None:
            self._exchange.end(200, PROTOBUF, message)

    def fail(self, error: BaseException) -> None:
        """Take what there is instead of an answer."""
        if self._exchange is not None:
            self._exchange.end(problem_from(error).status)

    def __enter__(self) -> Note:
        _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Forget it; what was not answered before is over now."""
        _current.set(None)
        if self._exchange is not None:
            self._exchange.__exit__(kind, error, at)


_current: ContextVar[Note | None] = ContextVar("modelpack_payload_note", default=None)


def asked_of(payloads: ApiPayloads) -> None:
    """Tell the note of this context, if there is one, which api is asked."""
    note = _current.get()
    if note is not None:
        note.take(payloads)


def kept(
    path: str, run: Callable[[bytes, _Asked], Coroutine[Any, Any, bytes]]
) -> Callable[[bytes, _Asked], Coroutine[Any, Any, bytes]]:
    """Return what answers a method of gRPC and leaves a note of each call."""
    said = Said(path, PROTOBUF, (), "grpc")

    async def keep(body: bytes, asked: _Asked) -> bytes:
        with Note(said, asked.request_id, body) as note:
            answer = await run(body, asked)
            note.answer(answer)
            return answer

    return keep
