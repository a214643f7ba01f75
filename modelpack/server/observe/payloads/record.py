"""One call as the payload log keeps it: what came in, what went out, and what is said of both.

    head of a request ──said_of──► Said: path, content type, what a reader of the body has to know
    ApiPayloads.begin(said, id, body) ──► Exchange ──piece, end──► put it into the log
                                   └──► None: not of the share that is kept

What always holds: an exchange is put once, when its call has its answer, so that both events of a
call are there or neither; a body is kept as the very bytes that came or went, never copied and never
longer than the limit; a call that fails leaves its request alone (as KServe's agent has it,
pkg/logger/handler.go).
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Self

from modelpack.server.problems import Headers, problem_from

if TYPE_CHECKING:
    from types import TracebackType

REQUEST, RESPONSE = "request", "response"

_CLIENT_LEFT = 499
_OK = 200
_WHOLE = 1 - 1e-9
"""Ten times a tenth, in floating point."""

_NEEDED = (
    b"content-encoding", b"inference-header-content-length", b"modelpack-dtype", b"modelpack-shape"
)  # fmt: skip
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Said:
    """What the head of a request says of its body; the same for heads that come again."""

    path: str
    """Where the api was asked, such as ``/predict``; for gRPC that of the method."""
    content_type: bytes
    """Empty: it was not said."""
    metadata: Headers = ()
    """Header fields without which the body cannot be read."""
    face: str = ""
    """Name of the contract in which it was asked; empty: the api's own form."""


def said_of(path: str, fields: Mapping[bytes, bytes], face: str = "") -> Said:
    """Return what header fields (names in lower case) say of a body."""
    return Said(path, fields.get(b"content-type", b""), needed(tuple(fields.items())), face)


def needed(headers: Headers) -> Headers:
    """Return those header fields without which a body cannot be read."""
    return tuple((name, value[:_LONGEST]) for name, value in headers if name in _NEEDED)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which calls are kept, and how much of them."""

    kinds: frozenset[str] = frozenset((REQUEST, RESPONSE))
    share: float = 1.0
    max_body_bytes: int = 1024 * 1024


class ApiPayloads:
    """The payloads of one api."""

    def __init__(
        self, service: str, api: str, rules: Rules, put: Callable[[Exchange], None]
    ) -> None:
        """``put`` takes an exchange that is over."""
        self.service = service
        self.api = api
        self.model = api
        """Its name as a model, as the contracts of other servers have it."""
        self.version = ""
        """That of the bundle."""
        self.rules = rules
        self.put = put
        self._owed = 1.0 - rules.share if rules.share else 0.0  # so that the first one is there

    def name(self, service: str, model: str, version: str) -> None:
        """Say what it is an api of."""
        self.service, self.model, self.version = service, model, version

    def begin(self, said: Said, request_id: bytes, body: bytes) -> Exchange | None:
        """Return the record of a call that begins; None: it is not one of the share."""
        self._owed += self.rules.share
        if self._owed < _WHOLE:
            return None
        self._owed -= 1.0
        return Exchange(self, said, request_id, body)


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "_pieces", "answer", "answer_bytes", "began", "content_type", "ended", "metadata",
        "request", "request_bytes", "request_id", "said", "source", "status",
    )  # fmt: skip

    def __init__(self, source: ApiPayloads, said: Said, request_id: bytes, body: bytes) -> None:
        rules = source.rules
        is_kept = REQUEST in rules.kinds and len(body) <= rules.max_body_bytes
        self.source = source
        self.said = said
        self.request_id = request_id
        self.request = body if is_kept else None
        """The body; None: it is not wanted, or too long."""
        self.request_bytes = len(body)
        self.began = time()
        self.status = 0
        """0: it is not over."""
        self.content_type = b""
        self.metadata: Headers = ()
        self.answer: bytes | None = None
        self.answer_bytes = 0
        self.ended = 0.0
        self._pieces: list[bytes] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The events that it makes."""
        wanted = self.source.rules.kinds
        asked = (REQUEST,) if REQUEST in wanted else ()
        return (*asked, RESPONSE) if RESPONSE in wanted and self.status == _OK else asked

    @property
    def kept_bytes(self) -> int:
        """Bytes of the bodies that it holds."""
        return len(self.request or b"") + len(self.answer or b"")

    def piece(self, data: bytes) -> None:
        """Take a piece of an answer that comes in pieces, as it was sent."""
        self.answer_bytes += len(data)
        if self._pieces is None:
            self._pieces = []
        if self._is_wanted(self.answer_bytes):
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def end(
        self,
        status: int = _OK,
        content_type: bytes = b"",
        answer: bytes = b"",
        headers: Headers = (),
    ) -> None:
        """Take the answer; of one that came in pieces those are taken instead of ``answer``."""
        if self.status:
            return
        self.status = status
        self.ended = time()
        self.content_type = content_type or self.content_type
        if self._pieces is not None:
            answer = b"".join(self._pieces)
            self._pieces = None
        else:
            self.answer_bytes = len(answer)
        if status == _OK and self._is_wanted(self.answer_bytes):
            self.answer = answer
            self.metadata = needed(headers)
        if self.kinds:
            self.source.put(self)

    def _is_wanted(self, size: int) -> bool:
        rules = self.source.rules
        return RESPONSE in rules.kinds and size <= rules.max_body_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _at: TracebackType | None,
    ) -> None:
        """End it, unless it is over: with 200, or with the status that the error has."""
        self.end(_OK if error is None else _status_of(error))


class Nothing:
    """Stands where a call is not kept."""

    def piece(self, _data: bytes) -> None:
        """Do nothing."""

    def end(
        self,
        _status: int = _OK,
        _content_type: bytes = b"",
        _answer: bytes = b"",
        _headers: Headers = (),
    ) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing."""


NOTHING = Nothing()


def noted(
    payloads: ApiPayloads | None, said: Said | None, request_id: bytes, body: bytes
) -> Exchange | Nothing:
    """Return the record of a call for who writes its answer alone; to be used with ``with``."""
    if payloads is None or said is None:
        return NOTHING
    return payloads.begin(said, request_id, body) or NOTHING


def _status_of(error: BaseException) -> int:
    if isinstance(error, CancelledError | GeneratorExit):
        return _CLIENT_LEFT
    return problem_from(error).status
