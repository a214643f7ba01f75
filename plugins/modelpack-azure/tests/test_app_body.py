"""What a container app is told: probes, who may call it, how many replicas, secrets, gRPC."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.app_body import Where, container_app
from modelpack_azure.strict import problems

from modelpack.deploy import Entry
from modelpack.errors import UsageError
from modelpack.testing import spec_of

WHERE = Where(location="x", environment="/env", registry="images.azurecr.io", identity="/me")


def app_of(options: dict[str, str] | None = None, *, where: Where = WHERE, **settings: Any) -> Any:
    entry = Entry(
        spec=spec_of(**settings), image="images.azurecr.io/i@sha256:0", options=options or {}
    )
    shares = [{"latestRevision": True, "weight": 100}]
    body = container_app(entry, where, target="azure", suffix="r1-1", traffic=shares)
    assert problems("ContainerApp", body) == []
    return body["properties"]


def test_it_is_closed_unless_it_is_said_to_be_open() -> None:
    ingress = app_of()["configuration"]["ingress"]
    assert (ingress["external"], ingress["allowInsecure"]) == (False, False)
    assert app_of(public=True)["configuration"]["ingress"]["external"]
    allowed = app_of(allow=("10.0.0.0/8",))["configuration"]["ingress"]["ipSecurityRestrictions"]
    assert allowed == [{"name": "allow-1", "ipAddressRange": "10.0.0.0/8", "action": "Allow"}]
    inside = Where(location="x", environment="/e", registry="r", identity="/i", is_internal=True)
    with pytest.raises(UsageError, match="has no address on the internet"):
        app_of(where=inside, public=True)


@pytest.mark.parametrize(("ready_s", "apart"), [(5.0, 1), (120.0, 12), (9000.0, 240)])
def test_it_may_take_as_long_to_start_as_it_is_given(ready_s: float, apart: int) -> None:
    [container] = app_of(ready_timeout_s=ready_s)["template"]["containers"]
    probes = {one["type"]: one for one in container["probes"]}
    assert set(probes) == {"Startup", "Readiness", "Liveness"}
    assert probes["Startup"]["periodSeconds"] == apart
    assert {one["httpGet"]["port"] for one in probes.values()} == {3000}
    assert probes["Liveness"]["httpGet"]["path"] == "/livez"


def test_replicas_come_with_the_requests_under_way_and_go_with_none() -> None:
    scale = app_of(min_replicas=0, max_replicas=7, in_flight=4, idle_s=90.0)["template"]["scale"]
    assert (scale["minReplicas"], scale["maxReplicas"], scale["cooldownPeriod"]) == (0, 7, 90)
    assert scale["rules"][0]["http"]["metadata"] == {"concurrentRequests": "4"}


def test_what_callers_reach_is_http_or_grpc() -> None:
    plain, grpc = app_of(), app_of({"grpc": "yes"})
    assert plain["configuration"]["ingress"]["targetPort"] == 3000
    assert plain["configuration"]["ingress"]["transport"] == "auto"
    assert grpc["configuration"]["ingress"]["targetPort"] == 3001
    assert grpc["configuration"]["ingress"]["transport"] == "http2"
    [container] = grpc["template"]["containers"]
    assert {"name": "MODELPACK_GRPC_PORT", "value": "3001"} in container["env"]
    assert {one["httpGet"]["port"] for one in container["probes"]} == {3000}
    with pytest.raises(UsageError, match="must be yes or no"):
        app_of({"grpc": "1"})


def test_no_password_stands_anywhere() -> None:
    url = "https://bank.vault.azure.net/secrets/t"
    app = app_of(secrets={"API_TOKEN": f"keyvault:{url}"})
    assert app["configuration"]["registries"] == [
        {"server": "images.azurecr.io", "identity": "/me"}
    ]
    [secret] = app["configuration"]["secrets"]
    assert secret == {"name": "api-token", "keyVaultUrl": url, "identity": "/me"}


def test_a_gpu_runs_in_a_profile_of_its_own() -> None:
    assert app_of(accelerator="nvidia-a100:1")["workloadProfileName"] == "gpu-a100"
    assert "workloadProfileName" not in app_of()
