"""Turns an answer that is none into the error that says why.

    Reply(status ≥ 300) ──error_of──► CallRefusedError, CallOverloadedError, …

Our own servers say it as problem+json (RFC 9457): code, title, detail, places.  What comes from
something in between, a page of a gateway, is known by its status alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from modelpack.client.errors import (
    CallError,
    CallForbiddenError,
    CallOverloadedError,
    CallRefusedError,
    CallTimeoutError,
    CallUnknownError,
)
from modelpack.client.reply import Reply
from modelpack.client.retry import seconds_of
from modelpack.errors import Issue

PREFIX = "urn:modelpack:error:"


def error_of(reply: Reply, request_id: str) -> CallError:
    """Return the error for an answer with a status of 300 or more."""
    problem = _problem(reply)
    later = reply.headers.get("retry-after")
    return made(
        reply.status,
        problem,
        request_id=reply.headers.get("x-request-id", request_id),
        retry_after_s=None if later is None else seconds_of(later),
        location=reply.headers.get("location", ""),
    )


def made(
    status: int,
    problem: Mapping[str, Any],
    *,
    request_id: str,
    retry_after_s: float | None = None,
    location: str = "",
) -> CallError:
    """Return the error for a status and a problem; an empty one when nothing is known."""
    title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
    said = f"{title}: {detail}" if title and detail else title or detail or _phrase(status)
    return _class_for(status)(
        said,
        hint=_hint(status, request_id, location),
        code=str(problem["code"]) if problem.get("code") else None,
        status=status,
        request_id=request_id,
        issues=tuple(_issues(problem.get("errors"))),
        retry_after_s=retry_after_s,
    )


def in_stream(piece: Any) -> Mapping[str, Any] | None:
    """Return the problem with which a stream ended; None: it is a piece like any other."""
    if not isinstance(piece, dict) or len(piece) != 1:
        return None
    problem = piece.get("error")
    if isinstance(problem, dict) and str(problem.get("type", "")).startswith(PREFIX):
        return problem
    return None


def _problem(reply: Reply) -> Mapping[str, Any]:
    if not reply.content_type.endswith("json"):
        return {}
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _class_for(status: int) -> type[CallError]:
    if status in (429, 503):
        return CallOverloadedError
    if status in (408, 504):
        return CallTimeoutError
    if status == 404:
        return CallUnknownError
    if status in (401, 403):
        return CallForbiddenError
    return CallRefusedError if status < 500 else CallError


def _phrase(status: int) -> str:
    try:
        return f"status {status}: {HTTPStatus(status).phrase.lower()}"
    except ValueError:
        return f"status {status}"


def _hint(status: int, request_id: str, location: str) -> str | None:
    if location and status < 400:
        return f"call '{location[:200]}' instead"
    if status in (401, 403):
        return "say who asks, with a header such as 'authorization: Bearer …'"
    if status in (429, 503):
        return "try again later"
    if status >= 500 and request_id:
        return f"the server's log has it under '{request_id}'"
    return None


def _issues(errors: Any) -> list[Issue]:
    if not isinstance(errors, list):
        return []
    return [
        Issue(str(one.get("pointer", "")), str(one.get("expected", "")), str(one.get("got", "")))
        for one in errors
        if isinstance(one, dict)
    ]
