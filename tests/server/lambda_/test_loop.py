"""What our own loop does beside answering: its start, its end, streams, a Runtime API that fails."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import UsageError
from modelpack.server.lambda_.loop import MODE, Loop
from modelpack.server.lambda_.runtime import RuntimeApi

Begin = Callable[..., Any]
STREAMED = "application/vnd.awslambda.http-integration-response"


def url_event(path: str, body: Any) -> Any:
    """An event of a function URL."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}},
        "body": json.dumps(body),
    }


# --- streams -------------------------------------------------------------------------------------


def test_a_streamed_answer_has_its_head_and_then_piece_by_piece(streaming: Any) -> None:
    outcome = streaming.invoke(url_event("/count", {"to": 3}))

    head, body = outcome.body.split(b"\0" * 8)
    assert outcome.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert outcome.headers["content-type"] == STREAMED
    assert json.loads(head)["statusCode"] == 200
    assert json.loads(head)["headers"]["content-type"] == "application/x-ndjson"
    assert body == b"0\n1\n2\n"
    assert outcome.pieces == 4


def test_whole_answers_and_refusals_are_streamed_with_their_status(streaming: Any) -> None:
    fine = streaming.invoke(url_event("/predict", {"x": [[1, 2]]}))
    wrong = streaming.invoke(url_event("/predict", {"x": [[1]]}))

    heads = [json.loads(one.body.partition(b"\0")[0]) for one in (fine, wrong)]
    assert [head["statusCode"] for head in heads] == [200, 400]
    assert fine.body.endswith(b"\0[3.0]")


def test_a_stream_that_fails_says_so_behind_it(streaming: Any) -> None:
    outcome = streaming.invoke(url_event("/count", {"to": 2, "fails": True}))

    error = outcome.trailers["lambda-runtime-function-error-body"]
    assert b'{"error":' in outcome.body
    assert outcome.trailers["lambda-runtime-function-error-type"] == "BrokenOffError"
    assert json.loads(base64.b64decode(error))["errorType"] == "BrokenOffError"


def test_a_direct_event_is_streamed_as_it_is(streaming: Any) -> None:
    outcome = streaming.invoke({"path": "/count", "body": {"to": 2}})
    failed = streaming.invoke({"path": "/count", "body": {"to": "2"}})

    assert (outcome.headers["content-type"], outcome.body) == ("application/x-ndjson", b"0\n1\n")
    assert (failed.kind, failed.json["errorType"]) == ("error", "bad-input")


# --- start and end -------------------------------------------------------------------------------


def test_a_service_that_cannot_be_made_is_an_init_error(
    begin: Begin, bundle: Callable[..., Path]
) -> None:
    folder = bundle("import modelpack\nraise OSError('no weights')\n")
    api, process = begin("ours", folder)

    outcome = api.wait("init")
    _, said = process.communicate(timeout=20)

    assert outcome.kind == "init"
    assert "no weights" in outcome.json["errorMessage"]
    assert outcome.headers["lambda-runtime-function-error-type"].startswith("modelpack.")
    assert process.returncode == 1
    assert "error[" in said
    assert "Traceback" not in said


def test_sigterm_answers_what_was_fetched_and_fetches_no_more(
    begin: Begin, bundle: Callable[..., Path]
) -> None:
    api, process = begin("ours", bundle())
    api.invoke({"x": [[1, 2]]})
    request_id = api.send({"path": "/wait", "body": {"seconds": 0.5}})
    while not api.events.empty():
        time.sleep(0.01)
    time.sleep(0.1)  # it was fetched; that it runs cannot be seen from here
    process.send_signal(signal.SIGTERM)

    assert api.wait(request_id).json == "waited"
    assert process.wait(timeout=10) == 0


def test_it_does_not_mind_to_be_frozen(begin: Begin, bundle: Callable[..., Path]) -> None:
    """Between two events, and with one under way."""
    api, process = begin("ours", bundle())
    api.invoke({"x": [[1, 2]]})
    process.send_signal(signal.SIGSTOP)
    first = api.send({"x": [[3, 4]]})
    time.sleep(0.3)
    process.send_signal(signal.SIGCONT)
    assert api.wait(first).json == [7.0]

    second = api.send({"path": "/wait", "body": {"seconds": 0.2}})
    time.sleep(0.1)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    assert api.wait(second).json == "waited"


def test_a_lone_event_waits_for_no_company(
    begin: Begin, bundle: Callable[..., Path], code: str
) -> None:
    """Whatever the service says: none can come before it is answered."""
    patient = code.replace("batch=True", "batch=True, max_wait_ms=5000")
    assert patient != code
    api, _ = begin("ours", bundle(patient))
    api.invoke({"path": "/trace", "body": {}})
    began = time.monotonic()

    assert api.invoke({"x": [[1, 2]]}).json == [3.0]
    assert time.monotonic() - began < 3


def test_the_trace_of_an_invocation_is_in_the_environment(
    begin: Begin, bundle: Callable[..., Path]
) -> None:
    api, _ = begin("ours", bundle())
    request_id = api.send({"path": "/trace", "body": {}})

    assert api.wait(request_id).json == f"Root=1-{request_id}"


def test_several_events_at_once_where_lambda_allows_it(
    begin: Begin, bundle: Callable[..., Path]
) -> None:
    api, _ = begin("ours", bundle(), AWS_LAMBDA_MAX_CONCURRENCY="4")
    api.invoke({"x": [[1, 2]]})
    began = time.monotonic()
    sent = [api.send({"path": "/wait", "body": {"seconds": 0.5}}) for _ in range(4)]

    assert [api.wait(one).json for one in sent] == ["waited"] * 4
    assert time.monotonic() - began < 1.5


# --- a Runtime API that fails ---------------------------------------------------------------------


def test_a_connection_that_breaks_is_opened_anew(begin: Begin, bundle: Callable[..., Path]) -> None:
    api, _ = begin("ours", bundle())
    api.invoke({"x": [[1, 2]]})
    api.breaks_next = 3
    api.invoke({"x": [[1, 2]]})

    assert api.invoke({"x": [[3, 4]]}).json == [7.0]


def test_an_answer_that_is_too_long_is_an_error(begin: Begin, bundle: Callable[..., Path]) -> None:
    api, _ = begin("ours", bundle())
    api.largest = 1000

    outcome = api.invoke({"path": "/long", "body": {"size": 2000}})

    assert outcome.json["errorType"] == "response-too-large"
    assert api.invoke({"x": [[3, 4]]}).json == [7.0]


def test_nobody_to_ask_ends_with_a_word(begin: Begin, bundle: Callable[..., Path]) -> None:
    _, process = begin("ours", bundle(), AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")

    _, said = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "error[lambda-runtime]: no event from the Runtime API at '127.0.0.1:1'" in said
    assert "Traceback" not in said


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=f"{MODE}: must be buffered or response_stream"):
        Loop(RuntimeApi("127.0.0.1:1"), {**os.environ, MODE: "fast"})
