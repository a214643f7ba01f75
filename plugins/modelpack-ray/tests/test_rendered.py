"""The files of ``--output``: Serve's list, and a RayService as KubeRay's API has it.

What KubeRay takes stands here as a schema of the parts that we write, after its API reference (ray.io/v1):
fields that it does not have are refused, and the pods are held against Kubernetes' own schemas.
"""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate.utils
import pytest
import yaml
from modelpack_ray.target import RayTarget

from modelpack.deploy import DeploymentSpec, rollout

from .conftest import spec

_WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


HEAD = _closed(
    ["template"],
    template={"type": "object"},
    headService={"type": "object"},
    enableIngress={"type": "boolean"},
    rayStartParams=_WORDS,
    serviceType={"type": "string"},
)
WORKERS = _closed(
    ["groupName", "minReplicas", "maxReplicas", "template"],
    groupName={"type": "string"},
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    suspend={"type": "boolean"},
    idleTimeoutSeconds=_COUNT,
    rayStartParams=_WORDS,
    scaleStrategy={"type": "object"},
    template={"type": "object"},
)
CLUSTER = _closed(
    ["headGroupSpec"],
    authOptions={"type": "object"},
    autoscalerOptions={"type": "object"},
    enableInTreeAutoscaling={"type": "boolean"},
    gcsFaultToleranceOptions={"type": "object"},
    headGroupSpec=HEAD,
    headServiceAnnotations=_WORDS,
    managedBy={"type": "string"},
    rayVersion={"type": "string"},
    suspend={"type": "boolean"},
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
RAY_SERVICE = _closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=_closed(
        ["name"],
        name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47},
        labels={
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "maxLength": 63,
                "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            },
        },
    ),
    spec=_closed(
        ["serveConfigV2", "rayClusterConfig"],
        serveConfigV2={"type": "string"},
        rayClusterConfig=CLUSTER,
        serveService={"type": "object"},
        upgradeStrategy={"type": "object"},
        excludeHeadPodFromServeSvc={"type": "boolean"},
    ),
)
"""After KubeRay's API reference, ``RayService`` and what is below it."""


def mistakes(service: dict[str, Any]) -> list[str]:
    """Return what is wrong with a RayService; its pods raise ``ValidationError``."""
    found = jsonschema.Draft202012Validator(RAY_SERVICE).iter_errors(service)
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        kubernetes_validate.utils.validate(pod, "1.33", strict=True)
    return [f"{error.json_path}: {error.message}" for error in found]


def rendered(wanted: DeploymentSpec | None = None, **options: str) -> dict[str, bytes]:
    usual = spec(
        "a", secrets={"TOKEN": "env:T"}, accelerator="nvidia-l4:1", min_replicas=1, max_replicas=4
    )
    return dict(rollout.render(RayTarget.from_options(options), wanted or usual).files)


@pytest.mark.parametrize(
    "wanted",
    [
        spec("a"),
        spec("a", min_replicas=0, max_replicas=3),
        spec("a", min_replicas=3, cpu=0.5, memory_bytes=3 << 30),
        spec("a", accelerator="amd-mi300x:2", secrets={"TOKEN": "file:/t"}, GREETING="hello"),
        spec("a", name="0_digits.of-the_house"),
        spec("a", name="a-name-with-exactly-as-many-letters-as-one-may-ever-have-and-no"),
    ],
    ids=lambda wanted: wanted.revision,
)
def test_a_rayservice_is_what_kuberay_takes(wanted: DeploymentSpec) -> None:
    files = rendered(wanted, packages="s3://models/ray")
    assert mistakes(yaml.safe_load(files["rayservice.yaml"])) == []


def test_the_schema_refuses_what_kuberay_does_not_have() -> None:
    service = yaml.safe_load(rendered(packages="s3://models/ray")["rayservice.yaml"])
    cluster = service["spec"]["rayClusterConfig"]
    cluster["workerGroupSpecs"][0]["replicaCount"] = 2
    cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    service["metadata"]["name"] = "x" * 48
    assert [one.partition(":")[0] for one in sorted(mistakes(service))] == [
        "$.metadata.name",
        "$.spec.rayClusterConfig.headGroupSpec.rayStartParams['num-cpus']",
        "$.spec.rayClusterConfig.workerGroupSpecs[0]",
    ]
    cluster["headGroupSpec"]["template"]["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.utils.ValidationError):
        mistakes(service)


def test_names_that_are_cut_stay_apart() -> None:
    names = set()
    for end in ("x", "y"):
        files = rendered(spec("a", name="n" * 60 + end), packages="s3://models/ray")
        names.add(yaml.safe_load(files["rayservice.yaml"])["metadata"]["name"])
    assert len(names) == 2


def test_the_list_for_serve_is_written_as_yaml() -> None:
    files = rendered()
    assert list(files) == ["serve.yaml"]
    said = yaml.safe_load(files["serve.yaml"])
    (app,) = said["applications"]
    assert app["route_prefix"] == "/digits"
    assert app["import_path"] == "modelpack_ray_node:app"
    assert said["http_options"] == {"host": "127.0.0.1", "port": 8000}


def test_a_rayservice_has_nodes_for_all_replicas_and_secrets_by_reference() -> None:
    files = rendered(packages="https://models.example/ray", image="example/ray:1")
    service = yaml.safe_load(files["rayservice.yaml"])
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 4)
    (container,) = group["template"]["spec"]["containers"]
    assert container["image"] == "example/ray:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["env"] == [
        {
            "name": "MODELPACK_SECRET_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "digits-secrets", "key": "TOKEN"}},
        }
    ]
    (app,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert app["runtime_env"]["working_dir"].startswith("https://models.example/ray/")
    assert "env_vars" not in app["runtime_env"]
