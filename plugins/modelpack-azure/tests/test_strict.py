"""What is sent is held against the services' own models, and a mistake is found before Azure sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelpack_azure.strict import problems, require
from modelpack_azure.target import AzureTarget, ContainerAppsTarget, MlTarget

from modelpack.deploy import rollout
from modelpack.errors import RefusedError
from modelpack.testing import spec_of

from .azure_cases import APPS, ML

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"cpu": 1.1, "memory_bytes": 3 * 1024**3},
    {"min_replicas": 2, "max_replicas": 9, "in_flight": 7},
    {"accelerator": "nvidia-t4:1"},
    {"public": True, "labels": {"team/of": "vision"}, "A": "[x]", "B": ""},
    {"secrets": {"TOKEN": "keyvault:https://bank.vault.azure.net/secrets/t"}},
    {"canary_percent": 5, "bake_s": 60.0},
)


@pytest.mark.parametrize("target", [ContainerAppsTarget, MlTarget])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_rendered_is_what_the_models_take(
    target: type[AzureTarget], settings: dict[str, Any]
) -> None:
    wanted = spec_of(**settings)
    place = target(given=APPS if target is ContainerAppsTarget else ML)

    files = rollout.render(place, wanted).files

    bodies = {name: json.loads(data) for name, data in files.items()}
    models = {
        "endpoint.json": "OnlineEndpoint",
        "environment.json": "EnvironmentVersion",
        "deployment.json": "OnlineDeployment",
    }
    for name, body in bodies.items():
        if name in models:
            assert problems(models[name], body) == []
    if "template.json" in bodies:
        app = bodies["template.json"]["resources"][-1]
        assert app["type"] == "Microsoft.App/containerApps"
        extra = ("type", "apiVersion", "name", "dependsOn")
        assert problems("ContainerApp", {k: v for k, v in app.items() if k not in extra}) == []


def test_text_that_looks_like_an_expression_stays_text_in_a_template() -> None:
    target = ContainerAppsTarget(given=APPS)
    template = json.loads(rollout.render(target, spec_of(A="[1, 2]")).files["template.json"])
    [container] = template["resources"][-1]["properties"]["template"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["A"] == "[[1, 2]"
    assert env["MODELPACK_DEPLOYMENT"].endswith("', '@image@', parameters('image'))]")


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("ContainerApp", {}, "location: is missing"),
        ("ContainerApp", {"location": "x", "propertys": {}}, "has no such field"),
        ("ContainerApp", {"location": "x", "tags": {"a": 1}}, "tags.a: must be text"),
        (
            "ContainerApp",
            {"location": "x", "properties": {"latestRevisionName": "a"}},
            "Azure alone sets it",
        ),
        (
            "ContainerApp",
            {"location": "x", "properties": {"configuration": {"activeRevisionsMode": "both"}}},
            "must be one of Multiple, Single",
        ),
        (
            "ContainerApp",
            {"location": "x", "properties": {"template": {"scale": {"minReplicas": True}}}},
            "must be a whole number",
        ),
        ("OnlineEndpoint", {"location": "x", "properties": {}}, "authMode: is missing"),
        (
            "OnlineEndpoint",
            {"location": "x", "properties": {"authMode": "Key", "traffic": {"a": "1"}}},
            "traffic.a: must be a whole number",
        ),
        (
            "OnlineDeployment",
            {"location": "x", "properties": {"endpointComputeType": "Managed", "cpu": 1}},
            "'ManagedOnlineDeployment' has no such field",
        ),
        (
            "OnlineDeployment",
            {
                "location": "x",
                "properties": {
                    "endpointComputeType": "Managed",
                    "readinessProbe": {"period": "10s"},
                },
            },
            "must be a duration such as PT30S",
        ),
        (
            "EnvironmentVersion",
            {"properties": {"inferenceConfig": {"scoringRoute": {"path": "", "port": 1}}}},
            "must be text with",
        ),
    ],
)
def test_what_a_model_does_not_take_is_found(model: str, body: Any, words: str) -> None:
    assert any(words in one for one in problems(model, body)), problems(model, body)
    with pytest.raises(RefusedError, match="is not what Azure takes"):
        require(model, body)
