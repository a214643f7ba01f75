"""A deployment on Docker as a compose file: the same containers, and no value of a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from modelpack.deploy.compose import compose_files
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.keeping.program import program
from modelpack.errors import UsageError


def compose(spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(compose_files(spec)["compose.yaml"])
    return found


def test_the_port_is_kept_and_the_replicas_ask_for_it(make_spec) -> None:
    services = compose(make_spec(image="digits:a", port=3000, min_replicas=3))["services"]
    port, replica = services["port"], services["replica"]

    assert port["ports"] == ["127.0.0.1:3000:3000"]
    assert "ports" not in replica
    assert port["entrypoint"][-2:] == ["/port_keeper.py", "serve"]
    assert "./port_keeper.py:/port_keeper.py:ro" in port["volumes"]
    assert replica["deploy"]["replicas"] == 3
    keepers = {one["environment"]["MODELPACK_PORT_KEEPER"] for one in services.values()}
    assert len(keepers) == 1, "they meet"
    assert {one["volumes"][-1] for one in services.values()} == {"digits-port:/run/modelpack"}


def test_a_port_for_grpc_is_published_at_the_same_one(make_spec) -> None:
    services = compose(make_spec(image="digits:a", port=3000, grpc_port=9000))["services"]
    assert services["port"]["ports"] == ["127.0.0.1:3000:3000", "127.0.0.1:9000:3000"]


def test_rights_and_limits_are_those_of_a_deployment(make_spec) -> None:
    spec = make_spec(image="digits:a", cpu=1.5, memory_bytes=2**30, accelerator="nvidia:1")
    services = compose(spec)["services"]

    for one in services.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["restart"] == "unless-stopped"
    assert services["replica"]["deploy"]["resources"] == {
        "limits": {"cpus": "1.5", "memory": "1073741824b"},
        "reservations": {"devices": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]},
    }


def test_all_that_may_be_awake_are_started_and_told_how_that_is_decided(make_spec) -> None:
    spec = make_spec(image="digits:a", min_replicas=0, max_replicas=4, in_flight=3)
    services = compose(spec)["services"]
    replica = services["replica"]

    assert replica["deploy"]["replicas"] == 4
    policy = json.loads(replica["environment"]["MODELPACK_SLEEPS"].partition(" ")[2])
    assert (policy["min_replicas"], policy["max_replicas"], policy["in_flight"]) == (0, 4, 3)
    # The check of the image would ask the service, and nobody would ever sleep.
    assert all(one["healthcheck"] == {"disable": True} for one in services.values())
    fixed = compose(make_spec(image="digits:a"))["services"]["replica"]
    assert "healthcheck" not in fixed
    assert "MODELPACK_SLEEPS" not in fixed["environment"]


def test_nothing_of_a_value_is_expanded(make_spec) -> None:
    spec = make_spec(image="digits:a", PRICE="$5 ${HOME}", labels={"cost": "a:b"})
    replica = compose(spec)["services"]["replica"]
    assert replica["environment"]["PRICE"] == "$$5 $${HOME}"
    assert replica["labels"] == {"cost": "a:b"}


def test_secrets_come_from_whoever_runs_it(make_spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "s3cret")
    spec = make_spec(image="digits:a", secrets={"TOKEN": "env:GIVEN", "KEY": "file:/a/key"})
    environment = compose(spec)["services"]["replica"]["environment"]

    assert environment["TOKEN"].startswith("${GIVEN:?")
    assert environment["KEY"].startswith("${KEY:?")
    assert b"s3cret" not in b"".join(compose_files(spec).values())


def test_an_address_of_the_sixth_kind_is_in_brackets(make_spec) -> None:
    services = compose(make_spec(image="digits:a", host="::1", port=0))["services"]
    assert services["port"]["ports"] == ["[::1]::3000"]


def test_the_program_of_the_keeper_stands_beside_it(make_spec) -> None:
    files = DockerTarget().render(make_spec(image="digits:a")).files
    assert sorted(files) == ["compose.yaml", "port_keeper.py"]
    assert files["port_keeper.py"] == program().encode()


def test_what_no_engine_has_is_refused(make_spec) -> None:
    with pytest.raises(UsageError, match="accelerator"):
        compose_files(make_spec(image="digits:a", accelerator="tpu-v5e"))
