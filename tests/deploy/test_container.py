"""What an engine is told, and how its own words are read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from modelpack.deploy import State
from modelpack.deploy.asked import keeper, python_of, replica
from modelpack.deploy.container import reachable_from, read_container
from modelpack.deploy.engine_words import address_id, keeper_name, wanted_facts
from modelpack.errors import UsageError

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def said(spec, *, status: str = "running", **more) -> dict[str, object]:
    """Return what an engine would say of a container that was made for the spec."""
    made = keeper(spec, "python") if more.get("keeper") else replica(spec, "0123abcd", 2)
    settings, host = made.settings, made.host
    bound = host["port_bindings"][3000]
    published = [{"HostIp": address, "HostPort": str(port)} for address, port in bound]
    found = [{"HostIp": address, "HostPort": str(port or 32768)} for address, port in bound]
    return {
        "Name": f"/{made.name}",
        "Created": "2026-05-01T11:58:59.123456789Z",
        "Image": "sha256:1234",
        "RestartCount": more.get("restarts", 0),
        "Config": {
            "Image": settings["image"],
            "Labels": settings["labels"],
            "Entrypoint": settings.get("entrypoint"),
        },
        "HostConfig": {
            "RestartPolicy": host["restart_policy"],
            "PortBindings": {"3000/tcp": published},
            "NanoCpus": host.get("nano_cpus", 0),
            "Memory": host.get("mem_limit", 0),
        },
        "NetworkSettings": {"Ports": {"3000/tcp": found[::-1]} if status == "running" else {}},
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
    assert (container.role, container.group, container.number) == ("replica", "0123abcd", 2)
    assert container.url == "http://127.0.0.1:32768", "its own port, for the probe"
    assert not container.is_kept


def test_what_keeps_the_port_is_read_back(make_spec) -> None:
    spec = make_spec(image="digits:a", port=3000, host="0.0.0.0")

    container = read_container(said(spec, keeper=True), None)

    assert (container.role, container.group) == ("port", address_id(spec))
    assert container.facts == {"host": "0.0.0.0", "port": 3000}
    assert container.url == "http://127.0.0.1:3000"
    assert container.program == "python"
    assert container.is_kept


@pytest.mark.parametrize("port", [3000, 0])
def test_a_port_for_grpc_is_told_from_the_first(make_spec, port: int) -> None:
    """An engine names published ports in whichever order it likes."""
    spec = make_spec(image="digits:a", port=port, grpc_port=9000)

    container = read_container(said(spec, keeper=True), None)

    assert container.facts == {"host": "127.0.0.1", "port": port, "grpc_port": 9000}
    assert container.url == f"http://127.0.0.1:{port or 32768}"


def test_every_address_has_a_keeper_of_its_own(make_spec) -> None:
    names = [
        keeper_name(make_spec(image="digits:a", **address))
        for address in ({"port": 1}, {"port": 2}, {"port": 2, "host": "0.0.0.0"}, {"port": 1})
    ]
    assert len(set(names)) == 3
    assert names[0] == names[-1]


def test_a_container_has_as_few_rights_as_will_do(make_spec) -> None:
    spec = make_spec(image="digits:a", memory_bytes=2**30)
    ours = replica(spec, "0123", 1).host

    for host in (ours, keeper(spec, "python").host):
        assert host["read_only"] is True
        assert host["cap_drop"] == ["ALL"]
        assert host["security_opt"] == ["no-new-privileges:true"]
        assert "nosuid" in host["tmpfs"]["/tmp"]
        assert not host.keys() & {"privileged", "binds", "network_mode", "pid_mode", "cap_add"}
        [place] = host["mounts"]
        assert (place["Type"], place["Target"]) == ("volume", "/run/modelpack")
        assert place["VolumeOptions"]["DriverConfig"]["Options"]["type"] == "tmpfs"
    assert ours["mem_limit"] == ours["memswap_limit"] == 2**30
    assert ours["restart_policy"] == {"Name": "no"}, "until it was found healthy"


def test_graphics_processors_are_asked_for(make_spec) -> None:
    spec = make_spec(image="digits:a", accelerator="nvidia-l4:2")
    assert replica(spec, "0123", 1).host["device_requests"] == [
        {"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}
    ]
    assert "device_requests" not in keeper(spec, "python").host


def test_an_accelerator_that_an_engine_does_not_have_is_refused(make_spec) -> None:
    with pytest.raises(UsageError, match="has no 'tpu'"):
        replica(make_spec(image="digits:a", accelerator="tpu-v5e:4"), "0123", 1)


def test_labels_of_the_user_do_not_beat_ours(make_spec) -> None:
    labels = {"team": "a", "dev.modelpack.deployment": "other"}
    made = replica(make_spec(image="digits:a", labels=labels), "0123", 1).settings["labels"]
    assert (made["team"], made["dev.modelpack.deployment"]) == ("a", "digits")


@pytest.mark.parametrize(
    ("entry", "python"),
    [
        (["/bundle/venv/bin/python", "-I"], "/bundle/venv/bin/python"),
        (["python3.11", "x.py"], "python3.11"),
        (["/bin/sh"], "python3"),
        (None, "python3"),
    ],
)
def test_the_python_of_an_image_is_that_of_its_entry_point(entry, python) -> None:
    assert python_of({"Config": {"Entrypoint": entry}}) == python


def test_nothing_of_the_user_beats_what_the_target_sets(make_spec) -> None:
    spec = make_spec(image="digits:a", A="1")
    assert replica(spec, "0123", 2).settings["environment"] == {
        "A": "1",
        "MODELPACK_HOST": "0.0.0.0",
        "MODELPACK_PORT": "3000",
        "MODELPACK_PORT_GROUP": "0123/2",
        "MODELPACK_PORT_KEEPER": f"/run/modelpack/{address_id(spec)}.sock",
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
    assert container.facts["image_id"] == "sha256:1234"


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
    words = said(make_spec(image="digits:a", host="0.0.0.0", port=3000), keeper=True)
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


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1:80"])
def test_what_is_no_address_is_refused(make_spec, host: str) -> None:
    with pytest.raises(UsageError, match=r"deploy\.host"):
        keeper(make_spec(image="digits:a", host=host), "python")


def test_the_label_is_canonical(make_spec) -> None:
    one = replica(make_spec(image="digits:a", A="1", B="2"), "0", 1).settings["labels"]
    two = replica(make_spec(image="digits:a", B="2", A="1"), "0", 1).settings["labels"]
    assert one == two
    assert json.loads(one["dev.modelpack.spec"])["settings"]["env"] == {"A": "1", "B": "2"}
