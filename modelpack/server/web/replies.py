"""Answers of the application, as plain ASGI.

    Reply(status, content_type, body, headers) ──await reply(scope, receive, send)──► ASGI messages

Every answer of this server leaves through here or through the fast lane, and both write the same
header lines in the same order: content-type, content-length, x-request-id, then the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from modelpack.server.http.heads import RequestIds
from modelpack.server.problems import Headers, Problem, WriteProblem, write_problem

REQUEST_ID = "modelpack.request_id"
"""Key in the ASGI scope under which the id of the request stands."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    content_type: bytes
    body: bytes
    headers: Headers = ()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send(self.start(scope, length=len(self.body)))
        await send({"type": "http.response.body", "body": self.body})

    def start(self, scope: Scope, *, length: int | None) -> dict[str, object]:
        """Return the ASGI message with the head; ``length`` None: a stream."""
        headers = [(b"content-type", self.content_type)]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        headers.append((b"x-request-id", scope[REQUEST_ID]))
        headers.extend(self.headers)
        return {"type": "http.response.start", "status": self.status, "headers": headers}


def json_reply(value: object, *, status: int = 200) -> Reply:
    """Return a JSON answer."""
    return Reply(status, b"application/json", orjson.dumps(value))


def problem_reply(problem: Problem, scope: Scope, write: WriteProblem = write_problem) -> Reply:
    """Return the answer for a problem."""
    status, content_type, body, headers = write(problem, scope[REQUEST_ID])
    if problem.closes:
        headers = (*headers, (b"connection", b"close"))
    return Reply(status, content_type, body, headers)


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the header fields of a request."""
    return dict(scope["headers"])


def set_request_id(scope: Scope, ids: RequestIds) -> bytes:
    """Give the request its id."""
    request_id = ids.id_for(fields_of(scope).get(b"x-request-id"))
    scope[REQUEST_ID] = request_id
    return request_id
