"""Options and settings that cannot be are refused before a cluster is asked, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_kubernetes.manifests import checked
from modelpack_kubernetes.options import OPTIONS, Options, read
from modelpack_kubernetes.words import is_label_key, is_label_value, label_value, resource_name

from modelpack.errors import UsageError

from .wanted_specs import spec, wanted

WRONG: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({}, {"namespace": "My Space"}, "option 'namespace': cannot be 'My Space'"),
    ({}, {"namespace": "a" * 64}, "option 'namespace'"),
    ({}, {"scaler": "kedaa"}, "option 'scaler': cannot be 'kedaa'"),
    ({}, {"scaler": "keda"}, "keda has to know where Prometheus is"),
    ({}, {"prometheus": "http://p:9090"}, "has a meaning only with 'scaler'"),
    ({}, {"scaler": "keda", "prometheus": "p:9090"}, "option 'prometheus'"),
    ({}, {"scaler": "keda", "prometheus": "http://u:w@p:9090"}, "option 'prometheus'"),
    ({}, {"kubernetes": "1.20"}, "option 'kubernetes': cannot be '1.20'"),
    ({}, {"kubernetes": "new"}, "option 'kubernetes'"),
    ({}, {"format": "json"}, "option 'format'"),
    ({}, {"ingress": "nginx", "gateway": "a"}, "one way in is enough"),
    ({}, {"hostname": "digits.example"}, "has a meaning only with 'ingress' or 'gateway'"),
    ({}, {"ingress": "nginx", "hostname": "no host"}, "option 'hostname'"),
    ({}, {"gateway": "a/b/c"}, "option 'gateway'"),
    ({}, {"gateway": "a", "tls": "s"}, "a Gateway has the certificates"),
    ({}, {"registry": "https://registry.example"}, "option 'registry': cannot be"),
    ({}, {"weights": "volume"}, "has to know where the models are"),
    ({}, {"weights_from": "a:1"}, "has a meaning only with 'weights'"),
    ({}, {"weights": "volume", "weights_from": "a:1"}, "Kubernetes 1.28 mounts no folder"),
    ({}, {"weights": "copy", "weights_from": "A B"}, "option 'weights_from'"),
    ({"mode": "knative"}, {"weights": "copy", "weights_from": "a:1"}, "has models in its image"),
    ({"mode": "knative"}, {"scaler": "adapter"}, "counts requests itself"),
    ({"mode": "knative", "allow": ("10.0.0.0/8",)}, {}, "Knative's gateway hides who calls"),
    ({"mode": "knative", "public": True}, {"ingress": "nginx"}, "has no meaning in the mode"),
    ({"mode": "knative", "min_replicas": 0, "idle_s": 7200.0}, {}, "3600 seconds at most"),
    ({"mode": "kserve", "allow": ("10.0.0.0/8",)}, {}, "KServe's gateway hides who calls"),
    ({"mode": "kserve"}, {"monitoring": "monitoring"}, "KServe's services have names of their own"),
    ({}, {"storage": "s3://bucket/digits"}, "goes with the mode 'kserve'"),
    ({"mode": "kserve"}, {"storage": "bucket"}, "option 'storage'"),
    ({}, {"transformer": "a:1"}, "goes with the mode 'kserve'"),
    ({"mode": "openshift"}, {}, "Kubernetes has no 'openshift' here"),
    ({"accelerator": "nvidia-gtx:1"}, {}, "no label of a node is known for 'nvidia-gtx'"),
    ({"accelerator": "tpu-v5e:3"}, {}, "one machine has no 3 chips"),
    ({"labels": {"app.kubernetes.io/instance": "x"}}, {}, "modelpack sets this one itself"),
    ({"labels": {"a.kubernetes.io/b": "x"}}, {}, "leaves to its users"),
    ({"labels": {"team": "a b"}}, {}, "cannot be 'a b'"),
    ({"secrets": {"T": "vault:a/b"}}, {}, "not a reference that Kubernetes follows"),
    ({"secrets": {"T": "k8s:name"}}, {}, "not the name and key of a Secret"),
    ({"secrets": {"T": "k8s:Name/key"}}, {}, "not the name and key of a Secret"),
]


@pytest.mark.parametrize(("settings", "options", "said"), WRONG)
def test_what_cannot_be_is_refused(
    settings: dict[str, Any], options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        checked(wanted(options, **settings))
    assert len(str(refused.value).splitlines()) <= 4


def test_the_reference_of_a_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        wanted(secrets={"T": "hunter:2-the-secret-itself"})
    assert "hunter" not in f"{refused.value} {refused.value.hint}"


def test_every_option_has_a_line_and_a_field() -> None:
    assert set(OPTIONS) == set(Options.__dataclass_fields__)
    assert all(OPTIONS.values())


def test_options_of_others_are_passed_over() -> None:
    assert read({"context": "somewhere"}) == Options()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("digits", "digits"),
        ("digits-2", "digits-2"),
        ("7digits", "m-7digits-"),
        ("my.digits_2", "my-digits-2-"),
        ("a-", "a-"),
        ("x" * 63, "x" * 38 + "-"),
    ],
)
def test_objects_are_named_after_the_deployment(name: str, made: str) -> None:
    assert resource_name(name).startswith(made)
    assert len(resource_name(name)) <= 45
    assert resource_name(name) == made or resource_name(name) == made + resource_name(name)[-6:]


def test_two_deployments_never_share_objects() -> None:
    names = ["a.b", "a_b", "a-b", "a--b", "a-b-", "m-1", "1", "x" * 45, "x" * 46, "x" * 63]
    assert len({resource_name(name) for name in names}) == len(names)


def test_versions_become_labels() -> None:
    assert label_value("1.0_rc-2") == "1.0_rc-2"
    assert label_value("_" + "v" * 100) == "v" * 63
    assert is_label_value(label_value("a" * 62 + "..b"))


@pytest.mark.parametrize("key", ["a", "a.b/c", "example.com/team_1"])
def test_keys_of_labels(key: str) -> None:
    assert is_label_key(key)


@pytest.mark.parametrize("key", ["", "a/", "/a", "A_/b", "a b", "a/b/c", "-a", "x" * 64])
def test_what_is_no_key_of_a_label(key: str) -> None:
    assert not is_label_key(key)


def test_an_image_in_a_registry_is_named_after_what_is_in_it() -> None:
    assert wanted().image == "registry.example/team/digits:1"
    asked = wanted({"registry": "registry.example:5000/ml"})
    assert asked.image == "registry.example:5000/ml/digits:7c1f0b2e9a44-abababababab"
    assert asked.bundle == spec().bundle
