"""Where the models of a pod come from: its image, another one, or a bundle in a registry."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_kubernetes.checks import problems
from modelpack_kubernetes.manifests import checked

from modelpack.errors import UsageError
from modelpack.server.fetch.reference import parse

from .wanted_specs import wanted

PULL = {"weights": "pull", "weights_from": "registry.example/team/digits"}
COPY = {"weights": "copy", "weights_from": "registry.example/other:1"}


def pod_of(options: dict[str, str], **settings: Any) -> dict[str, Any]:
    objects = checked(wanted(options, **settings))
    assert problems(objects) == []
    one = next(one for one in objects if one["kind"] == "Deployment")
    found: dict[str, Any] = one["spec"]["template"]["spec"]
    return found


def first_of(options: dict[str, str]) -> dict[str, Any]:
    [found] = pod_of(options)["initContainers"]
    return dict(found)


def test_the_very_bundle_that_is_deployed_is_fetched() -> None:
    """By the digest of the spec, with the image of the service itself."""
    first = first_of(PULL)
    assert first["image"] == "registry.example/team/digits:1"
    [place] = [word for word in first["command"] if "@sha256:" in word]
    assert place == "registry.example/team/digits@sha256:" + "ab" * 32
    assert parse(place).repository == "team/digits", "the image takes it as it is written"


def test_another_bundle_is_fetched_by_its_own_digest() -> None:
    other = PULL["weights_from"] + "@sha256:" + "cd" * 32
    assert other in first_of({**PULL, "weights_from": other})["command"]


def test_the_login_is_a_file_that_can_only_be_read() -> None:
    options = {**PULL, "pull_secret": "registry-login"}
    pod, first = pod_of(options), first_of(options)
    volume = next(one for one in pod["volumes"] if one["name"] == "login")
    assert volume["secret"]["secretName"] == "registry-login"
    assert volume["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert {"name": "login", "mountPath": "/login", "readOnly": True} in first["volumeMounts"]
    assert first["command"][-2:] == ["--login", "/login/config.json"]
    assert "login" not in str(pod["containers"]), "the service itself does not see it"
    assert "--login" not in first_of(PULL)["command"]


@pytest.mark.parametrize("options", [PULL, COPY], ids=["pull", "copy"])
def test_the_service_can_read_its_models_and_not_write_them(options: dict[str, str]) -> None:
    pod, first = pod_of(options), first_of(options)
    assert {"name": "models", "mountPath": "/models"} in first["volumeMounts"]
    mount = {"name": "models", "mountPath": "/bundle/models", "readOnly": True}
    assert mount in pod["containers"][0]["volumeMounts"]
    assert first["securityContext"]["readOnlyRootFilesystem"] is True
    assert first["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "pull"}, "has to know where the models are"),
        ({"weights": "copy"}, "has to know where the models are"),
        ({**PULL, "weights_from": "registry.example/digits:1"}, "option 'weights_from'"),
        ({**PULL, "weights_from": "team/digits"}, "option 'weights_from'"),
        ({**PULL, "weights_from": "registry.example/d@sha256:12"}, "option 'weights_from'"),
        ({**PULL, "weights_from": "me:secret@registry.example/d"}, "option 'weights_from'"),
        ({**COPY, "weights_from": "https://registry.example/d"}, "option 'weights_from'"),
        ({"weights": "init"}, "option 'weights': cannot be 'init'"),
    ],
)
def test_what_names_no_place_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wanted(options)


@pytest.mark.parametrize(
    "options",
    [
        {**PULL, "weights_from": "me:hidden@registry.example/d"},
        {"scaler": "keda", "prometheus": "http://me:hidden@prometheus.example:9090"},
        {"registry": "me:hidden@registry.example/team"},
    ],
)
def test_a_password_where_none_belongs_is_not_repeated(options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        wanted(options)
    assert "hidden" not in f"{refused.value.message} {refused.value.hint}"
    assert "…@" in refused.value.message


@pytest.mark.parametrize("mode", ["kserve", "knative"])
@pytest.mark.parametrize("options", [PULL, COPY], ids=["pull", "copy"])
def test_only_pods_of_ours_fetch(mode: str, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="has models in its image"):
        checked(wanted(options, mode=mode))
