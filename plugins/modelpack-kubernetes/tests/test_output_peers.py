"""Files as Helm and kubectl read them: the very objects that a deploy would send.

They need an environment of their own, made once; run on demand, with the other peers.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelpack_kubernetes.manifests import manifests
from modelpack_kubernetes.output import files
from modelpack_kubernetes.words import SPEC

from .peers_environment import KUBECTL, made
from .validated import mistakes
from .wanted_specs import CASES, of_case, wanted

pytestmark = [pytest.mark.peers, pytest.mark.network]

PACKAGES = (KUBECTL, "helm-python-sdk==0.2.2", "pyyaml")
PROGRAM = Path(__file__).parent / "rendering_peers.py"
Render = Callable[[dict[Path, dict[str, Any]]], dict[str, Any]]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render folders in an environment with Helm and kubectl; RENDERING_PYTHON names one, or it is made."""
    place = tmp_path_factory.mktemp("rendering")
    python = Path(os.environ.get("RENDERING_PYTHON") or made(place, *PACKAGES))

    def run(asked: dict[Path, dict[str, Any]]) -> dict[str, Any]:
        words = [python, PROGRAM, json.dumps({str(one): how for one, how in asked.items()})]
        done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def written(asked: Any, folder: Path) -> Path:
    for path, data in files(asked).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def of_format(case: str, form: str) -> Any:
    settings, options = CASES[case]
    return wanted({**options, "format": form}, **settings)


def as_rendered(objects: list[dict[str, Any]], *, by_helm: bool) -> list[dict[str, Any]]:
    """Return objects by their names, without what a chart leaves to its values."""
    found = json.loads(json.dumps(objects))
    for one in found:
        if by_helm:
            one["metadata"]["annotations"].pop(SPEC, None)
        if by_helm and one["apiVersion"].startswith("serving.knative.dev/"):
            one["spec"]["template"]["metadata"].pop("name", None)
            one["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def test_helm_renders_every_chart_to_the_objects_that_a_deploy_sends(
    render: Render, tmp_path: Path
) -> None:
    folders = {
        case: written(of_format(case, "helm"), tmp_path / f"chart-{number}")
        for number, case in enumerate(CASES)
    }
    asked = {
        folder: {"namespace": of_case(case).namespace, "values": {}}
        for case, folder in folders.items()
    }
    answers = render(asked)
    for case, folder in folders.items():
        answer = answers[str(folder)]
        assert answer["said"] == [], case
        wanted_objects = as_rendered(manifests(of_case(case)), by_helm=True)
        assert as_rendered(answer["objects"], by_helm=True) == wanted_objects, case


def test_kubectl_builds_every_overlay_to_the_same(render: Render, tmp_path: Path) -> None:
    folders = {
        case: written(of_format(case, "kustomize"), tmp_path / str(number)) / "overlays" / "example"
        for number, case in enumerate(CASES)
    }
    answers = render({folder: {} for folder in folders.values()})
    for case, folder in folders.items():
        answer = answers[str(folder)]
        assert answer["said"] == [], case
        wanted_objects = as_rendered(manifests(of_case(case)), by_helm=False)
        assert as_rendered(answer["objects"], by_helm=False) == wanted_objects, case


def test_other_values_become_other_objects(render: Render, tmp_path: Path) -> None:
    """The values of a chart do what their names say, in another namespace."""
    folder = written(of_format("ingress", "helm"), tmp_path / "chart")
    values = {
        "image": "registry.example/team/digits@sha256:" + "0" * 64,
        "replicas": 4,
        "resources": {"limits": {"memory": "1Gi"}},
        "env": {"A": "1", "B": "{{ $x }}"},
        "hostname": "other.example.com",
        "ingress": {"className": "traefik", "tlsSecret": "other"},
    }
    answer = render({folder: {"namespace": "elsewhere", "values": values}})[str(folder)]
    found = {one["kind"]: one for one in answer["objects"]}
    assert [mistakes(one, "1.37.0") for one in answer["objects"]] == [[]] * len(found)
    assert {one["metadata"]["namespace"] for one in answer["objects"]} == {"elsewhere"}
    spec = found["Deployment"]["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (spec["replicas"], container["image"]) == (4, values["image"])
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert container["env"][:2] == [{"name": "A", "value": "1"}, {"name": "B", "value": "{{ $x }}"}]
    hosts = next(one for one in container["env"] if one["name"] == "MODELPACK_ALLOWED_HOSTS")
    assert "digits.elsewhere.svc" in hosts["value"]
    assert hosts["value"].endswith("other.example.com")
    ingress = found["Ingress"]["spec"]
    assert ingress["ingressClassName"] == "traefik"
    assert ingress["tls"] == [{"hosts": ["other.example.com"], "secretName": "other"}]
    assert ingress["rules"][0]["host"] == "other.example.com"
