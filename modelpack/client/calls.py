"""One call, step by step, without waiting for anything itself.

    called(name, arguments) ──Send(request)──► whoever drives it ──► Wire
                            ◄────Reply────────
                            ──Pause(seconds)─►                   ──► sleep
                            ──► Answer

``Client`` drives the steps by waiting for each, ``AsyncClient`` by awaiting them: what a call is
stands here once.  What always holds:

* all attempts of a call, and the pauses between them, are within its time; each attempt tells the
  server what is left of it (``X-Request-Timeout-Ms``);
* they carry one ``X-Request-Id``, so that a repeated request can be known by it;
* when a request does not fit what the server has by now (another version was swapped in), what it
  offers is read again, once, and the request is made anew if that changed.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Protocol, TypeVar

from modelpack.client.errors import (
    CallError,
    CallLostError,
    CallRefusedError,
    CallTimeoutError,
    CallUnknownError,
)
from modelpack.client.exchange import checked_headers
from modelpack.client.reply import Answer, Reply, Request
from modelpack.client.retry import Retry
from modelpack.client.schema import Api, Service
from modelpack.errors import UsageError, did_you_mean

Value = TypeVar("Value")

FOREVER_S = 10 * 365 * 86_400.0
PRIORITIES = ("high", "normal", "low")

_OTHER_SERVER = "is that a server of modelpack? one that speaks TLS is named by https://"

_STALE_S = 1.0
"""What was read longer ago than this may have changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; the answer is a Reply, or CallLostError and CallTimeoutError are raised."""

    request: Request
    deadline: float
    """Time of ``monotonic`` after which nobody wants the answer."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How calls are made."""

    timeout_s: float | None = 60.0
    """Longest that a call takes with all its attempts; of a stream, to its first piece, and from
    each piece to the next.  None: as long as it takes."""
    retry: Retry = field(default_factory=Retry)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header fields of every request, names in lower case."""
    priority: str | None = None
    """``high``, ``normal`` or ``low``; None: what the server takes for normal."""
    request_id: str | None = None
    """None: a new one for each call."""

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise UsageError(f"timeout_s: must be more than 0, got {self.timeout_s}")
        if self.priority not in (None, *PRIORITIES):
            raise UsageError(f"priority: must be {', '.join(PRIORITIES)}, got '{self.priority}'")
        object.__setattr__(self, "headers", checked_headers(self.headers))
        if self.request_id is not None:
            checked_headers({"x-request-id": self.request_id})


@dataclass(frozen=True, slots=True)
class Describe:
    """Have ``Caller.described`` done by one at a time; the answer is what the server offers.

    Nothing is to be asked when what is known is not ``known`` any more: somebody else has asked.
    """

    known: Service | None
    options: Options
    deadline: float


Step = Send | Pause | Describe
Steps = Generator[Step, Any, Value]
"""What a call asks for, one thing after the other, and what it returns in the end."""


class Reader(Protocol):
    """Makes values of the pieces of a stream."""

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values that are whole by now; raises the CallError with which a stream ends."""

    def end(self) -> Iterator[Any]:
        """Yield what is left at the end."""


class Dialect(Protocol):
    """How calls look on the wire."""

    def describe(self) -> Generator[Request, Reply, Service]:
        """Ask the server what it offers."""

    def request(
        self, service: Service, api: Api, arguments: Mapping[str, Any], about: Mapping[str, str]
    ) -> Request:
        """Return the request for arguments; ``about`` are header fields of the call."""

    def value(self, api: Api, reply: Reply) -> Any:
        """Return the value that a good answer is; raises CallError."""

    def error(self, reply: Reply, request_id: str) -> CallError:
        """Return the error that any other answer is."""

    def reader(self, api: Api, reply: Reply) -> Reader:
        """Return what reads the pieces of a stream; raises CallError for what is none."""


class Caller:
    """Makes calls, and remembers what the server offers; for any number of threads."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.service: Service | None = None
        """What was read last; None: nothing yet."""
        self._read_at = 0.0

    def described(self, options: Options, deadline: float | None = None) -> Steps[Service]:
        """Read what the server offers."""
        deadline = deadline_of(options) if deadline is None else deadline
        questions = self.dialect.describe()
        request = next(questions)
        while True:
            asked = replace(request, headers={**request.headers, **options.headers})
            try:
                try:
                    reply, _ = yield from self._sent(asked, options, deadline, "")
                except CallError as error:
                    request = questions.throw(error)
                else:
                    request = questions.send(reply)
            except StopIteration as done:
                service: Service = done.value
                self.service, self._read_at = service, monotonic()
                return service

    def called(
        self,
        name: str,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        options: Options,
    ) -> Steps[tuple[Answer, Reply, Api]]:
        """Call an api; raises CallError, and TypeError for arguments that it does not have."""
        began = monotonic()
        deadline = deadline_of(options)
        service: Service = self.service or (yield Describe(None, options, deadline))
        try:
            api, arguments = fitted(service, name, positional, named)
        except (TypeError, CallUnknownError):
            service = yield from self._changed(service, options, deadline)
            api, arguments = fitted(service, name, positional, named)
        request_id = options.request_id or os.urandom(8).hex()
        about = _about(options, request_id)
        try:
            request = self.dialect.request(service, api, arguments, about)
            reply, attempts = yield from self._sent(request, options, deadline, request_id)
        except (CallRefusedError, CallUnknownError):
            fresh = yield from self._changed(service, options, deadline)
            if fresh.apis.get(name) == api:
                raise
            api, arguments = fitted(fresh, name, positional, named)
            request = self.dialect.request(fresh, api, arguments, about)
            reply, attempts = yield from self._sent(request, options, deadline, request_id)
        seconds = monotonic() - began
        value = None
        if reply.pieces is None:
            api, value = yield from self._value(service, api, reply, options, deadline)
        sent_back = reply.headers.get("x-request-id", request_id)
        answer = Answer(value, reply.status, sent_back, attempts, seconds, reply.headers)
        return answer, reply, api

    def _value(
        self, service: Service, api: Api, reply: Reply, options: Options, deadline: float
    ) -> Steps[tuple[Api, Any]]:
        """Return the value of an answer, by what the server offers now if need be."""
        try:
            return api, self.dialect.value(api, reply)
        except CallError:
            fresh = yield from self._changed(service, options, deadline)
            known = fresh.apis.get(api.name)
            if known is None or known == api:
                raise
            return known, self.dialect.value(known, reply)

    def _changed(self, known: Service, options: Options, deadline: float) -> Steps[Service]:
        """Return what the server offers now; what is known, when that was read just before.

        Called while an error is being handled: that is the one to tell of, whatever happens here.
        """
        if self.service is known and monotonic() - self._read_at < _STALE_S:
            return known
        try:
            fresh: Service = yield Describe(known, options, deadline)
        except CallError:
            return known
        return fresh

    def _sent(
        self, request: Request, options: Options, deadline: float, request_id: str
    ) -> Steps[tuple[Reply, int]]:
        """Send a request until it is answered, or may not be sent again."""
        failures = 0
        while True:
            timed = _timed(request, deadline) if options.timeout_s is not None else request
            try:
                reply: Reply = yield Send(timed, deadline)
                if reply.status < 300:
                    return reply, failures + 1
                raise self.dialect.error(reply, request_id)
            except CallError as error:
                if request.method == "GET" and isinstance(error, CallLostError):
                    if error.may_have_run:
                        error.hint = _OTHER_SERVER
                    error.may_have_run = False  # it does no harm to look twice
                failures += 1
                error.attempts = failures
                error.request_id = error.request_id or request_id
                wait_s = options.retry.wait_s(error, failures, deadline - monotonic())
                if wait_s is None:
                    raise
            yield Pause(wait_s)


def fitted(
    service: Service, name: str, positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Api, dict[str, Any]]:
    """Return the api of that name and its arguments by name.

    Raises CallUnknownError and TypeError, as a call in Python would.
    """
    api = service.apis.get(name)
    if api is None:
        raise unknown_api(service, name)
    names = [one.name for one in api.parameters]
    if len(positional) > len(names):
        raise TypeError(f"{name}{api.signature}: takes {len(names)} arguments at most")
    arguments = dict(zip(names, positional, strict=False))
    for key, one in named.items():
        if key not in names:
            near = did_you_mean(key, names)
            hint = f", did you mean '{near}'?" if near else ""
            raise TypeError(f"{name}{api.signature}: there is no '{key}'{hint}")
        if key in arguments:
            raise TypeError(f"{name}{api.signature}: '{key}' is given twice")
        arguments[key] = one
    missing = [one.name for one in api.parameters if one.is_required and one.name not in arguments]
    if missing:
        raise TypeError(f"{name}{api.signature}: '{missing[0]}' is missing")
    return api, arguments


def unknown_api(service: Service, name: str) -> CallUnknownError:
    """Return the error for a name that no api has."""
    near = did_you_mean(name, service.apis)
    listed = ", ".join(list(service.apis)[:10]) or "none"
    return CallUnknownError(
        f"'{service.name}' has no api '{name}'",
        hint=f"did you mean '{near}'?" if near else f"it has: {listed}",
        code="not-found",
    )


def _about(options: Options, request_id: str) -> dict[str, str]:
    about = {"x-request-id": request_id, **options.headers}
    if options.priority is not None:
        about["modelpack-priority"] = options.priority
    return about


def _timed(request: Request, deadline: float) -> Request:
    """Return a request that says what is left of its time."""
    left_ms = int((deadline - monotonic()) * 1000)
    if left_ms < 1:
        raise CallTimeoutError("no time is left for the call", hint="give it a longer timeout")
    return replace(request, headers={**request.headers, "x-request-timeout-ms": str(left_ms)})


def deadline_of(options: Options) -> float:
    """Return the time of ``monotonic`` at which a call that begins now is over."""
    return monotonic() + (FOREVER_S if options.timeout_s is None else options.timeout_s)
