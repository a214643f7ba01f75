"""Turns whatever went wrong with a request into one HTTP answer (RFC 9457).

    an exception ──problem_from──► Problem ──to_bytes──► application/problem+json

The statuses stand in one table, ``_PROBLEM_OF``.  What always holds: a body holds a code, a fixed
message and (for input errors) where the request does not fit; never a traceback, a path, or the
text of an exception that the service did not mean for its client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import orjson

from modelpack.errors import InputError, Issue

CONTENT_TYPE = b"application/problem+json"

Headers = tuple[tuple[bytes, bytes], ...]
"""Header lines of an answer, names in lower case."""

_MAX_ISSUES = 20
_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Problem:
    """What the client of one failed request is told."""

    status: int
    code: str
    title: str
    detail: str = ""
    issues: tuple[Issue, ...] = ()
    headers: Headers = ()
    """Header lines of the answer beside the usual ones, such as ``retry-after``."""
    closes: bool = False
    """True when the connection cannot be used any further."""

    def to_bytes(self, request_id: bytes) -> bytes:
        """Return the JSON body."""
        body: dict[str, object] = {
            "type": f"urn:modelpack:error:{self.code}",
            "title": self.title,
            "status": self.status,
        }
        if self.detail:
            body["detail"] = _printable(self.detail)
        body["code"] = self.code
        body["request_id"] = request_id.decode("latin-1")
        if self.issues:
            body["errors"] = [_issue(issue) for issue in self.issues[:_MAX_ISSUES]]
        return orjson.dumps(body)


WriteProblem = Callable[[Problem, bytes], tuple[int, bytes, bytes, Headers]]
"""Returns status, content type, body and header lines of the answer to a request with that id."""


def write_problem(problem: Problem, request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write a problem in our own form (RFC 9457); other contracts have a ``WriteProblem`` of theirs."""
    return problem.status, CONTENT_TYPE, problem.to_bytes(request_id), problem.headers


class RefusedRequest(Exception):
    """A request that is answered with the problem, whatever it holds."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class Overloaded(Exception):
    """A call is not taken in, for the reason that the text gives.

    ``retry_after_s`` is when the queue should have emptied.
    """

    def __init__(self, retry_after_s: int, why: str = "the queue is full") -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class TimedOut(Exception):
    """The request's time passed before its answer was there."""


class Unavailable(Exception):
    """The api takes no requests now; the text says why."""


STOPPING = "the server is stopping"
STUCK = "an earlier call has not come back"
NO_RUNNER = "no runner is up"


class RunnerLost(Exception):
    """A runner's process died; what a batch of it gets instead of an answer, never a client.

    ``has_begun`` is false when the batch cannot have been the cause: it was not begun.
    """

    def __init__(self, has_begun: bool) -> None:
        super().__init__("the runner's process died")
        self.has_begun = has_begun


class RunnerCrashed(Exception):
    """The request was run alone, and its runner's process died of it, not for the first time."""


class ServiceFailed(Exception):
    """The service raised something in a process of its own; what is known of it is text."""

    def __init__(self, said: str, trace: list[str]) -> None:
        super().__init__(said)
        self.said = said
        """Type and message, as they were there."""
        self.trace = trace
        """``file:line in function`` of the innermost frames there."""


class BadOutput(Exception):
    """The service returned something that cannot be its answer; the reason is for the log."""


class BadJson(Exception):
    """The body is not JSON within our limits; the message says where."""


def problem_from(error: BaseException, *, from_service: bool = False) -> Problem:
    """Return the answer for an exception.

    ``from_service`` is true when the service's own code raised it: an InputError is then a value
    that the service refuses (422), and everything else is the model's failure.
    """
    if isinstance(error, RefusedRequest):
        return error.problem
    if isinstance(error, InputError):
        return _input_problem(error, from_service)
    if isinstance(error, Overloaded):
        retry = (b"retry-after", b"%d" % error.retry_after_s)
        detail = f"{error}, try again later"
        return Problem(429, "overloaded", "too many requests", detail, headers=(retry,))
    problem = next((_PROBLEM_OF[kind] for kind in type(error).__mro__ if kind in _PROBLEM_OF), None)
    if problem is None:
        return MODEL_ERROR if from_service else INTERNAL
    if isinstance(error, BadJson):
        issue = Issue("", "valid JSON", str(error))
        return replace(problem, detail=str(error), issues=(issue,))
    if isinstance(error, Unavailable):
        return replace(problem, detail=str(error))
    return problem


def _input_problem(error: InputError, from_service: bool) -> Problem:
    status, code, title = (
        (422, "refused-input", "the service refuses the input")
        if from_service or error.is_refusal
        else (400, "bad-input", "the body does not fit the api")
    )
    return Problem(status, code, title, error.message, issues=error.issues)


MODEL_ERROR = Problem(
    500, "model-error", "the model failed", "the service raised an error; its log says more"
)
INTERNAL = Problem(500, "internal", "internal error", "the server failed; its log says more")

_RETRY_SOON = ((b"retry-after", b"1"),)
NOT_READY = Problem(
    503, "not-ready", "not ready", "the service is being made ready", headers=_RETRY_SOON
)
UNAVAILABLE = Problem(503, "unavailable", "unavailable", STOPPING, headers=_RETRY_SOON)

_PROBLEM_OF: dict[type[BaseException], Problem] = {
    BadJson: Problem(400, "bad-json", "the body is not valid JSON"),
    TimedOut: Problem(504, "timeout", "timeout", "the request took longer than it may"),
    Unavailable: UNAVAILABLE,
    RunnerCrashed: Problem(
        500, "runner-crashed", "the runner crashed", "the process that ran the request died of it"
    ),
    BadOutput: Problem(
        500, "bad-output", "bad output", "the service returned what cannot be its answer"
    ),
}


def not_found(path: str) -> Problem:
    """No route has that path."""
    return Problem(404, "not-found", "not found", f"nothing answers on '{path[:200]}'")


def method_not_allowed(method: str, allowed: Iterable[str]) -> Problem:
    """The route is there, but not for that method."""
    allow = ", ".join(sorted(allowed))
    return Problem(
        405,
        "method-not-allowed",
        "method not allowed",
        f"'{method[:20]}' is not allowed here, only {allow}",
        headers=((b"allow", allow.encode("latin-1")),),
    )


def unsupported_media_type(got: str, accepted: Iterable[str]) -> Problem:
    """The body has a content type or coding that the api does not read."""
    expected = " or ".join(accepted)
    detail = f"expected {expected}, got {got[:100] or 'no content type'}"
    return Problem(415, "unsupported-media-type", "unsupported media type", detail)


def body_too_large(limit: int) -> Problem:
    """The body is longer than the server reads."""
    detail = f"the body may have at most {limit} bytes"
    return Problem(413, "body-too-large", "body too large", detail, closes=True)


def bad_request(detail: str) -> Problem:
    """The bytes are not an HTTP request that we answer."""
    return Problem(400, "bad-request", "bad request", detail, closes=True)


def bad_query(expected: str, name: str = "the query") -> Problem:
    """What stands behind the ``?`` of a URL is nothing that may stand there; the connection goes on."""
    return Problem(400, "bad-request", "bad request", f"{name}: expected {expected}")


def bad_header(name: str, expected: str, got: bytes) -> Problem:
    """The value of a header is none that it may have; the connection goes on."""
    text = got[:40].decode("latin-1")
    return Problem(400, "bad-request", "bad request", f"{name}: expected {expected}, got '{text}'")


def head_too_large(limit: int) -> Problem:
    """The header block is longer than the server reads."""
    detail = f"the header block may have at most {limit} bytes"
    return Problem(431, "head-too-large", "header block too large", detail, closes=True)


def too_many_pipelined(limit: int) -> Problem:
    """The client sent one request after the other without reading any answer."""
    detail = f"at most {limit} requests may wait on one connection"
    return Problem(429, "overloaded", "too many requests", detail, closes=True)


def request_timeout(detail: str) -> Problem:
    """The client did not send its request in time."""
    return Problem(408, "request-timeout", "request timeout", detail, closes=True)


def _issue(issue: Issue) -> dict[str, str]:
    return {
        "pointer": _printable(issue.pointer),
        "expected": _printable(issue.expected),
        "got": _printable(issue.got),
    }


def _printable(text: str) -> str:
    """Return the text bounded, without control characters and lone surrogates."""
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 3] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
