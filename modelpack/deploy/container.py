"""The containers of a deployment, as an engine describes them.

    what the engine says (inspect) ──read_container──► Container: role, group, facts, state, url

Pure.  The labels ``dev.modelpack.*`` hold the state: whoever can ask the engine knows everything.
What the engine itself enforces (address, limits, image) is read from the engine and not from the
label, so that a change made behind our back shows in the next plan.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy.engine_words import (
    ANYWHERE,
    CONTAINER_PORT,
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    KEEPER,
    KEEPER_LABEL,
    KEPT,
    ROLE_LABEL,
    SPEC_LABEL,
    address_of,
    wanted_facts,
)
from modelpack.deploy.probe import service_url
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import CRASHES_TO_FAIL, State
from modelpack.errors import DeployError

_PORT_KEY = f"{CONTAINER_PORT}/tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container of a deployment, as its engine describes it."""

    name: str
    deployment: str | None
    """Name of the deployment; None: it is none of ours."""
    role: str | None
    """``replica`` or ``port``; None: it was made by another modelpack."""
    group: str
    """The replicas it came with, or the address that it keeps."""
    is_kept: bool
    """True once it was found healthy: the engine starts it again by itself."""
    spec: DeploymentSpec | None
    """What it was made for; None when the label cannot be read."""
    facts: Mapping[str, Fact]
    phase: str
    """The engine's own word: created, running, restarting, exited, paused, dead …"""
    health: str | None
    """Word of the image's health check, where it has one."""
    url: str | None
    created: str
    since: str | None
    restarts: int
    detail: str | None
    program: str
    """What it runs: for a keeper the Python that it has."""
    words: int
    """Of a keeper: which words it knows (``KEEPER_WORDS``)."""

    @property
    def needs_probe(self) -> bool:
        """True when it is up, so that only asking it tells whether it is ready."""
        return self.phase == "running" and self.url is not None

    @property
    def number(self) -> int:
        """Number of a replica in its group, from 1; 0 when its name does not say."""
        last = self.name.rpartition("-")[2]
        return int(last) if last.isdecimal() else 0

    def state(self, *, is_ready: bool, now: datetime) -> State:
        """Return its state; ``is_ready`` is what the probe said, if it was needed."""
        if self.phase == "restarting":
            return State.FAILED if self.restarts >= CRASHES_TO_FAIL else State.STARTING
        if self.phase == "dead":
            return State.FAILED
        if self.phase != "running":
            return State.STOPPED
        if self.url is None:
            # Not to be reached from here: the engine's own check decides, where there is one.
            is_ready = self.health in (None, "healthy")
        if is_ready:
            return State.RUNNING
        return State.UNHEALTHY if self.is_late(now) else State.STARTING

    def is_late(self, now: datetime) -> bool:
        """Return whether it has run longer than it may take to be ready."""
        timeout_s = self.spec.settings.ready_timeout_s if self.spec is not None else 0.0
        return self._age_s(now) >= timeout_s

    def _age_s(self, now: datetime) -> float:
        if self.since is None:
            return 0.0
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def read_container(said: Mapping[str, Any], engine_host: str | None) -> Container:
    """Read the engine's description; ``engine_host`` is None for an engine on this machine."""
    labels = said["Config"].get("Labels") or {}
    spec = _spec(labels.get(SPEC_LABEL))
    state = said["State"]
    policy = (said["HostConfig"].get("RestartPolicy") or {}).get("Name")
    return Container(
        name=str(said["Name"]).removeprefix("/"),
        deployment=labels.get(DEPLOYMENT_LABEL),
        role=labels.get(ROLE_LABEL),
        group=labels.get(GROUP_LABEL) or "",
        is_kept=policy == KEPT["Name"],
        spec=spec,
        facts=_facts(said, spec),
        phase=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        url=_url(said, engine_host),
        created=str(said.get("Created") or ""),
        since=_time(state.get("StartedAt")),
        restarts=int(said.get("RestartCount") or 0),
        detail=_detail(state),
        program=((said["Config"].get("Entrypoint") or [""])[0]),
        words=_number(labels.get(KEEPER_LABEL)),
    )


def reachable_from(engine_host: str | None, host: str) -> bool:
    """Return whether an address of the engine's machine can be called from this one."""
    return engine_host is None or not ipaddress.ip_address(address_of(host)).is_loopback


def _spec(label: str | None) -> DeploymentSpec | None:
    try:
        return DeploymentSpec.from_json(json.loads(label or ""))
    except (ValueError, DeployError):
        return None


def _facts(said: Mapping[str, Any], spec: DeploymentSpec | None) -> dict[str, Fact]:
    """Return the facts of a replica; of a keeper, the address that it is published at."""
    host = said["HostConfig"]
    bindings = (host.get("PortBindings") or {}).get(_PORT_KEY)
    address, port = _binding(bindings)
    labels = said["Config"].get("Labels") or {}
    if labels.get(ROLE_LABEL) == KEEPER:
        grpc_port = _binding((bindings or [])[1:])[1]
        return {"host": address, "port": port, **({"grpc_port": grpc_port} if grpc_port else {})}
    facts = wanted_facts(spec) if spec is not None else {}
    nano_cpus, memory = int(host.get("NanoCpus") or 0), int(host.get("Memory") or 0)
    facts |= {
        "image": said["Config"]["Image"],
        "image_id": said["Image"],
        "cpu": nano_cpus / 1e9 if nano_cpus else None,
        "memory_bytes": memory or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _number(label: str | None) -> int:
    return int(label) if label and label.isdecimal() else 1


def _binding(bindings: list[Mapping[str, str]] | None) -> tuple[str | None, int | None]:
    if not bindings:
        return None, None
    port = bindings[0].get("HostPort") or "0"
    return bindings[0].get("HostIp") or ANYWHERE, int(port)


def _url(said: Mapping[str, Any], engine_host: str | None) -> str | None:
    ports = (said.get("NetworkSettings") or {}).get("Ports") or {}
    asked = ((said["HostConfig"].get("PortBindings") or {}).get(_PORT_KEY) or [])[1:]
    others = [one.get("HostPort") for one in asked]  # for gRPC
    found = ports.get(_PORT_KEY) or []
    address, port = _binding([one for one in found if one.get("HostPort") not in others])
    if address is None or not port or not reachable_from(engine_host, address):
        return None
    return service_url(engine_host or address, port)


def _detail(state: Mapping[str, Any]) -> str | None:
    if state.get("Error"):
        return str(state["Error"])
    code = int(state.get("ExitCode") or 0)
    if state.get("OOMKilled"):
        return f"exit {code}, out of memory"
    return f"exit {code}" if code else None


def _time(text: str | None) -> str | None:
    """Return an engine's time in whole seconds; the year 1 means never."""
    if not text or text.startswith("0001"):
        return None
    moment = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
