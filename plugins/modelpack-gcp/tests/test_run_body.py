"""What of a deployment stands in a service of Cloud Run."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_gcp import run_body
from modelpack_gcp.cloud_run import CloudRunMode
from modelpack_gcp.wanted import Wanted

from modelpack.config.settings import ServerSettings
from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError
from modelpack.server.life.contract import contract_of, settings_for

IMAGE = "europe-west1-docker.pkg.dev/demo/a/a@sha256:" + "1" * 64


def wanted(options: dict[str, str] | None = None, **settings: Any) -> Wanted:
    return Wanted(
        name="digits",
        bundle="digits:a",
        revision="4" * 12,
        target="gcp-cloud-run",
        settings=DeploySettings(**settings),
        options=options or {},
    )


def container(one: Wanted) -> dict[str, Any]:
    [found] = run_body.template(one, IMAGE)["containers"]
    return dict(found)


def test_http_comes_to_one_port_and_the_probes_ask_it() -> None:
    found = container(wanted(ready_timeout_s=60.0))

    assert found["ports"] == [{"name": "http1", "containerPort": 8080}]
    assert found["startupProbe"]["httpGet"] == {"path": "/readyz", "port": 8080}
    assert found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"] == 60
    assert found["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 8080}


def test_grpc_comes_as_http2_to_its_own_port() -> None:
    found = container(wanted({"grpc": "yes"}, env={"MODELPACK_PORT": "1"}))
    env = {one["name"]: one["value"] for one in found["env"]}

    assert found["ports"] == [{"name": "h2c", "containerPort": 8081}]
    assert found["startupProbe"]["grpc"] == found["livenessProbe"]["grpc"] == {"port": 8081}
    assert "httpGet" not in found["startupProbe"]
    assert (env["MODELPACK_PORT"], env["MODELPACK_GRPC_PORT"]) == ("8080", "8081")


@pytest.mark.parametrize(("given", "grpc_port"), [({}, None), ({"grpc": "yes"}, 8081)])
def test_the_server_listens_where_cloud_run_calls(
    given: dict[str, str], grpc_port: int | None
) -> None:
    """As an image is started there: with its own port set, and Cloud Run's in ``PORT``."""
    found = container(wanted(given))
    [port] = found["ports"]
    environ = {"MODELPACK_PORT": "3000"} | {one["name"]: one["value"] for one in found["env"]}
    environ |= {"K_SERVICE": "digits", "PORT": str(port["containerPort"])}

    settings = settings_for(ServerSettings(), contract_of([], environ), environ)

    assert (settings.port, settings.grpc_port) == (8080, grpc_port)
    assert port["containerPort"] == (grpc_port or settings.port)


@pytest.mark.parametrize("seconds", [0.5, 4.0, 240.0, 900.0])
def test_a_start_takes_what_is_asked_as_far_as_cloud_run_allows(seconds: float) -> None:
    probe = container(wanted(ready_timeout_s=seconds))["startupProbe"]
    whole = probe["periodSeconds"] * probe["failureThreshold"]

    assert min(seconds, 240) <= whole <= 240
    notes = CloudRunMode().notes(wanted(ready_timeout_s=seconds))
    assert any("240 s to be ready" in one for one in notes) == (seconds > 240)


@pytest.mark.parametrize(("in_flight", "found"), [(None, None), (1, 1), (1000, 1000), (5000, 1000)])
def test_requests_at_once_are_those_in_flight(in_flight: int | None, found: int | None) -> None:
    one = wanted(in_flight=in_flight)

    assert run_body.template(one, IMAGE).get("maxInstanceRequestConcurrency") == found
    is_said = any("1000 requests at once" in note for note in CloudRunMode().notes(one))
    assert is_said == (in_flight == 5000)


@pytest.mark.parametrize(
    ("options", "settings", "is_idle"),
    [
        ({}, {}, True),
        ({"billing": "request"}, {}, True),
        ({"billing": "instance"}, {}, False),
        ({}, {"accelerator": "nvidia-l4:1"}, False),
    ],
)
def test_processors_are_there_between_requests_when_whole_instances_are_paid_for(
    options: dict[str, str], settings: dict[str, Any], is_idle: bool
) -> None:
    assert container(wanted(options, **settings))["resources"]["cpuIdle"] is is_idle


@pytest.mark.parametrize(("options", "is_off"), [({}, True), ({"zonal_redundancy": "yes"}, False)])
def test_an_accelerator_is_in_one_zone_unless_more_is_asked_for(
    options: dict[str, str], is_off: bool
) -> None:
    body = run_body.template(wanted(options, accelerator="nvidia-l4:1"), IMAGE)

    assert body["gpuZonalRedundancyDisabled"] is is_off
    assert body["nodeSelector"] == {"accelerator": "nvidia-l4"}
    assert body["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "gpuZonalRedundancyDisabled" not in run_body.template(wanted(), IMAGE)


@pytest.mark.parametrize(
    ("options", "public", "ingress", "everybody"),
    [
        ({}, False, "INTERNAL_ONLY", False),
        ({}, True, "ALL", True),
        ({"invokers": "user:me@example.org"}, True, "ALL", False),
        ({"ingress": "balancer"}, False, "INTERNAL_LOAD_BALANCER", False),
        ({"ingress": "balancer"}, True, "INTERNAL_LOAD_BALANCER", True),
        ({"ingress": "all"}, False, "ALL", False),
    ],
)
def test_who_reaches_it_and_who_may_call_it_are_two_things(
    options: dict[str, str], public: bool, ingress: str, everybody: bool
) -> None:
    half = run_body.service_half(wanted(options, public=public))

    assert half["ingress"] == f"INGRESS_TRAFFIC_{ingress}"
    assert half["invokerIamDisabled"] is everybody


def test_replicas_are_of_the_service_and_no_revision_is_made_for_them() -> None:
    few, many = wanted(min_replicas=0), wanted(min_replicas=2, max_replicas=9)

    assert run_body.template(few, IMAGE) == run_body.template(many, IMAGE)
    assert run_body.service_half(many)["scaling"] == {
        "minInstanceCount": 2,
        "maxInstanceCount": 9,
    }
    assert any("nothing is paid for" in note for note in CloudRunMode().notes(few))


def test_secrets_are_references_that_cloud_run_resolves() -> None:
    one = wanted(secrets={"A": "secretmanager:a", "B": "secretmanager:projects/p/secrets/b@7"})
    env = {one["name"]: one for one in container(one)["env"]}

    assert env["A"]["valueSource"]["secretKeyRef"] == {"secret": "a", "version": "latest"}
    assert env["B"]["valueSource"]["secretKeyRef"] == {
        "secret": "projects/p/secrets/b",
        "version": "7",
    }
    assert any("secretAccessor" in note for note in CloudRunMode().notes(one))


@pytest.mark.parametrize("reference", ["secretmanager:@1", "secretmanager:a/b", "secretmanager:a@"])
def test_a_reference_that_is_none_is_refused_without_repeating_it(reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        container(wanted(secrets={"TOKEN": reference}))

    assert reference not in caught.value.message
    assert "deploy.secrets.TOKEN" in caught.value.message


@pytest.mark.parametrize("name", ["PORT", "K_SERVICE", "K_REVISION", "X_GOOGLE_A"])
def test_names_that_are_cloud_runs_own_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"Cloud Run sets '{name}' itself"):
        container(wanted(env={name: "1"}))
    with pytest.raises(UsageError, match=f"deploy.secrets.{name}"):
        container(wanted(secrets={name: "secretmanager:a"}))


@pytest.mark.parametrize(
    ("options", "settings", "found"),
    [
        ({}, {}, None),
        ({}, {"vpc": "n"}, ({"network": "n"}, "PRIVATE_RANGES_ONLY")),
        ({"egress": "all"}, {"subnets": ("s",)}, ({"subnetwork": "s"}, "ALL_TRAFFIC")),
        (
            {},
            {"vpc": "n", "subnets": ("s",), "security_groups": ("t", "u")},
            ({"network": "n", "subnetwork": "s", "tags": ["t", "u"]}, "PRIVATE_RANGES_ONLY"),
        ),
    ],
)
def test_what_it_reaches_goes_through_its_network(
    options: dict[str, str], settings: dict[str, Any], found: tuple[Any, str] | None
) -> None:
    access = run_body.template(wanted(options, **settings), IMAGE).get("vpcAccess")

    expected = found and {"networkInterfaces": [found[0]], "egress": found[1]}
    assert access == expected


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ({"egress": "all"}, {}, "mean anything without a network"),
        ({}, {"security_groups": ("t",)}, "mean anything without a network"),
        ({}, {"subnets": ("a", "b")}, "stands in one subnet, not 2"),
    ],
)
def test_a_network_that_cannot_be_is_refused(
    options: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run_body.template(wanted(options, **settings), IMAGE)


def test_the_same_content_has_the_same_name() -> None:
    one, other = (run_body.template(wanted(cpu=cpu), IMAGE) for cpu in (1.0, 2.0))
    names = [run_body.unit_of(wanted(), body) for body in (one, one, other)]

    assert names[0] == names[1] != names[2]
    assert run_body.unit_of(wanted(), one, attempt=1) not in names
    assert names[0].startswith("modelpack-digits-r")
