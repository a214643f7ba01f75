"""What Google answers when it does not do what it was asked, in our words.

    HttpError, or the error of an operation ──refusal──► CredentialsError, RefusedError, …

At most a message and a hint; what Google says stands in the message, on one line.  Source: Google
Cloud APIs, "Errors" (``google.rpc.Status``, ``google.rpc.Code``, ``google.rpc.ErrorInfo``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from modelpack.deploy import one_line
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)

NO_CREDENTIALS = (
    "run 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS to a file"
)
_WORDS = {
    3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED",
    13: "INTERNAL", 14: "UNAVAILABLE", 16: "UNAUTHENTICATED",
}  # fmt: skip
"""Words of the codes that operations end with (google.rpc.Code)."""


class AlreadyThereError(ConflictError):
    """A resource of that name is there already."""


class NotNowError(DeployError):
    """The resource is in a state that does not allow it (FAILED_PRECONDITION)."""


@contextmanager
def said(what: str) -> Iterator[None]:
    """Say in our words what Google's libraries raise while they try to do ``what``.

    Raises CredentialsError for missing or refused credentials, RefusedError for a missing
    permission, NotFoundError, ConflictError, UnreachableError, and DeployError for the rest.
    """
    import google.auth.exceptions as auth
    import httplib2
    from googleapiclient.errors import Error, HttpError

    try:
        yield
    except ModelpackError:
        raise
    except HttpError as cause:
        raise refusal(_error_of(cause), what) from cause
    except auth.DefaultCredentialsError as cause:
        raise CredentialsError(
            f"cannot {what}: there are no Google credentials", hint=NO_CREDENTIALS
        ) from cause
    except auth.RefreshError as cause:
        raise CredentialsError(
            f"cannot {what}: the login is not taken any more: {one_line(str(cause.args[0]))}",
            hint=NO_CREDENTIALS,
        ) from cause
    except (httplib2.HttpLib2Error, auth.TransportError, OSError) as cause:
        raise UnreachableError(
            f"cannot {what}: {one_line(str(cause)) or type(cause).__name__}",
            hint="see whether this machine has a network, and whether region and endpoint are right",
        ) from cause
    except auth.GoogleAuthError as cause:
        raise CredentialsError(
            f"cannot {what}: {one_line(str(cause))}", hint=NO_CREDENTIALS
        ) from cause
    except (Error, ValueError) as cause:
        raise DeployError(
            f"cannot {what}: what answered is not Google",
            hint="see what '--option endpoint' leads to",
        ) from cause


def refusal(error: Mapping[str, Any], what: str) -> ModelpackError:
    """Return the error for a ``google.rpc.Status``: ``code``, ``message``, ``status``, ``details``."""
    code = error.get("code")
    word = str(error.get("status") or _WORDS.get(code if isinstance(code, int) else 0, ""))
    told = one_line(str(error.get("message") or word or "no reason given"))
    if word == "UNAUTHENTICATED":
        return CredentialsError(f"cannot {what}: {told}", hint=NO_CREDENTIALS)
    if word == "PERMISSION_DENIED":
        return RefusedError(f"not permitted to {what}: {told}", hint=_way_in(error))
    if word == "NOT_FOUND":
        return NotFoundError(f"cannot {what}: {told}")
    if word == "ALREADY_EXISTS":
        return AlreadyThereError(f"cannot {what}: {told}")
    if word == "ABORTED":
        return ConflictError(
            f"cannot {what}: somebody else has changed it meanwhile: {told}", hint="plan it again"
        )
    if word == "FAILED_PRECONDITION":
        return NotNowError(f"cannot {what}: {told}", hint="Google calls this FAILED_PRECONDITION")
    if word == "RESOURCE_EXHAUSTED":
        return DeployError(
            f"cannot {what}: {told}", hint="ask for a higher quota, or destroy what is not needed"
        )
    return DeployError(f"cannot {what}: {told}", hint=f"Google calls this {word}" if word else None)


def _error_of(cause: Any) -> Mapping[str, Any]:
    """Return the status that an answer holds, or what its HTTP status means."""
    words = {
        401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
        412: "ABORTED", 429: "RESOURCE_EXHAUSTED",
    }  # fmt: skip
    number = int(cause.resp.status)
    try:
        error = json.loads(cause.content)["error"]
        if not isinstance(error, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        error = {"message": f"HTTP {number}"}
    return {"status": words.get(number, ""), **error, "code": None}


def _way_in(error: Mapping[str, Any]) -> str:
    """Return what to do about a missing permission: an API may only have to be switched on."""
    for detail in error.get("details") or ():
        if isinstance(detail, Mapping) and detail.get("reason") == "SERVICE_DISABLED":
            service = (detail.get("metadata") or {}).get("service", "SERVICE")
            return f"gcloud services enable {one_line(str(service))}"
    return "docs/how-to/deploy-to-google.md lists the permissions that a deploy needs"
