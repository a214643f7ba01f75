"""Requests are held against the schema of the Platform API before they leave."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_heroku import strict

from modelpack.errors import UsageError


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/apps", None),
        ("POST", "/apps", {"name": "words", "stack": "container", "region": "eu"}),
        ("PATCH", "/apps/words/config-vars", {"A": "1", "B_2": None}),
        ("PATCH", "/apps/words/formation", {"updates": [{"type": "web", "quantity": 2}]}),
        ("POST", "/apps/words/releases", {"release": "v3"}),
        ("POST", "/apps/words/log-sessions", {"source": "app", "lines": 1, "tail": False}),
    ],
)
def test_what_the_schema_has_is_taken(method: str, path: str, body: Any) -> None:
    assert strict.problems(method, path, body) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PUT", "/apps/words", {}, "has no such request"),
        ("GET", "/apps/Words", None, "has no such request"),
        ("GET", "/apps/words/../others", None, "has no such request"),
        ("DELETE", "/apps/words", {}, "it takes no body"),
        ("POST", "/apps", {"nam": "words"}, "nam: there is no such field"),
        ("POST", "/apps", {"name": "9words"}, "name: '9words' does not match"),
        ("POST", "/apps", None, "the body: must be of the type object"),
        ("PATCH", "/apps/words/config-vars", {"A-B": "1"}, "A-B: there is no such field"),
        ("PATCH", "/apps/words/config-vars", {"A": 1}, "A: must be of the type string or null"),
        ("PATCH", "/apps/words/formation", {}, "updates: is required"),
        (
            "PATCH",
            "/apps/words/formation",
            {"updates": [{"type": "web"}, {"quantity": 1}]},
            "updates[1].type: is required",
        ),
        (
            "PATCH",
            "/apps/words/formation",
            {"updates": [{"type": "web", "quantity": True}]},
            "updates[0].quantity: must be of the type integer, got bool",
        ),
    ],
)
def test_what_the_schema_has_not_is_said(method: str, path: str, body: Any, said: str) -> None:
    assert said in strict.problems(method, path, body)[0]


def test_a_wrong_request_is_refused_with_the_number_of_its_mistakes() -> None:
    with pytest.raises(UsageError, match=r"'POST /apps' would be refused: a: .* \(and 1 more\)"):
        strict.require("POST", "/apps", {"a": 1, "b": 2})
