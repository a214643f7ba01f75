"""What an engine is told, and how its own words are read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from modelpack.deploy import State
from modelpack.deploy.container import (
    create_settings,
    host_settings,
    reachable_from,
    read_container,
    wanted_facts,
)
from modelpack.errors import UsageError

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def said(spec, *, status: str = "running", **more) -> dict[str, object]:
    """Return what an engine would say of a container that was made for the spec."""
    settings, host = create_settings(spec), host_settings(spec)
    address, port = host["port_bindings"][3000]
    return {
        "Id": "c0ffee",
        "Image": "sha256:1234",
        "RestartCount": more.get("restarts", 0),
        "Config": {"Image": settings["image"], "Labels": settings["labels"]},
        "HostConfig": {
            "PortBindings": {"3000/tcp": [{"HostIp": address, "HostPort": str(port)}]},
            "NanoCpus": host.get("nano_cpus", 0),
            "Memory": host.get("mem_limit", 0),
        },
        "NetworkSettings": {
            "Ports": {"3000/tcp": [{"HostIp": address, "HostPort": str(port or 32768)}]}
            if status == "running"
            else {}
        },
        "State": {
            "Status": status,
            "StartedAt": more.get("started", "2026-05-01T11:59:00.123456789Z"),
            "ExitCode": more.get("code", 0),
            "OOMKilled": more.get("out_of_memory", False),
            "Error": more.get("error", ""),
            **({"Health": {"Status": more["health"]}} if "health" in more else {}),
        },
    }


def test_what_was_asked_for_is_what_is_read_back(make_spec) -> None:
    spec = make_spec(image="digits:a", port=3000, cpu=0.3, memory_bytes=2**30, A="x=y z")

    container = read_container(said(spec), None)

    assert container.spec == spec
    assert container.deployment == "digits"
    assert container.facts == wanted_facts(spec) | {"image_id": "sha256:1234"}
    assert container.since == "2026-05-01T11:59:00Z"
    assert container.url == "http://127.0.0.1:3000"


def test_a_container_has_as_few_rights_as_will_do(make_spec) -> None:
    host = host_settings(make_spec(image="digits:a", memory_bytes=2**30))

    assert host["read_only"] is True
    assert host["cap_drop"] == ["ALL"]
    assert host["security_opt"] == ["no-new-privileges:true"]
    assert host["restart_policy"] == {"Name": "unless-stopped"}
    assert host["mem_limit"] == host["memswap_limit"] == 2**30
    assert "nosuid" in host["tmpfs"]["/tmp"]
    assert not host.keys() & {"privileged", "binds", "network_mode", "pid_mode", "cap_add"}


def test_nothing_of_the_user_beats_what_the_target_sets(make_spec) -> None:
    env = create_settings(make_spec(image="digits:a", A="1"))["environment"]
    assert env == {
        "A": "1",
        "MODELPACK_HOST": "0.0.0.0",
        "MODELPACK_PORT": "3000",
        "MODELPACK_TAG": "digits:a",
    }


def test_a_change_behind_our_back_is_a_fact(make_spec) -> None:
    """``docker update`` and the like change the engine's words and not our label."""
    words = said(make_spec(image="digits:a", memory_bytes=2**30))
    words["HostConfig"]["Memory"] = 2**29
    words["HostConfig"]["NanoCpus"] = 500_000_000

    facts = read_container(words, None).facts

    assert facts["memory_bytes"] == 2**29
    assert facts["cpu"] == 0.5


@pytest.mark.parametrize("label", [None, "", "{", "{}", "[]", '{"name": "../x"}'])
def test_a_label_that_cannot_be_read_hides_nothing_else(make_spec, label) -> None:
    words = said(make_spec(image="digits:a", port=3000))
    words["Config"]["Labels"]["dev.modelpack.spec"] = label

    container = read_container(words, None)

    assert container.spec is None
    assert container.deployment == "digits"
    assert container.facts["port"] == 3000


def test_a_container_of_somebody_else_is_nobodys_deployment(make_spec) -> None:
    words = said(make_spec(image="digits:a"))
    words["Config"]["Labels"] = None
    assert read_container(words, None).deployment is None


@pytest.mark.parametrize(
    ("words", "is_ready", "state"),
    [
        ({"status": "running"}, True, State.RUNNING),
        ({"status": "running"}, False, State.UNHEALTHY),
        ({"status": "running", "started": "2026-05-01T11:59:50Z"}, False, State.STARTING),
        ({"status": "restarting", "restarts": 1}, False, State.STARTING),
        ({"status": "restarting", "restarts": 3}, False, State.FAILED),
        ({"status": "exited"}, False, State.STOPPED),
        ({"status": "created", "started": "0001-01-01T00:00:00Z"}, False, State.STOPPED),
        ({"status": "paused"}, False, State.STOPPED),
        ({"status": "dead"}, False, State.FAILED),
    ],
)
def test_the_words_of_an_engine_are_put_into_ours(make_spec, words, is_ready, state) -> None:
    container = read_container(said(make_spec(image="digits:a"), **words), None)
    assert container.state(is_ready=is_ready, now=NOW) is state


@pytest.mark.parametrize(
    ("health", "state"),
    [("healthy", State.RUNNING), ("starting", State.STARTING), (None, State.RUNNING)],
)
def test_out_of_reach_the_health_check_of_the_engine_decides(make_spec, health, state) -> None:
    words = said(make_spec(image="digits:a"), **({"health": health} if health else {}))
    container = read_container(words, "gpu-box")

    assert container.url is None
    assert not container.needs_probe
    moment = NOW - timedelta(seconds=55)
    assert container.state(is_ready=False, now=moment) is state


def test_a_remote_engine_is_called_by_its_name(make_spec) -> None:
    words = said(make_spec(image="digits:a", host="0.0.0.0", port=3000))
    assert read_container(words, "gpu-box").url == "http://gpu-box:3000"
    assert reachable_from("gpu-box", "0.0.0.0")
    assert not reachable_from("gpu-box", "localhost")
    assert reachable_from(None, "127.0.0.1")


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ({"code": 137, "out_of_memory": True}, "exit 137, out of memory"),
        ({"code": 3}, "exit 3"),
        ({"error": "no such program"}, "no such program"),
        ({}, None),
    ],
)
def test_why_it_ended_is_said(make_spec, words, detail) -> None:
    words = said(make_spec(image="digits:a"), status="exited", **words)
    assert read_container(words, None).detail == detail


def test_localhost_is_an_address(make_spec) -> None:
    assert wanted_facts(make_spec(host="localhost"))["host"] == "127.0.0.1"


@pytest.mark.parametrize("host", ["example.com", "", "-v/:/host", "127.0.0.1:80"])
def test_what_is_no_address_is_refused(make_spec, host: str) -> None:
    with pytest.raises(UsageError, match=r"deploy\.host"):
        host_settings(make_spec(image="digits:a", host=host))


def test_the_label_is_canonical(make_spec) -> None:
    one = create_settings(make_spec(image="digits:a", A="1", B="2"))["labels"]
    two = create_settings(make_spec(image="digits:a", B="2", A="1"))["labels"]
    assert one == two
    assert json.loads(one["dev.modelpack.spec"])["settings"]["env"] == {"A": "1", "B": "2"}
