"""Requests whose body decides that they are not one call of the api behind their path.

    Spread(endpoint, [values, values …]) ──call──► one call each, a few at a time ──► All([answers])
    Elsewhere(endpoint, body, read)      ──call──► read as another api's, and queued there

Both stand in ``Arguments.take``.  What always holds: to the outside it stays one request, which is
answered once and counted once, with as many rows as it has parts; the parts have its deadline and
its priority, pass the limits of the queue, and leave it when the client does; the first part that
fails decides the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.call import Call
from modelpack.server.batching.crowd import Crowd
from modelpack.server.bodies.readers import Read
from modelpack.server.endpoint import Endpoint, HttpCall
from modelpack.server.problems import problem_from

MOST_AT_ONCE = 32
"""Parts of one request that wait or run at a time; other requests go between them."""


class All(list[Any]):
    """The answers of all parts, in their order."""


class _Part(Call):
    __slots__ = ("index", "spread")

    def __init__(self, spread: Spread, index: int, values: dict[str, Any], whole: Call) -> None:
        super().__init__()
        self.spread = spread
        self.index = index
        self.values = values
        self.priority = whole.priority
        self.deadline = whole.deadline
        self.started = whole.started

    def resolve(self, answer: Any) -> None:
        self.spread.has(self, answer)

    def reject(self, error: BaseException) -> None:
        self.spread.failed(self, error)


class Spread:
    """One request as several calls of an api without batches."""

    def __init__(self, endpoint: Endpoint, values: Sequence[dict[str, Any]]) -> None:
        """``values`` are the arguments of each call, one at least."""
        self._endpoint = endpoint
        self._values = values
        self._answers: All = All([None] * len(values))
        self._left = len(values)
        self._next = 0
        self._open: set[_Part] = set()
        self._is_pumping = self._is_done = False
        self._call: HttpCall

    def __call__(self, call: HttpCall) -> None:
        """Take the request; it is answered when all parts are."""
        self._call = call
        call.rows = len(self._values)
        self._endpoint.spreads[call] = self
        self._pump()

    def drop(self) -> None:
        """Forget the parts: nobody waits for the answer."""
        self._end()

    def has(self, part: _Part, answer: Any) -> None:
        """Take the answer of a part."""
        self._open.discard(part)
        if self._is_done:
            return
        self._answers[part.index] = answer
        self._left -= 1
        self._measure(part)
        if self._left:
            self._pump()
        else:
            self._end()
            self._call.is_done = True
            self._call.resolve(self._answers)

    def failed(self, part: _Part, error: BaseException) -> None:
        """Answer with what went wrong; the other parts are not wanted any more."""
        self._open.discard(part)
        if not self._is_done:
            self._measure(part)
            self._end()
            self._call.reject(error)

    def _pump(self) -> None:
        """Queue as many parts as may be there; those that end at once make room in a later turn."""
        if self._is_pumping:
            return
        self._is_pumping = True
        for _ in range(MOST_AT_ONCE - len(self._open)):
            if self._is_done or self._next == len(self._values):
                break
            part = _Part(self, self._next, self._values[self._next], self._call)
            part.size_bytes = self._call.size_bytes // len(self._values)
            self._next += 1
            self._open.add(part)
            self._queue.submit(part)
        self._is_pumping = False
        if not self._is_done and not self._open and self._next < len(self._values):
            asyncio.get_running_loop().call_soon(self._pump)  # others first

    @property
    def _queue(self) -> Batcher | Crowd:
        queue = self._endpoint.queue
        if queue is None:  # the request itself would not have been taken
            raise RuntimeError(f"'{self._endpoint.api.name}' has no queue")
        return queue

    def _measure(self, part: _Part) -> None:
        call = self._call
        call.queue_s = max(call.queue_s, part.queue_s)
        call.run_s += part.run_s

    def _end(self) -> None:
        self._is_done = True
        self._endpoint.spreads.pop(self._call, None)
        parts, self._open = self._open, set()
        for part in parts:
            if not part.is_done:
                self._queue.drop(part)


class Elsewhere:
    """A request for another api than the one behind its path."""

    def __init__(self, endpoint: Endpoint, body: bytes, read: Read) -> None:
        """``read`` makes the arguments of the other api, ``endpoint``, of the body."""
        self._endpoint = endpoint
        self._body = body
        self._read = read

    def __call__(self, call: HttpCall) -> None:
        """Move the request there; it is counted there.

        Files are opened in a thread, as they are where the api itself is asked.
        """
        endpoint = self._endpoint
        call.endpoint.stats.in_flight -= 1
        endpoint.stats.in_flight += 1
        call.endpoint = endpoint
        try:
            if endpoint.reader.has_files:
                endpoint.read_aside(call, self._body, self._read)
                return
            arguments = self._read(self._body)
        except Exception as error:  # whatever the bytes made fail is answered
            call.refuse(problem_from(error), error)
        else:
            endpoint.submit(call, arguments)
