"""What Heroku answers when it does not do what it was asked, in our words.

    HTTP status + {"id": "not_found", "message": "…"} ──refusal──► CredentialsError, RefusedError, …

What Heroku says stands in the message, on one line.  Source: Heroku Platform API reference, "Errors" and
"Error Responses".
"""

from __future__ import annotations

import json

from modelpack.deploy import one_line
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    NotFoundError,
    RefusedError,
)

NO_KEY = "set HEROKU_API_KEY to what 'heroku auth:token' prints"


class NameTakenError(ConflictError):
    """An app of that name is there already, and may be somebody else's."""


def refusal(status: int, body: bytes, what: str) -> ModelpackError:
    """Return the error for an answer that is no success."""
    word, told = _said(body)
    told = told or f"HTTP {status}"
    if status == 401:
        return CredentialsError(f"cannot {what}: {told}", hint=NO_KEY)
    if status in (402, 403):
        return RefusedError(f"not permitted to {what}: {told}", hint=_way_in(word))
    if status == 404:
        return NotFoundError(f"cannot {what}: {told}")
    if status == 409:
        return ConflictError(f"cannot {what}: {told}", hint="plan it again")
    if status == 422 and "already taken" in told:
        return NameTakenError(
            f"cannot {what}: {told}",
            hint="names are shared by all of Heroku: choose one with '--option app=NAME'",
        )
    if status == 429:
        return DeployError(
            f"cannot {what}: {told}", hint="Heroku counts the calls of an hour: try again later"
        )
    return DeployError(f"cannot {what}: {told}", hint=f"Heroku calls this {word}" if word else None)


def _said(body: bytes) -> tuple[str, str]:
    """Return the word and the message of an error; empty when the body is none of Heroku's."""
    try:
        value = json.loads(body)
        return one_line(str(value.get("id") or ""), 60), one_line(str(value.get("message") or ""))
    except (ValueError, AttributeError):
        return "", ""


def _way_in(word: str) -> str:
    if word in ("verification_required", "verification_needed"):
        return "verify the account on heroku.com/verify: it wants a means of payment"
    return "the key must have the scope 'global', and its account a right to the app"
