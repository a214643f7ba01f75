"""Endpoints are seen, checked by the image that runs and an example, and shared by two variants."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import botocore.exceptions
import jsonschema
import pytest
from modelpack_aws import sagemaker, sagemaker_mode
from modelpack_aws.sagemaker_mode import SagemakerMode
from modelpack_aws.wanted import Accelerator, Scaling, Traffic, Wanted

from modelpack.deploy import SILENT, State, Status
from modelpack.deploy.samples import default_api, sample
from modelpack.errors import DeployError, RefusedError, UnreachableError

from .clouds import Clouds, Hands, RecordingStacks, ringing, stack

WANTED = Wanted(name="digits", bundle="digits:2", revision="0123456789ab", mode="sagemaker")
DIGEST = "sha256:" + "1" * 64
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/modelpack/digits@{DIGEST}"
NAME = "modelpack-digits"
OUTPUTS = {"Endpoint": NAME, "LogGroup": f"/aws/sagemaker/Endpoints/{NAME}"}
STATUS = Status(name="digits", target="aws", state=State.RUNNING, bundle="digits:2")
VARIANTS = replace(WANTED, options={"kind": "variants"})


def endpoint(status: str = "InService", *, image: str = IMAGE, **more: Any) -> dict[str, Any]:
    variant = {
        "VariantName": "main",
        "CurrentInstanceCount": 1,
        "DeployedImages": [{"ResolvedImage": image}],
    }
    return {"EndpointName": NAME, "EndpointStatus": status, "ProductionVariants": [variant], **more}


class AskedClouds(Clouds):
    """Clients whose ``invoke_endpoint`` gives these answers, one after the other."""

    def __init__(self, *answers: Any, said: dict[str, Any] | None = None) -> None:
        left = list(answers)

        def invoke_endpoint(**_: Any) -> Any:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return {"Body": io.BytesIO(answer)}

        super().__init__(
            {"describe_endpoint": said or endpoint(), "invoke_endpoint": invoke_endpoint}
        )


def refused(code: str, **more: Any) -> botocore.exceptions.ClientError:
    response: Any = {"Error": {"Code": code, "Message": "m"}, **more}
    return botocore.exceptions.ClientError(response, "InvokeEndpoint")


@pytest.fixture(autouse=True)
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this machine has a bundle with one api."""
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "number"}, "minItems": 2}}
    schema = {"type": "object", "properties": {"x": rows}, "required": ["x"]}
    record = {"name": "predict", "route": "/predict", "input": schema}
    monkeypatch.setattr(sagemaker_mode, "apis_of", lambda bundle: (record,))
    monkeypatch.setattr(sagemaker_mode, "_POLL_S", 0.0)


def here(**changed: Any) -> Any:
    return stack(**{"outputs": OUTPUTS, "parameters": {"Image": IMAGE}, **changed})


# --- seen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("InService", State.RUNNING),
        ("Creating", State.STARTING),
        ("Updating", State.STARTING),
        ("Failed", State.FAILED),
        ("OutOfService", State.STOPPED),
        ("SomethingNew", State.STARTING),
    ],
)
def test_an_endpoint_is_seen_as_sagemaker_says(said: str, state: State) -> None:
    clouds = Clouds({"describe_endpoint": endpoint(said, FailureReason="no capacity")})

    sight = SagemakerMode().look(clouds, here(), WANTED)

    assert (sight.state, sight.detail, sight.url) == (state, "no capacity", None)


def test_a_model_for_jobs_is_there_or_not() -> None:
    wanted = replace(WANTED, options={"kind": "transform"})

    sight = SagemakerMode().look(Clouds(), here(outputs={"Model": "m"}), wanted)

    assert (sight.state, sight.detail) == (State.RUNNING, "jobs take it")


def test_every_status_of_the_service_is_known() -> None:
    from modelpack_aws import strict

    shape = strict._model("sagemaker").shape_for("EndpointStatus")

    assert set(shape.enum) == set(sagemaker_mode._STATES)


# --- checked --------------------------------------------------------------------------------------


def test_a_healthy_endpoint_has_answered_an_example() -> None:
    clouds = AskedClouds(b'{"predictions": [1]}')

    assert SagemakerMode().verify(clouds, here(), STATUS) == ()
    asked = clouds.asked[-1][1]
    assert json.loads(asked["Body"]) == {"x": [[0.0, 0.0]]}
    assert "TargetVariant" not in asked


def test_of_two_variants_the_new_one_is_asked() -> None:
    clouds = AskedClouds(b"{}")

    SagemakerMode().verify(clouds, here(outputs=OUTPUTS | {"Variant": "r0123"}), STATUS)

    assert clouds.asked[-1][1]["TargetVariant"] == "r0123"


def test_another_image_than_that_of_the_stack_is_not_healthy() -> None:
    other = IMAGE.replace(DIGEST, "sha256:" + "2" * 64)

    with pytest.raises(DeployError, match="runs another image"):
        SagemakerMode().verify(AskedClouds(b"", said=endpoint(image=other)), here(), STATUS)


def test_a_model_that_fails_is_not_healthy() -> None:
    broken = refused("ModelError", OriginalStatusCode=500, OriginalMessage="no weights")

    with pytest.raises(DeployError, match=r"answers with HTTP 500: no weights"):
        SagemakerMode().verify(AskedClouds(broken), here(), STATUS)


def test_a_model_that_refuses_the_example_is_healthy_and_that_is_said() -> None:
    said = SagemakerMode().verify(
        AskedClouds(refused("ModelError", OriginalStatusCode=422)), here(), STATUS
    )

    assert said == ("the endpoint refuses an example made from the schema with HTTP 422",)


def test_one_that_has_just_come_up_gets_its_time() -> None:
    clouds = AskedClouds(refused("ModelNotReadyException"), refused("ServiceUnavailable"), b"{}")

    assert SagemakerMode().verify(clouds, here(), STATUS) == ()
    assert clouds.names().count("invoke_endpoint") == 3


def test_one_that_never_comes_is_not_waited_for_for_ever() -> None:
    with pytest.raises(DeployError):
        SagemakerMode().verify(AskedClouds(refused("ServiceUnavailable")), here(), STATUS)


def test_an_endpoint_that_cannot_be_reached_is_said_in_our_words() -> None:
    away = botocore.exceptions.EndpointConnectionError(endpoint_url="https://runtime.test")

    with pytest.raises(UnreachableError, match="cannot invoke the endpoint"):
        SagemakerMode().verify(AskedClouds(away), here(), STATUS)


def test_who_may_not_invoke_hears_of_it() -> None:
    with pytest.raises(RefusedError, match="not permitted to invoke the endpoint"):
        SagemakerMode().verify(AskedClouds(refused("AccessDeniedException")), here(), STATUS)


@pytest.mark.parametrize(
    ("outputs", "what"),
    [({"Model": "m"}, "waits for jobs"), (OUTPUTS | {"DoneTopic": "arn"}, "asked by files in S3")],
)
def test_where_no_request_can_be_made_it_is_said(outputs: dict[str, str], what: str) -> None:
    (said,) = SagemakerMode().verify(AskedClouds(b""), here(outputs=outputs), STATUS) or ()

    assert what in said


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": 5, "maximum": 9},
        {"type": "integer", "exclusiveMinimum": 3},
        {"type": "integer", "maximum": -2},
        {"type": "string", "minLength": 3},
        {"type": "string", "enum": ["red", "green"]},
        {"type": "boolean"},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {
            "type": "array",
            "prefixItems": [{"type": "string"}],
            "items": {"type": "number"},
            "minItems": 3,
        },
        {"type": "object", "properties": {"a": {"const": 1}, "b": {}}, "required": ["a"]},
    ],
)
def test_a_sample_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample(schema), schema)


def test_one_path_leads_to_predict_or_to_the_first_api() -> None:
    first, predict = {"name": "explain"}, {"name": "predict"}

    assert default_api([first, predict]) == predict
    assert default_api([first]) == first
    assert default_api([]) is None


# --- given its calls ------------------------------------------------------------------------------

NEW = f"r{VARIANTS.mark}"
OLD = f"r{replace(VARIANTS, revision='fedcba987654').mark}"


def weighed(*shares: tuple[float, float]) -> Callable[..., Any]:
    """Answer with these weights of new and old, one after the other."""
    left = list(shares)

    def describe_endpoint(**_: Any) -> Any:
        new, old = left.pop(0) if len(left) > 1 else left[0]
        variants = [
            {"VariantName": NEW, "CurrentWeight": new},
            {"VariantName": OLD, "CurrentWeight": old},
        ]
        return {"EndpointStatus": "InService", "ProductionVariants": variants}

    return describe_endpoint


def promoted(traffic: Traffic, states: list[str]) -> tuple[Clouds, RecordingStacks, Hands]:
    hands = Hands()
    clouds = Clouds(
        {
            "describe_endpoint": weighed((0.0, 1.0)),
            "update_endpoint_weights_and_capacities": {},
            "deregister_scalable_target": {},
            "describe_alarms": ringing(states),
        }
    )
    stacks = RecordingStacks(clients=clouds, clock=hands.clock())
    outputs = OUTPUTS | {"Former": OLD, "CanaryAlarm": "failing", "Variant": NEW}
    wanted = replace(VARIANTS, traffic=traffic)
    SagemakerMode().promote(stacks, here(outputs=outputs), wanted, SILENT)
    return clouds, stacks, hands


def shares(clouds: Clouds) -> list[dict[str, float]]:
    return [
        {one["VariantName"]: one["DesiredWeight"] for one in asked["DesiredWeightsAndCapacities"]}
        for name, asked in clouds.asked
        if name == "update_endpoint_weights_and_capacities"
    ]


def test_the_new_variant_gets_no_call_before_it_was_found_healthy() -> None:
    former = replace(VARIANTS, revision="fedcba987654")
    template = SagemakerMode().render(VARIANTS, former)

    weights = {
        one["VariantName"]: one["InitialVariantWeight"]
        for one in template.resources["Config"]["Properties"]["ProductionVariants"]
    }
    assert weights == {NEW: 0.0, OLD: 1.0}
    assert template.outputs["Former"]["Value"] == OLD


def test_a_share_is_moved_by_one_call_watched_and_then_all_is() -> None:
    clouds, stacks, hands = promoted(Traffic(canary_percent=20, bake_s=60), ["OK"])

    assert shares(clouds) == [{NEW: 0.2, OLD: 0.8}, {NEW: 1.0, OLD: 0.0}]
    assert hands.at == 60
    (order,) = stacks.orders
    variants = json.loads(order.body)["Resources"]["Config"]["Properties"]["ProductionVariants"]
    assert [one["VariantName"] for one in variants] == [NEW]
    assert list(order.parameters) == ["Image"]


def test_a_share_that_does_not_hold_is_taken_away_at_once() -> None:
    with pytest.raises(DeployError, match="does not hold: 5 of 9 calls failed") as caught:
        promoted(Traffic(canary_percent=20, bake_s=60), ["OK", "ALARM"])

    assert NEW in caught.value.message


def test_a_share_stays_where_no_time_is_said() -> None:
    clouds, stacks, _ = promoted(Traffic(canary_percent=20), ["OK"])

    assert shares(clouds) == [{NEW: 0.2, OLD: 0.8}]
    assert stacks.orders == []


def test_weights_that_are_there_already_are_not_asked_for_again() -> None:
    clouds = Clouds({"describe_endpoint": weighed((1.0, 0.0))})

    sagemaker_mode._weigh(RecordingStacks(clients=clouds), NAME, {NEW: 1.0, OLD: 0.0})

    assert set(clouds.names()) == {"describe_endpoint"}


def test_other_kinds_leave_the_way_over_to_sagemaker() -> None:
    former = replace(WANTED, revision="fedcba987654")

    assert SagemakerMode().render(WANTED, former).text() == sagemaker.render(WANTED).text()
    stacks = RecordingStacks(clients=Clouds())
    SagemakerMode().promote(stacks, here(), WANTED, SILENT)
    assert stacks.orders == []


def test_the_least_of_it_has_a_price_where_the_table_has_one() -> None:
    wanted = replace(
        WANTED, accelerator=Accelerator(kind="nvidia-l4"), scaling=Scaling(least=2, most=2)
    )

    cost = SagemakerMode().cost(wanted)

    assert cost is not None
    assert cost.usd_per_hour == pytest.approx(2 * 0.8048)
    assert "ml.g6.xlarge" in cost.note
    assert SagemakerMode().cost(replace(WANTED, options={"kind": "serverless"})) is None
