"""Functions are seen and asked by their version, and get their calls by shares."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from modelpack_aws import lambda_
from modelpack_aws.lambda_mode import LambdaMode, http_event, read_answer
from modelpack_aws.stack import Stack
from modelpack_aws.wanted import GIB, Traffic, Wanted

from modelpack.deploy import SILENT, State
from modelpack.errors import DeployError

from .clouds import OUTPUTS, Clouds, Hands, RecordingStacks, ringing, stack

WANTED = Wanted(name="digits", bundle="digits:2", revision="0123456789ab", mode="lambda")
FORMER = replace(WANTED, revision="fedcba987654", bundle="digits:1")


def alias_of(order: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(order.body)["Resources"]["Live"]["Properties"]
    return found


# --- seen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Active", State.RUNNING),
        ("Inactive", State.RUNNING),
        ("Pending", State.STARTING),
        ("Failed", State.FAILED),
    ],
)
def test_a_function_is_seen_by_its_version(said: str, state: State) -> None:
    found = {"State": said, "StateReason": "why", "MemorySize": 1769}
    clouds = Clouds({"get_function_configuration": found})

    sight = LambdaMode().look(clouds, stack(), WANTED)

    assert (sight.state, sight.detail) == (state, "why")
    assert sight.url == "https://abc.lambda-url.eu-west-1.on.aws"
    assert clouds.asked[0][1] == {"FunctionName": "modelpack-digits", "Qualifier": "7"}


def test_what_somebody_has_changed_by_hand_is_seen() -> None:
    wanted = replace(WANTED, env={"GREETING": "hello"}, memory_bytes=2 * GIB)
    found = {"MemorySize": 512, "Environment": {"Variables": {"GREETING": "bye"}}}
    changed = Clouds({"get_function_configuration": found})
    as_wanted = {"MemorySize": 2048, "Environment": {"Variables": {"GREETING": "hello"}}}

    facts = LambdaMode().look(changed, stack(), wanted).facts
    same = (
        LambdaMode().look(Clouds({"get_function_configuration": as_wanted}), stack(), wanted).facts
    )

    assert facts == {"env.GREETING": "bye", "memory_bytes": 512 * 1024**2}
    assert same == {"env.GREETING": "hello", "memory_bytes": 2 * GIB}


def test_its_lines_come_page_by_page() -> None:
    pages = iter(
        [
            {"events": [{"eventId": "1", "timestamp": 1, "message": "a\nb\n"}], "nextToken": "t"},
            {"events": [], "nextToken": "u"},
            {"events": [{"eventId": "2", "timestamp": 2, "message": "c\n"}]},
        ]
    )
    clouds = Clouds({"filter_log_events": lambda **_: next(pages)})

    lines = list(LambdaMode().lines(clouds, stack(), follow=False, tail=2))

    assert lines == ["b", "c"]
    assert [one.get("nextToken") for _, one in clouds.asked] == [None, "t", "u"]


# --- asked ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that answers events for real, behind the Runtime API of the tests."""
    from tests.server.lambda_.conftest import running, write_bundle

    bundle = write_bundle(tmp_path_factory.mktemp("function") / "bundle")
    with running("ours", bundle) as (api, _):
        yield api


@pytest.fixture
def invoked(runtime: Any) -> Clouds:
    def invoke(*, FunctionName: str, Qualifier: str, Payload: bytes) -> dict[str, Any]:
        outcome = runtime.invoke(json.loads(Payload))
        failed = {"FunctionError": "Unhandled"} if outcome.kind == "error" else {}
        return {"StatusCode": 200, "Payload": io.BytesIO(outcome.body), **failed}

    return Clouds({"invoke": invoke})


def test_the_probe_asks_the_new_version_and_nobody_else(invoked: Clouds) -> None:
    mode = LambdaMode()

    ready = mode.fetch(invoked, stack(), "/readyz", timeout_s=1)
    document = mode.fetch(invoked, stack(), "/openapi.json", timeout_s=1)
    answer = mode.fetch(invoked, stack(), "/predict", body=b'{"x": [[1, 2]]}', timeout_s=1)
    refused = mode.fetch(invoked, stack(), "/predict", body=b"{}", timeout_s=1)

    assert (ready.status, json.loads(ready.body)) == (200, {"status": "ready"})
    assert "/predict" in json.loads(document.body)["paths"]
    assert (answer.status, answer.body) == (200, b"[3.0]")
    assert refused.status == 400
    assert {one["Qualifier"] for _, one in invoked.asked} == {"7"}


@pytest.mark.parametrize(
    ("payload", "failed", "what"),
    [
        (b'{"errorType": "x", "errorMessage": "no weights"}', True, "fails: no weights"),
        (b"null", False, "not one of its address"),
        (b"", False, "not one of its address"),
        (b'{"body": "x"}', False, "not one of its address"),
        (
            b'{"statusCode": 200, "body": "%", "isBase64Encoded": true}',
            False,
            "not one of its address",
        ),
    ],
)
def test_what_is_no_answer_is_told(payload: bytes, failed: bool, what: str) -> None:
    with pytest.raises(OSError, match=what):
        read_answer(payload, has_failed=failed)


def test_a_streamed_answer_is_read_too() -> None:
    answer = read_answer(b'{"statusCode": 201}' + b"\0" * 8 + b"0\n1\n", has_failed=False)

    assert (answer.status, answer.body) == (201, b"0\n1\n")


def test_an_event_carries_path_query_and_body() -> None:
    event = http_event("/predict?a=1", b"\xff")

    assert (event["rawPath"], event["rawQueryString"]) == ("/predict", "a=1")
    assert (event["requestContext"]["http"]["method"], event["body"]) == ("POST", "/w==")
    assert http_event("/readyz", None)["requestContext"]["http"]["method"] == "GET"


# --- given its calls ------------------------------------------------------------------------------


def beside(traffic: Traffic) -> tuple[Wanted, Stack]:
    wanted = replace(WANTED, traffic=traffic)
    return wanted, stack(outputs=OUTPUTS | {"Former": FORMER.revision})


def test_the_first_revision_has_all_calls_at_once() -> None:
    stacks = RecordingStacks(clients=Clouds())

    LambdaMode().promote(stacks, stack(), WANTED, SILENT)

    assert stacks.orders == []


def test_without_a_canary_the_alias_moves_and_the_former_version_goes() -> None:
    wanted, now = beside(Traffic())
    stacks = RecordingStacks(clients=Clouds())

    LambdaMode().promote(stacks, now, wanted, SILENT)

    (order,) = stacks.orders
    assert alias_of(order)["FunctionVersion"] == {"Fn::GetAtt": ["Version0123456789ab", "Version"]}
    assert f"Version{FORMER.revision}" not in json.loads(order.body)["Resources"]
    assert json.loads(order.body)["Metadata"] == {"Modelpack": {"spec": "kept"}}
    assert (dict(order.parameters), dict(order.tags)) == (now.parameters, now.tags)


def test_a_canary_gets_its_share_bakes_and_then_has_all() -> None:
    wanted, now = beside(Traffic(canary_percent=10, bake_s=120))
    hands, clouds = Hands(), Clouds({"describe_alarms": ringing(["INSUFFICIENT_DATA", "OK"])})
    stacks = RecordingStacks(clients=clouds, clock=hands.clock())

    LambdaMode().promote(stacks, now, wanted, SILENT)

    canary, all_calls = stacks.orders
    (weight,) = alias_of(canary)["RoutingConfig"]["AdditionalVersionWeights"]
    assert weight["FunctionWeight"] == 0.1
    assert "RoutingConfig" not in alias_of(all_calls)
    assert hands.at == 120
    assert set(clouds.names()) == {"describe_alarms"}


def test_a_canary_whose_alarm_rings_loses_its_share_at_once() -> None:
    wanted, now = beside(Traffic(canary_percent=10, bake_s=120))
    hands = Hands()
    clouds = Clouds({"describe_alarms": ringing(["OK", "OK", "ALARM"]), "update_alias": {}})
    stacks = RecordingStacks(clients=clouds, clock=hands.clock())

    with pytest.raises(DeployError, match=r"version .* does not hold: 5 of 9 calls failed"):
        LambdaMode().promote(stacks, now, wanted, SILENT)

    assert hands.at == 20
    assert clouds.asked[-1] == (
        "update_alias",
        {
            "FunctionName": "modelpack-digits",
            "Name": lambda_.ALIAS,
            "RoutingConfig": {"AdditionalVersionWeights": {}},
        },
    )
    back = alias_of(stacks.orders[-1])
    assert back["FunctionVersion"] == {"Fn::GetAtt": [f"Version{FORMER.revision}", "Version"]}
    assert "RoutingConfig" not in back


def test_a_canary_without_a_time_stays() -> None:
    wanted, now = beside(Traffic(canary_percent=25))
    stacks = RecordingStacks(clients=Clouds())

    LambdaMode().promote(stacks, now, wanted, SILENT)

    (order,) = stacks.orders
    (weight,) = alias_of(order)["RoutingConfig"]["AdditionalVersionWeights"]
    assert weight["FunctionWeight"] == 0.25


def test_an_apply_keeps_the_former_version_and_a_repeated_one_too() -> None:
    mode = LambdaMode()

    first, update, again = (
        mode.render(WANTED),
        mode.render(WANTED, FORMER),
        mode.render(WANTED, WANTED),
    )

    assert f"Version{FORMER.revision}" in update.resources
    assert first.text() == again.text()
