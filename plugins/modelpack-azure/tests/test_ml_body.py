"""What an online endpoint is told: routes, probes, machines, rules of scaling, secrets."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure import ml_body
from modelpack_azure.strict import problems

from modelpack.deploy import Entry
from modelpack.errors import UsageError
from modelpack.testing import spec_of

from .fake_azure import body_problems


def entry_of(options: dict[str, str] | None = None, **settings: Any) -> Entry:
    return Entry(spec=spec_of(**settings), image="r/i@sha256:0", mode="ml", options=options or {})


def deployment_of(options: dict[str, str] | None = None, **settings: Any) -> Any:
    body = ml_body.deployment(
        entry_of(options, **settings), "azure-ml", location="x", environment_id="/e"
    )
    assert problems("OnlineDeployment", body) == []
    return body


def rules_of(**settings: Any) -> Any:
    body = ml_body.autoscaling(
        entry_of(**settings), "azure-ml", location="x", deployment_id="/deployments/d"
    )
    assert body_problems("autoscalesettings", body) == []
    return body


def test_every_route_of_the_image_is_named() -> None:
    config = ml_body.environment(entry_of())["properties"]["inferenceConfig"]
    paths = {name: one["path"] for name, one in config.items()}
    assert paths == {
        "livenessRoute": "/livez",
        "readinessRoute": "/readyz",
        "scoringRoute": "/score",
    }


def test_another_image_is_another_version_of_the_environment() -> None:
    entry = entry_of()
    other = Entry(spec=entry.spec, image="r/i@sha256:1", mode="ml")
    assert ml_body.version_of(entry) != ml_body.version_of(other)
    assert ml_body.deployment_name(entry) == ml_body.deployment_name(other)


def test_instances_come_and_go_between_the_fewest_and_the_most() -> None:
    body = rules_of(min_replicas=2, max_replicas=5, cooldown_up_s=90.0, cooldown_down_s=0.0)
    [profile] = body["properties"]["profiles"]
    assert profile["capacity"] == {"minimum": "2", "maximum": "5", "default": "2"}
    more, fewer = profile["rules"]
    assert more["metricTrigger"]["threshold"] > fewer["metricTrigger"]["threshold"]
    assert (more["scaleAction"]["direction"], more["scaleAction"]["cooldown"]) == (
        "Increase",
        "PT2M",
    )
    assert fewer["scaleAction"]["cooldown"] == "PT1M", "Azure takes no less"
    assert {one["metricTrigger"]["metricResourceUri"] for one in (more, fewer)} == {
        "/deployments/d"
    }


def test_rules_of_scaling_take_fewer_tags_than_other_things() -> None:
    labels = {f"label-{number}": "x" for number in range(20)}
    assert len(rules_of(max_replicas=2, labels=labels)["tags"]) == 2
    assert len(deployment_of(labels=labels)["tags"]) == 22


def test_a_call_may_take_as_long_as_is_said() -> None:
    assert deployment_of()["properties"]["requestSettings"]["requestTimeout"] == "PT60S"
    asked = deployment_of({"timeout": "180"})["properties"]["requestSettings"]
    assert asked["requestTimeout"] == "PT180S"
    with pytest.raises(UsageError, match="must be 1 to 180, got '181'"):
        deployment_of({"timeout": "181"})


def test_a_secret_is_a_reference_that_azure_resolves() -> None:
    url = "https://bank.vault.azure.net/secrets/t"
    variables = deployment_of(secrets={"TOKEN": f"keyvault:{url}"})["properties"]
    assert variables["environmentVariables"]["TOKEN"] == f"${{{{keyvault:{url}}}}}"


def test_an_endpoint_does_not_sleep() -> None:
    with pytest.raises(UsageError, match="cannot sleep"):
        deployment_of(min_replicas=0)
