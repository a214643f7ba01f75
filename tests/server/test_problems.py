"""What a client is told, and what it is never told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InputError, Issue, UserCodeError
from modelpack.server.batching.rows import WrongRows
from modelpack.server.problems import (
    BadJson,
    BadOutput,
    Overloaded,
    Problem,
    RunnerCrashed,
    TimedOut,
    Unavailable,
    body_too_large,
    method_not_allowed,
    problem_from,
)

ISSUE = Issue("/x/0", "a number", "null")
OUT_OF_RANGE = Issue("/age", "at most 120", "130", is_refused=True)


@pytest.mark.parametrize(
    ("error", "from_service", "status", "code"),
    [
        (InputError("no", issues=[ISSUE]), False, 400, "bad-input"),
        (InputError("no", issues=[OUT_OF_RANGE]), False, 422, "refused-input"),
        (InputError("no", issues=[OUT_OF_RANGE, ISSUE]), False, 400, "bad-input"),
        (InputError("no"), True, 422, "refused-input"),
        (InputError("no", issues=[ISSUE]), True, 422, "refused-input"),
        (BadJson("line 1"), False, 400, "bad-json"),
        (Overloaded(3), True, 429, "overloaded"),
        (TimedOut(), True, 504, "timeout"),
        (Unavailable("stopping"), True, 503, "unavailable"),
        (RunnerCrashed("secret"), True, 500, "runner-crashed"),
        (BadOutput("secret"), True, 500, "bad-output"),
        (WrongRows("secret"), True, 500, "bad-output"),
        (RuntimeError("secret"), True, 500, "model-error"),
        (UserCodeError("secret"), True, 500, "model-error"),
        (TimeoutError("secret"), True, 500, "model-error"),
        (SystemExit("secret"), True, 500, "model-error"),
        (RuntimeError("secret"), False, 500, "internal"),
    ],
)
def test_each_failure_has_its_status_and_code(
    error: BaseException, from_service: bool, status: int, code: str
) -> None:
    problem = problem_from(error, from_service=from_service)

    assert (problem.status, problem.code) == (status, code)
    assert b"secret" not in problem.to_bytes(b"id")


def test_a_problem_is_what_rfc_9457_says_with_our_members() -> None:
    problem = problem_from(InputError("/x/0: expected a number", issues=[ISSUE]))

    assert json.loads(problem.to_bytes(b"id-1")) == {
        "type": "urn:modelpack:error:bad-input",
        "title": "the body does not fit the api",
        "status": 400,
        "detail": "/x/0: expected a number",
        "code": "bad-input",
        "request_id": "id-1",
        "errors": [{"pointer": "/x/0", "expected": "a number", "got": "null"}],
    }


def test_refusals_say_when_to_come_back() -> None:
    assert problem_from(Overloaded(7)).headers == ((b"retry-after", b"7"),)
    assert problem_from(Unavailable("")).headers == ((b"retry-after", b"1"),)
    assert method_not_allowed("GET", {"POST", "PUT"}).headers == ((b"allow", b"POST, PUT"),)
    assert body_too_large(5).closes


def test_a_request_cannot_make_its_answer_long() -> None:
    issues = [Issue("/" + "p" * 10_000, "e" * 10_000, "g" * 10_000)] * 1000

    assert len(problem_from(InputError("m" * 10_000, issues=issues)).to_bytes(b"id")) < 30_000


@given(text=st.text(max_size=50))
def test_any_text_makes_a_valid_body_without_control_characters(text: str) -> None:
    body = Problem(400, "code", "title", text, (Issue(text, text, text),)).to_bytes(b"id")

    assert json.loads(body)["status"] == 400
    assert all(byte >= 0x20 for byte in body)


def test_lone_surrogates_do_not_break_the_answer() -> None:
    body = Problem(400, "code", "title", "\udc80").to_bytes(b"id")

    assert json.loads(body)["detail"] == "\\udc80"


def test_broken_json_says_what_was_expected_where() -> None:
    body = json.loads(problem_from(BadJson("unexpected end: line 1 column 4")).to_bytes(b"1"))

    assert body["errors"] == [
        {"pointer": "", "expected": "valid JSON", "got": "unexpected end: line 1 column 4"}
    ]
