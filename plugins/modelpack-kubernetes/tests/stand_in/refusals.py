"""What the API server says when it does not do something: a ``Status``, with a reason and causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Refused(Exception):
    """One answer that is not a success."""

    def __init__(
        self, code: int, reason: str, message: str, causes: Sequence[dict[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.causes = code, reason, list(causes)

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }
        return said | ({"details": {"causes": self.causes}} if self.causes else {})


def not_found(plural: str, name: str) -> Refused:
    return Refused(404, "NotFound", f'{plural} "{name}" not found')


def no_such_page() -> Refused:
    return Refused(404, "NotFound", "the server could not find the requested resource")


def exists(plural: str, name: str) -> Refused:
    return Refused(409, "AlreadyExists", f'{plural} "{name}" already exists')


def stale(plural: str, name: str) -> Refused:
    what = f'Operation cannot be fulfilled on {plural} "{name}"'
    why = "the object has been modified; please apply your changes to the latest version"
    return Refused(409, "Conflict", f"{what}: {why} and try again")


def invalid(kind: str, name: str, mistakes: Sequence[str]) -> Refused:
    causes = []
    for one in mistakes:
        field, _, message = one.partition(": ")
        causes.append({"reason": "FieldValueInvalid", "message": message, "field": field})
    message = f'{kind} "{name}" is invalid: {", ".join(mistakes)}'
    return Refused(422, "Invalid", message, causes)


def bad(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def conflict(causes: Sequence[tuple[str, str]]) -> Refused:
    """Return the answer to an apply that would take fields of others."""
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    text = "\n".join(f'conflict with "{manager}": {path}' for manager, path in causes)
    message = f"Apply failed with {count}: {text}"
    said = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": path}
        for manager, path in causes
    ]
    return Refused(409, "Conflict", message, said)
