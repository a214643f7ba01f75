"""One contract: the doors, pages and words of another server.

Face(catalog) ──► doors      POST paths that call an api, on the fast lane where they can be
              ──► routes     everything else that the contract answers: health, metadata …
              ──► prefixes   below them even "not found" is said as the contract says it
              ──► home       what ``/`` answers to a program
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from modelpack.server.door import Door
from modelpack.server.faces.catalog import Catalog
from modelpack.server.problems import Headers, Problem

JSON = b"application/json"


def error_text(problem: Problem) -> str:
    """Return one line that says what a problem is, for contracts with room for no more."""
    return f"{problem.title}: {problem.detail}" if problem.detail else problem.title


def write_error(problem: Problem, _request_id: bytes) -> tuple[int, bytes, bytes, Headers]:
    """Write ``{"error": "..."}``, as most contracts have it."""
    body = orjson.dumps({"error": error_text(problem)})
    return problem.status, JSON, body, problem.headers


class Face:
    """Base of the contracts; a subclass fills the lists as it is made."""

    name: ClassVar[str]
    """What it is called in ``--face`` and in the line at the start."""

    prefixes: tuple[str, ...] = ()
    """Beginnings of paths that belong to it, such as ``/v2``: itself, and all below it."""

    home: ASGIApp | None = None
    """Answers ``GET /`` for whoever does not ask for a page there; None: nothing does."""

    claims: frozenset[str] = frozenset()
    """Paths that its platform was told to call: it has them even where an api has one of them, and
    answers the api's own bodies there as the api would."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.doors: Sequence[Door] = ()
        self.routes: Sequence[BaseRoute] = ()

    def write_problem(
        self, problem: Problem, request_id: bytes
    ) -> tuple[int, bytes, bytes, Headers]:
        """Say what went wrong, in the words of the contract (a ``WriteProblem``)."""
        return write_error(problem, request_id)

    def openapi(self) -> dict[str, Any]:
        """Return its path items for the OpenAPI document, by path; none: it is not in there."""
        return {}
