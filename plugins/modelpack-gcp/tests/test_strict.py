"""A request is judged by Google's own document, and what is wrong is found before it leaves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from modelpack_gcp.strict import VERSIONS, document, problems, require
from modelpack_gcp.target import CloudRunTarget, VertexTarget

from modelpack.deploy import rollout
from modelpack.errors import UsageError
from modelpack.testing import spec_of

from . import google_schema

CREATE = "run.projects.locations.services.create"
PATCH = "run.projects.locations.services.patch"
WHERE = {"parent": "projects/p/locations/europe-west1", "serviceId": "digits"}
SERVICE: dict[str, Any] = {
    "template": {
        "containers": [{"image": "a/b", "ports": [{"containerPort": 8080}]}],
        "maxInstanceRequestConcurrency": 8,
    },
    "labels": {"team": "vision"},
    "ingress": "INGRESS_TRAFFIC_ALL",
    "traffic": [{"percent": 100}],
}


def test_what_the_document_allows_is_allowed() -> None:
    assert problems(CREATE, WHERE, SERVICE) == []
    assert (
        problems("run.projects.locations.services.get", {"name": f"{WHERE['parent']}/services/a"})
        == []
    )


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("ingres",), "INGRESS_TRAFFIC_ALL", "ingres: there is no such field"),
        (("ingress",), "ALL", "ingress: 'ALL' is none of its 5 values"),
        (("ingress",), 1, "ingress: must be text, got int"),
        (("labels", "team"), 1, "labels.team: must be text, got int"),
        (("labels",), [], "labels: must be fields and values, got list"),
        (("uri",), "https://a", "uri: is set by Google alone"),
        (("traffic",), {}, "traffic: must be a list, got dict"),
        (("traffic", 0, "percent"), "100", "traffic[0].percent: must be a whole number, got str"),
        (("traffic", 0, "percent"), True, "traffic[0].percent: must be a whole number, got bool"),
        (("traffic", 0, "percent"), 2**31, "traffic[0].percent: 2147483648 is out of range"),
        (("template", "maxInstanceRequestConcurrency"), 1.5, "must be a whole number, got float"),
        (("template", "gpuZonalRedundancyDisabled"), "no", "must be true or false, got str"),
        (("template", "containers", 0, "image"), "", "template.containers[0].image: is required"),
        (("template",), {}, "template: is required"),
    ],
)  # fmt: skip
def test_what_it_does_not_is_named_by_its_place(
    path: tuple[Any, ...], value: Any, words: str
) -> None:
    body = copy.deepcopy(SERVICE)
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value

    [found] = problems(CREATE, WHERE, body)

    assert words in found


def test_a_patch_with_a_mask_need_not_be_whole() -> None:
    name = {"name": f"{WHERE['parent']}/services/digits"}

    assert problems(PATCH, {**name, "updateMask": "labels"}, {"labels": {}}) == []
    assert problems(PATCH, name, {"labels": {}}) == ["template: is required"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"serviceId": "digits"}, "parent: is required"),
        ({**WHERE, "service": "x"}, "service: there is no such parameter"),
        ({**WHERE, "parent": "europe-west1"}, "parent: 'europe-west1' does not match"),
    ],
)
def test_parameters_are_held_against_the_document_too(
    parameters: dict[str, str], words: str
) -> None:
    [found] = problems(CREATE, parameters, SERVICE)

    assert words in found


def test_numbers_of_64_bits_are_text_or_whole() -> None:
    method = "aiplatform.projects.locations.models.upload"

    def body(megabytes: Any) -> dict[str, Any]:
        container = {"imageUri": "a/b", "sharedMemorySizeMb": megabytes}
        return {"model": {"displayName": "a", "containerSpec": container}}

    where = {"parent": WHERE["parent"]}
    assert problems(method, where, body("64")) == problems(method, where, body(64)) == []
    assert "must be a whole number in text" in problems(method, where, body("many"))[0]


def test_all_mistakes_are_counted_in_one_message() -> None:
    with pytest.raises(UsageError) as caught:
        require(CREATE, WHERE, {**SERVICE, "a": 1, "b": 2})

    assert caught.value.message == f"'{CREATE}' would be refused: a: there is no such field (and 1 more)"  # fmt: skip


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"cpu": 3.0, "memory_bytes": 5 * 1024**3},
    {"min_replicas": 2, "max_replicas": 9},
    {"accelerator": "nvidia-l4:1"},
    {"labels": {"team/of": "Vision.X"}, "A": "[x]"},
    {"canary_percent": 5, "bake_s": 60.0},
)
OF_RUN: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
    ({"A": ""}, {}),
    ({"public": True, "in_flight": 5000}, {"ingress": "balancer", "timeout": "60"}),
    ({"secrets": {"TOKEN": "secretmanager:token@3"}}, {"grpc": "yes"}),
    (
        {"vpc": "net", "subnets": ("sub",), "security_groups": ("tag",)},
        {"egress": "all", "invokers": "allUsers", "billing": "instance"},
    ),
    ({"accelerator": "nvidia-rtx-pro-6000:1"}, {"zonal_redundancy": "yes"}),
)
OF_VERTEX: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
    ({"accelerator": "nvidia-h100:8"}, {"spot": "yes", "access_logs": "yes"}),
    ({"min_replicas": 1, "max_replicas": 3}, {"target_percent": "40"}),
)
CASES = [
    *((target, one, {}) for target in (CloudRunTarget, VertexTarget) for one in SETTINGS),
    *((CloudRunTarget, *one) for one in OF_RUN),
    *((VertexTarget, *one) for one in OF_VERTEX),
]


@pytest.mark.parametrize(("target", "settings", "options"), CASES)
def test_every_request_of_ours_is_what_the_document_says_by_another_judge_too(
    target: Any, settings: dict[str, Any], options: dict[str, str]
) -> None:
    spec = spec_of(**settings)
    made = target.from_options({"project": "my-project", "region": "europe-west1", **options})
    rollout.plan_deployment(made, spec, offline=True)

    for one in made._planner.requests(spec):
        service, schema = one.method.partition(".")[0], google_schema.request_of(one.method)
        assert problems(one.method, one.parameters, one.body) == []
        assert google_schema.mistakes(service, schema, one.body, is_whole=True) == []


def test_every_service_that_is_asked_has_its_document() -> None:
    for service, version in VERSIONS.items():
        assert document(service)["version"] == version
