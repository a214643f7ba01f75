"""What Azure's libraries raise, in our words.

    with said("read 'containerApps/digits'"): …  ──► CredentialsError, RefusedError, NotFoundError,
                                                     ConflictError, UnreachableError, DeployError

Error form of Azure: "Common API details", ``{"error": {"code", "message", "details"}}``; the innermost
detail says most.
"""

from __future__ import annotations

from collections.abc import Iterator
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

NO_CREDENTIALS = "run 'az login', or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"


@contextmanager
def said(what: str) -> Iterator[None]:
    """Say what Azure's libraries raise within as our errors; ``what`` completes "cannot"."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ClientAuthenticationError as cause:
        why = _first(cause)
        if why.startswith("DefaultAzureCredential"):  # it tells of every place where it looked
            why = "nobody is logged in to Azure"
        raise CredentialsError(f"cannot {what}: {why}", hint=NO_CREDENTIALS) from cause
    except (azure.DecodeError, azure.SerializationError) as cause:
        raise DeployError(
            f"cannot {what}: what answered is not Azure",
            hint="see what '--option endpoint' leads to",
        ) from cause
    except azure.HttpResponseError as cause:
        raise refusal(cause, what) from cause
    except (azure.ServiceRequestError, azure.ServiceResponseError) as cause:
        raise UnreachableError(
            f"cannot {what}: {_first(cause)}",
            hint="see whether this machine has a network",
        ) from cause
    except azure.AzureError as cause:
        raise DeployError(f"cannot {what}: {_first(cause)}") from cause


def refusal(cause: Any, what: str) -> ModelpackError:
    """Return the error that says what Azure answered when it was asked to do ``what``."""
    code, told = error_code(cause), _told(cause)
    status = int(cause.status_code or 0)
    if status == 401:
        return CredentialsError(f"cannot {what}: {told}", hint=NO_CREDENTIALS)
    if status == 403:
        return RefusedError(
            f"not permitted to {what}: {told}",
            hint="docs/how-to/deploy-to-azure.md lists the permissions that a deploy needs",
        )
    if status == 404:
        return NotFoundError(f"cannot {what}: {told}")
    if status in (409, 412):
        return ConflictError(
            f"cannot {what}: {told}", hint="somebody else may be changing it; try again"
        )
    if status == 429 or "Quota" in code:
        return DeployError(
            f"cannot {what}: {told}", hint="ask for a higher quota, or destroy what is not needed"
        )
    return DeployError(f"cannot {what}: {told}", hint=f"Azure calls this {code}" if code else None)


def is_under_way(cause: Any) -> bool:
    """Return whether Azure refuses a change for another one that is under way there.

    Container Apps says ``ContainerAppOperationInProgress``; others say it in words.
    """
    said_so = f"{error_code(cause)} {_told(cause)}".lower()
    return cause.status_code == 409 and ("inprogress" in said_so or "in progress" in said_so)


def error_code(cause: Any) -> str:
    """Return the word of Azure for an error, such as ``QuotaExceeded``; empty for others."""
    return str(getattr(getattr(cause, "error", None), "code", None) or "")


def _told(cause: Any) -> str:
    """Return what Azure says of an error: the innermost of its details that says something."""
    error = getattr(cause, "error", None)
    said_last = ""
    for _ in range(4):
        if error is None:
            break
        said_last = str(getattr(error, "message", "") or said_last)
        details = getattr(error, "details", None) or ()
        error = details[0] if details else None
    return one_line(said_last or _first(cause))


def _first(cause: Exception) -> str:
    lines = str(getattr(cause, "message", None) or cause).splitlines()
    return one_line(lines[0]) if lines and lines[0] else type(cause).__name__


def refuse(response: Any) -> None:
    """Raise azure.core's error for an answer that is no success."""
    from azure.core.exceptions import HttpResponseError
    from azure.mgmt.core.exceptions import ARMErrorFormat

    response.read()
    raise HttpResponseError(response=response, error_format=ARMErrorFormat)
