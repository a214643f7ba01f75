"""One api of a running service: from a body to an answer, whichever way the bytes came.

    fields ──asked──► Asked(read, write, timeout, priority)          what the head of a request says
    accept(call, body, asked) ──read──► Batcher / Crowd ──► call.resolve(answer) ──write──► call.send

``HttpCall`` is a request as the queue sees it; the fast lane and the application each have a
subclass that knows how to send.  What always holds: a call is answered once, counted once, and an
error of the service is logged once, with the request's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.call import Call
from modelpack.server.batching.crowd import Crowd
from modelpack.server.batching.rows import group_key
from modelpack.server.bodies.aside import Aside
from modelpack.server.bodies.readers import BodyReader, Read
from modelpack.server.bodies.writers import AnswerWriter, Write, Written
from modelpack.server.observe.logs import log_failure
from modelpack.server.observe.stats import ApiStats, Reading
from modelpack.server.observe.tracing import Trace
from modelpack.server.observe.watching import Watching
from modelpack.server.problems import (
    NOT_READY,
    Headers,
    Problem,
    TimedOut,
    WriteProblem,
    problem_from,
    write_problem,
)
from modelpack.server.wishes import priority_of, timeout_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from modelpack.server.observe.payloads.record import Exchange, Said
    from modelpack.server.runners.methods import OpenStream, PlainStream


class Spread(Protocol):
    """A request that is in the queue as several calls."""

    def drop(self) -> None:
        """Forget them: nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the head of an inference call says, worked out once for heads that come again."""

    read: Read
    """Turns the body into arguments."""
    write: Write
    """Turns the answer into a body."""
    light_bytes: int
    """Longest body that is read on the event loop; -1: none is."""
    timeout_s: float
    """Longest that the request may take."""
    priority: int = 0
    """Who goes first: 0 before 1 before 2 ..."""
    trace: Trace | None = None
    """The trace that the request is part of; None: of none, or nobody wants to know."""
    write_problem: WriteProblem = write_problem
    """Turns what goes wrong into an answer."""
    face: str = ""
    """Name of the contract in which it is asked; "": in the api's own form."""
    said: Said | None = None
    """What the head says of the body, where payloads are kept."""


class Endpoint:
    """An api with its queue and its runner."""

    def __init__(
        self, api: ApiSpec, settings: ServerSettings, watching: Watching | None = None
    ) -> None:
        """``watching`` is shared by the apis of a service; None: as the settings say, for this one.

        Raises UsageError when the settings ask for tracing and its extra is missing.
        """
        self.api = api
        self.decodes = api
        """The api as bodies are decoded for it: for a runner in another process, a variant of it."""
        self.stats = ApiStats(api.name)
        self.reader = self._reader(api, settings)
        self.writer = AnswerWriter(api)
        self._aside: Aside[HttpCall] = Aside(self._was_read, settings.max_queue_bytes)
        self.queue: Batcher | Crowd | None = None
        self.open_stream: OpenStream = _not_bound
        """Begins the answer of an api that streams."""
        self.spreads: dict[HttpCall, Spread] = {}
        """Calls that the queue sees as several."""
        self.is_bound = False
        self.is_served: Callable[[], bool] = lambda: True
        """Says whether anything can run the api's calls at this moment."""
        self._settings = settings
        self._key = group_key(api) if api.batch else None
        self.watch = (watching or Watching(settings)).watch(self.stats, api.route)
        """What is done with each request beyond counting it; None: nothing."""
        self.payloads = None if self.watch is None else self.watch.payloads
        """What keeps what goes in and out; None: nothing does."""
        self.request_timeout_s = settings.request_timeout_s

    @property
    def is_fast(self) -> bool:
        """True when plain calls of the api may take the fast lane."""
        return not self.api.is_stream

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields (names in lower case) ask for; raises RefusedRequest."""
        return Asked(
            read=self.reader.reader_for(fields),
            write=self.writer.writer_for(fields.get(b"accept", b"")),
            light_bytes=self.reader.light_bytes(fields),
            timeout_s=timeout_of(fields, self.request_timeout_s),
            priority=priority_of(fields),
            trace=None if self.watch is None else self.watch.trace_of(fields),
        )

    def bind(self, queue: Batcher | Crowd | None, open_stream: OpenStream | None = None) -> None:
        """Take what answers requests from now on: a queue, or for a stream what opens one."""
        self.queue = queue
        if open_stream is not None:
            self.open_stream = open_stream
        if self.watch is not None and self.watch.tracing and isinstance(queue, Batcher):
            queue.on_batch = self.watch.batched
        self.is_bound = True

    def read_as(self, api: ApiSpec) -> None:
        """Decode bodies as that variant of the api says, to be called before ``bind``."""
        self.decodes = api
        self.reader = self._reader(api, self._settings)
        self._key = group_key(api) if api.batch else None

    def accept(self, call: HttpCall, body: bytes, asked: Asked) -> None:
        """Take a body; the call is answered at once or later."""
        self.begin(call, asked, body)
        call.size_bytes = len(body)
        try:
            if len(body) > asked.light_bytes:
                self._aside.begin(call, body, asked.read)
                return
            arguments = asked.read(body)
        except Exception as error:  # whatever the bytes made fail is answered
            call.refuse(problem_from(error), error)
        else:
            self.submit(call, arguments)

    def read_aside(self, call: HttpCall, body: bytes, read: Read) -> None:
        """Read the body of a call that has begun in a thread, then queue it; raises Overloaded."""
        self._aside.begin(call, body, read)

    def _was_read(
        self, call: HttpCall, arguments: Arguments | None, error: BaseException | None
    ) -> None:
        """Go on with a call whose body was read in a thread."""
        if arguments is not None:
            self.submit(call, arguments)
        elif error is not None:
            call.refuse(problem_from(error), error)

    def begin(self, call: HttpCall, asked: Asked | None = None, body: bytes = b"") -> None:
        """Start the clock of a call whose request is complete; None: its head was refused.

        ``body`` is for who keeps it.
        """
        call.started = perf_counter()
        self.stats.in_flight += 1
        if asked is not None:
            call.write, call.write_problem = asked.write, asked.write_problem
            call.priority, call.face = asked.priority, asked.face
            call.deadline = call.started + asked.timeout_s
        if self.watch is not None:
            if asked is None:
                self.watch.began(call, None)
            else:
                self.watch.began(call, asked.trace, asked.said, body)

    def submit(self, call: HttpCall, arguments: Arguments) -> None:
        """Queue a call that has begun."""
        queue = self.queue
        if queue is None:
            call.refuse(NOT_READY)
            return
        call.values = arguments.values
        call.rows = arguments.rows
        if arguments.write is not None:
            call.write = arguments.write
            if arguments.timeout_s is not None:
                call.deadline = min(call.deadline, call.started + arguments.timeout_s)
            if arguments.priority is not None:
                call.priority = arguments.priority
        if arguments.take is not None:
            arguments.take(call)
            return
        if self._key is not None:
            call.key = self._key(arguments.values)
        queue.submit(call)

    def drop(self, call: HttpCall) -> None:
        """Forget a call whose client has left."""
        if not call.is_done:
            spread = self.spreads.pop(call, None)
            if spread is not None:
                spread.drop()
            elif not self._aside.forget(call) and self.queue is not None:
                self.queue.drop(call)
            call.is_done = True
            self.count(call, _CLIENT_LEFT)

    def count(
        self,
        call: HttpCall,
        status: int,
        code: str = "",
        answer: Written | None = None,
    ) -> None:
        """Count an answered call; ``code`` is that of the problem it was answered with.

        ``answer`` is a good one, for who keeps it.
        """
        now = perf_counter()
        seconds = now - call.started
        stats = self.stats
        stats.in_flight -= 1
        stats.last_s = now
        stats.add(status, seconds, call.queue_s, call.run_s, call.rows, code=code)
        if call.face:
            stats.faces[call.face] = stats.faces.get(call.face, 0) + 1
        if self.watch is not None:
            self.watch.answered(call, status, seconds, code, answer)

    @staticmethod
    def _reader(api: ApiSpec, settings: ServerSettings) -> BodyReader:
        most = settings.max_inflated_bytes if settings.accept_encoding else None
        return BodyReader(api, most)

    @property
    def is_stuck(self) -> bool:
        """True while a call of the service does not come back; others are refused meanwhile."""
        return self.queue is not None and self.queue.is_stuck

    def reading(self) -> Reading:
        """Return what the metrics show of this api."""
        queue = self.queue
        if isinstance(queue, Batcher):
            return Reading(self.stats, queue.stats, queue.waiting_rows, queue.waiting_bytes)
        return Reading(self.stats, None, 0)  # what is not batched never waits

    def expire(self) -> None:
        """Answer 504 to every call whose deadline has passed."""
        for call in self._aside.calls():
            if call.deadline <= perf_counter() and self._aside.forget(call):
                call.reject(TimedOut())
        if self.queue is not None:
            self.queue.expire(perf_counter())

    def close(self) -> None:
        """Answer 503 to what is left."""
        if self.queue is not None:
            self.queue.close()


class HttpCall(Call):
    """A request to an endpoint; subclasses send the answer."""

    __slots__ = ("endpoint", "face", "payload", "request_id", "span", "write", "write_problem")

    span: Span
    """Its span; only there while the endpoint's watch traces."""
    payload: Exchange | None
    """What is kept of its bodies; only there while the endpoint's watch keeps some."""

    def __init__(self, endpoint: Endpoint, request_id: bytes) -> None:
        super().__init__()
        self.endpoint = endpoint
        self.request_id = request_id
        self.write: Write = endpoint.writer.json
        self.write_problem: WriteProblem = write_problem
        self.face = ""
        """Name of the contract in which it is asked; "": in the api's own form."""

    def resolve(self, answer: Any) -> None:
        """Send the answer."""
        endpoint = self.endpoint
        try:
            written = self.write(answer)
        except Exception as error:  # an answer may hold anything
            self.reject(error)
            return
        endpoint.count(self, 200, "", written)
        self.send(200, *written)

    def reject(self, error: BaseException) -> None:
        """Send the problem that an error of the queue or the service is."""
        self.refuse(problem_from(error, from_service=True), error)

    def refuse(self, problem: Problem, error: BaseException | None = None) -> None:
        """Answer with a problem; ``error`` is what is logged when the service or we failed."""
        self.is_done = True
        if error is not None and problem.status == 500:
            log_failure(problem.code, error, self.endpoint.api.name, self.request_id)
        self.endpoint.count(self, problem.status, problem.code)
        self.send(*self.write_problem(problem, self.request_id))

    def send(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Send the answer to the client."""
        raise NotImplementedError


def _not_bound(_values: Mapping[str, Any]) -> PlainStream:
    raise RuntimeError("the service is not made yet")


_CLIENT_LEFT = 499
