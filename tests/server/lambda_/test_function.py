"""Events that a function is sent, and what it answers: with our loop and with AWS's own client.

Both run as processes of their own, against the Runtime API of ``conftest``.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest


def v2(body: Any = None, *, path: str = "/predict", method: str = "POST", **more: Any) -> Any:
    """An event of an HTTP API or a function URL."""
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "a=1&a=2",
        "headers": {"content-type": "application/json", "host": "x.lambda-url.aws"},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "203.0.113.9"},
            "stage": "$default",
        },
        "body": text,
        "isBase64Encoded": False,
        **more,
    }


def v1(body: Any, *, path: str = "/predict", **more: Any) -> Any:
    """An event of a REST API."""
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "queryStringParameters": {"a": "1"},
        "multiValueQueryStringParameters": {"a": ["1", "2"]},
        "requestContext": {"identity": {"sourceIp": "203.0.113.9"}, "stage": "prod"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
        **more,
    }


ROWS = {"x": [[1, 2], [3, 4]]}


def test_a_direct_event_is_the_apis_body_and_its_answer_the_apis(function: Any) -> None:
    outcome = function.invoke(ROWS)

    assert (outcome.kind, outcome.json) == ("response", [3.0, 7.0])


def test_a_direct_event_may_name_another_path(function: Any) -> None:
    assert function.invoke({"path": "/wait", "body": {"seconds": 0}}).json == "waited"
    assert function.invoke({"path": "/invocations", "body": {"instances": [[1, 2]]}}).json == {
        "predictions": [3.0]
    }


def test_an_event_of_format_2_is_answered_in_it(function: Any) -> None:
    answer = function.invoke(v2(ROWS)).json

    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert json.loads(answer["body"]) == [3.0, 7.0]
    assert answer["headers"]["content-type"] == "application/json"


def test_the_request_id_is_that_of_the_invocation(function: Any) -> None:
    request_id = function.send(v2(ROWS))

    assert function.wait(request_id).json["headers"]["x-request-id"] == request_id


def test_the_stage_of_an_http_api_is_no_part_of_the_path(function: Any) -> None:
    context = {"http": {"method": "POST", "path": "/prod/predict"}, "stage": "prod"}

    answer = function.invoke(v2(ROWS, path="/prod/predict", requestContext=context)).json

    assert answer["statusCode"] == 200


def test_an_event_of_format_1_is_answered_in_it(function: Any) -> None:
    answer = function.invoke(v1(ROWS)).json

    assert json.loads(answer["body"]) == [3.0, 7.0]
    assert answer["multiValueHeaders"]["content-type"] == ["application/json"]


def test_a_load_balancer_gets_the_status_in_words(function: Any) -> None:
    context = {"elb": {"targetGroupArn": "arn:x"}}
    event = v1(ROWS, requestContext=context, multiValueHeaders=None)
    event["multiValueQueryStringParameters"] = None

    answer = function.invoke(event).json

    assert answer["statusDescription"] == "200 OK"
    assert answer["headers"]["content-type"] == "application/json"


def test_bytes_travel_as_base64_both_ways(function: Any) -> None:
    data = bytes(range(256))
    event = v2(
        base64.b64encode(data).decode(),
        path="/picture",
        isBase64Encoded=True,
        headers={"Content-Type": "application/octet-stream"},
    )

    answer = function.invoke(event).json

    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == data[::-1]


def test_pages_and_other_contracts_are_there_too(function: Any) -> None:
    ready = function.invoke(v2(method="GET", path="/readyz")).json
    ping = function.invoke(v2(method="GET", path="/ping")).json
    missing = function.invoke(v2(method="GET", path="/nowhere")).json

    assert json.loads(ready["body"]) == {"status": "ready"}
    assert ping["statusCode"] == 200
    assert (missing["statusCode"], json.loads(missing["body"])["code"]) == (404, "not-found")


def test_what_a_client_sends_wrong_is_an_answer_and_no_failed_invocation(function: Any) -> None:
    outcome = function.invoke(v2({"x": [[1]]}))

    assert (outcome.kind, outcome.json["statusCode"]) == ("response", 400)
    assert json.loads(outcome.json["body"])["errors"][0]["pointer"] == "/x"


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({"x": [[1]]}, "bad-input", "1 instead of 2"),
        ({"path": "/nowhere"}, "not-found", "nothing answers on '/nowhere'"),
        ([1], "bad-input", "the body does not fit"),
        ({"requestContext": {"http": {}}}, "bad-event", "malformed"),
        (v2("%%%", isBase64Encoded=True), "bad-event", "malformed"),
    ],
)
def test_a_direct_event_that_has_no_answer_is_a_failed_invocation(
    function: Any, event: Any, kind: str, words: str
) -> None:
    outcome = function.invoke(event)

    assert outcome.kind == "error"
    assert outcome.json["errorType"] == kind
    assert words in outcome.json["errorMessage"]
    assert "Traceback" not in outcome.body.decode()


def test_the_deadline_of_the_invocation_is_that_of_the_request(function: Any) -> None:
    late = function.invoke(v2({"seconds": 30}, path="/wait"), within_s=0.6).json

    assert (late["statusCode"], json.loads(late["body"])["code"]) == (504, "timeout")
    assert function.invoke(ROWS).json == [3.0, 7.0]
