"""What goes wrong in a runner is the same error in the front, told in plain facts."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InputError, Issue
from modelpack.server.observe.logs import log_failure
from modelpack.server.problems import BadOutput, ServiceFailed, problem_from
from modelpack.server.runners.process.failures import error_from, facts_of
from modelpack.server.runners.process.frames import FrameError


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_declared_input_error_keeps_its_issues() -> None:
    error = InputError("too old", issues=[Issue("/age", "a number", "200", is_refused=True)])

    got = error_from(facts_of(error))

    assert isinstance(got, InputError)
    assert (got.message, got.issues) == ("too old", error.issues)
    assert problem_from(got, from_service=True).status == 422


def test_what_does_not_fit_after_all_is_a_bad_request() -> None:
    error = InputError("no picture", issues=[Issue("/image", "an image", "3 other bytes")])

    got = error_from(facts_of(error, is_decoding=True))

    assert problem_from(got, from_service=True).status == 400


def test_any_other_error_is_text_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    got = error_from(facts_of(raised(ZeroDivisionError("by nought"))))

    assert isinstance(got, ServiceFailed)
    with caplog.at_level(logging.ERROR):
        log_failure("model-error", got, "predict", b"r1")
    (record,) = caplog.records
    fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
    assert fields["error"] == "ZeroDivisionError: by nought"
    assert fields["trace"][-1].endswith("in raised")
    assert problem_from(got, from_service=True).code == "model-error"


def test_an_error_that_cannot_be_printed_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert str(error_from(facts_of(Mute()))) == "Mute: (no message)"
    assert isinstance(error_from(facts_of(BadOutput("two rows"))), BadOutput)
    assert len(facts_of(ValueError("x" * 10_000))["message"]) < 3000


@given(
    st.none()
    | st.integers()
    | st.dictionaries(
        st.sampled_from(["kind", "message", "issues", "trace"]),
        st.sampled_from(["refused", "misfit", "output", "failed", 1, None, [1], [["a"]], []]),
    )
)
def test_facts_that_are_none_are_refused(facts: Any) -> None:
    with suppress(FrameError):
        assert isinstance(error_from(facts), Exception)
