"""What a call raises when there is no answer.

    CallError                     exit 1  a server did not give the answer
    ├── CallRefusedError          exit 2  and will not: the request has to be another one
    │   └── CallForbiddenError    exit 4  because of who asks
    ├── CallUnknownError          exit 3  the server has no such api
    ├── CallOverloadedError               not now: too many requests, or not ready
    ├── CallTimeoutError                  not in the time that there was
    └── CallLostError                     nobody is there, or the connection broke

They belong to the tree of ``modelpack.errors``.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelpack.errors import Issue, ModelpackError


class CallError(ModelpackError):
    """A server did not give the answer to a call; ``code`` is the server's own word for why."""

    code = "call-failed"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str = "",
        issues: Iterable[Issue] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code or self.code
        self.status = status
        """HTTP status of the answer; None: there was none."""
        self.request_id = request_id
        """Under which the server's log has it."""
        self.issues = tuple(issues)
        """Places of the request that do not fit."""
        self.retry_after_s = retry_after_s
        """When the server wants to be asked again; None: it did not say."""
        self.attempts = 1
        """How often it was asked."""


class CallRefusedError(CallError):
    """The request itself is not taken (4xx): its form, its values, its length, who sends it."""

    code = "call-refused"
    exit_code = 2


class CallForbiddenError(CallRefusedError):
    """Who asks is not known, or may not (401, 403)."""

    code = "call-forbidden"
    exit_code = 4


class CallUnknownError(CallError):
    """The server has nothing of that name (404)."""

    code = "not-found"
    exit_code = 3


class CallOverloadedError(CallError):
    """The server does not take the request at this moment (429, 503)."""

    code = "overloaded"


class CallTimeoutError(CallError):
    """The answer was not there in time, the server's (504) or the caller's own."""

    code = "timeout"


class CallLostError(CallError):
    """Nobody answers at the address, or the connection broke before the answer was whole."""

    code = "unreachable"
    may_have_run = False
    """True when the request had left: whether the api ran is not known."""
    may_help = True
    """False when the next attempt would end the same way: a certificate that is not trusted."""
