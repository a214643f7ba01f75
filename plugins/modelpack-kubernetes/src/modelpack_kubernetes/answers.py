"""What an API server says when it does not do something, and what whoever deploys is told.

    Status(code, reason, message, causes) ──► ApiError ──as_ours──► an error with what to do about it

A 403 has three causes that only its message tells apart: a right is missing (which one is said), the
namespace has no room left (a quota), or an admission plugin does not let it pass (a policy).

Wire facts: Kubernetes documentation, "API Concepts" and "Kubernetes API reference, Status"; the
messages are those of apiserver, ``authorization`` and ``resourcequota``, as its sources have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    RefusedError,
    UnreachableError,
)
from modelpack_kubernetes.words import Json

_MISSING = re.compile(
    r'(?P<who>\S+) cannot (?P<verb>[a-z]+) resource "(?P<what>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<space>[^"]+)")?'
)
_MOST_TEXT = 400


class ApiError(ModelpackError):
    """The API server did not do what it was asked for."""

    code = "deploy-failed"

    def __init__(self, status: int, said: Mapping[str, Any], what: str) -> None:
        message = _one_line(str(said.get("message") or said.get("reason") or f"HTTP {status}"))
        super().__init__(f"cannot {what}: {message}")
        self.status = status
        self.reason = str(said.get("reason") or "")
        details = said.get("details") or {}
        self.causes = tuple(details.get("causes") or ())

    @property
    def owners(self) -> tuple[tuple[str, str], ...]:
        """Who owns which field that an apply wanted to change: pairs of manager and path."""
        return tuple(
            (str(one.get("message", "")).split('"')[1], str(one.get("field", "")))
            for one in self.causes
            if one.get("reason") == "FieldManagerConflict" and '"' in str(one.get("message", ""))
        )


def as_ours(error: ApiError) -> ModelpackError:
    """Return an answer of the API server as the error that callers know."""
    if error.status == 401:
        return CredentialsError(
            f"{error.message}: the cluster does not know who asks",
            hint="log in again, or name another context: --option context=NAME",
        )
    if error.status == 403:
        return RefusedError(error.message, hint=_why_forbidden(error.message))
    if error.status == 409:
        return ConflictError(error.message, hint="plan it again")
    if error.status in (429, 500, 502, 503, 504):
        return UnreachableError(error.message, hint="the cluster is busy; try again")
    if "admission webhook" in error.message:
        return RefusedError(error.message, hint=_A_POLICY)
    return DeployError(error.message)


_A_POLICY = (
    "a policy of the cluster refuses it; whoever keeps the cluster knows which settings pass"
)


def _why_forbidden(message: str) -> str:
    """Return what to do about a 403."""
    missing = _MISSING.search(message)
    if missing is not None:
        what = missing["what"] + (f".{missing['group']}" if missing["group"] else "")
        space = f" in '{missing['space']}'" if missing["space"] else ""
        return f"ask for the right to '{missing['verb']}' {what}{space}; all are in 'Rights' of the docs"
    if "exceeded quota" in message:
        return "ask for less, remove what is not needed, or have the namespace's quota raised"
    if "forbidden: " in message:
        return _A_POLICY
    return "ask whoever keeps the cluster for that right"


def as_status(data: bytes) -> Json | None:
    """Return what the API server itself says; None when it is somebody else's answer."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    is_its = isinstance(value, dict) and value.get("kind") == "Status" and "status" in value
    return value if is_its else None


def not_kubernetes(server: str) -> UnreachableError:
    """Return the error for what answers in no way of Kubernetes."""
    return UnreachableError(
        f"what answers at '{server}' is no Kubernetes API server",
        hint="see 'server' of the cluster in your kubeconfig",
    )


def _one_line(text: str) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= _MOST_TEXT else f"{plain[: _MOST_TEXT - 1]}…"
