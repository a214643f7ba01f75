"""A deployment as a container: how it is asked for, and how it is read back.

    DeploymentSpec ──create_settings──► what the engine is told
    what the engine says (inspect) ──read_container──► Container: spec, facts, state, url

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

from modelpack.deploy.probe import service_url
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import CRASHES_TO_FAIL, State
from modelpack.errors import DeployError, UsageError

DEPLOYMENT_LABEL = "dev.modelpack.deployment"
REVISION_LABEL = "dev.modelpack.revision"
SPEC_LABEL = "dev.modelpack.spec"
BUNDLE_DIGEST_LABEL = "dev.modelpack.bundle.digest"
"""On images: the digest of the bundle that they hold."""

CONTAINER_PORT = 3000
STOP_S = 35
"""Longest that a container may take to end by itself: the server's own grace, and a margin."""

_PORT_KEY = f"{CONTAINER_PORT}/tcp"
_MOST_PROCESSES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container of a deployment, as its engine describes it."""

    id: str
    deployment: str | None
    """Name of the deployment; None: it is none of ours."""
    spec: DeploymentSpec | None
    """What it was made for; None when the label cannot be read."""
    facts: Mapping[str, Fact]
    phase: str
    """The engine's own word: created, running, restarting, exited, paused, dead …"""
    health: str | None
    """Word of the image's health check, where it has one."""
    url: str | None
    since: str | None
    restarts: int
    detail: str | None

    @property
    def needs_probe(self) -> bool:
        """True when it is up, so that only asking it tells whether it is ready."""
        return self.phase == "running" and self.url is not None

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
        timeout_s = self.spec.settings.ready_timeout_s if self.spec is not None else 0.0
        return State.STARTING if self._age_s(now) < timeout_s else State.UNHEALTHY

    def _age_s(self, now: datetime) -> float:
        if self.since is None:
            return 0.0
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def wanted_facts(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return the facts of the spec as an engine keeps them; raises UsageError for the host."""
    return spec.facts() | {"host": _address(spec.settings.host)}


def create_settings(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the arguments of ``APIClient.create_container`` but for name and host settings."""
    env = {
        **spec.settings.env,
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104  inside the container
        "MODELPACK_PORT": str(CONTAINER_PORT),
        "MODELPACK_TAG": spec.bundle,
    }
    return {
        "image": spec.image,
        "environment": env,
        "ports": [(CONTAINER_PORT, "tcp")],
        "labels": {
            DEPLOYMENT_LABEL: spec.name,
            REVISION_LABEL: spec.revision,
            SPEC_LABEL: spec.canonical(),
        },
        "stop_timeout": STOP_S,
    }


def host_settings(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the arguments of ``APIClient.create_host_config``: limits, and as few rights as will do.

    The root file system is read-only, ``/tmp`` is in memory, there are no capabilities and no way
    to gain any; swap does not stretch the memory limit; logs cannot fill the disk.
    """
    settings = spec.settings
    limits: dict[str, Any] = {}
    if settings.cpu is not None:
        limits["nano_cpus"] = round(settings.cpu * 1e9)
    if settings.memory_bytes is not None:
        limits["mem_limit"] = limits["memswap_limit"] = settings.memory_bytes
    return {
        "port_bindings": {CONTAINER_PORT: (_address(settings.host), settings.port)},
        "restart_policy": {"Name": "unless-stopped"},
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": _MOST_PROCESSES,
        "log_config": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
        **limits,
    }


def read_container(said: Mapping[str, Any], engine_host: str | None) -> Container:
    """Read the engine's description; ``engine_host`` is None for an engine on this machine."""
    labels = said["Config"].get("Labels") or {}
    spec = _spec(labels.get(SPEC_LABEL))
    state = said["State"]
    return Container(
        id=said["Id"],
        deployment=labels.get(DEPLOYMENT_LABEL),
        spec=spec,
        facts=_facts(said, spec),
        phase=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        url=_url(said, engine_host),
        since=_time(state.get("StartedAt")),
        restarts=int(said.get("RestartCount") or 0),
        detail=_detail(state),
    )


def reachable_from(engine_host: str | None, host: str) -> bool:
    """Return whether an address of the engine's machine can be called from this one."""
    return engine_host is None or not ipaddress.ip_address(_address(host)).is_loopback


def _spec(label: str | None) -> DeploymentSpec | None:
    try:
        return DeploymentSpec.from_json(json.loads(label or ""))
    except (ValueError, DeployError):
        return None


def _facts(said: Mapping[str, Any], spec: DeploymentSpec | None) -> dict[str, Fact]:
    facts = spec.facts() if spec is not None else {}
    host = said["HostConfig"]
    address, port = _binding((host.get("PortBindings") or {}).get(_PORT_KEY))
    nano_cpus, memory = int(host.get("NanoCpus") or 0), int(host.get("Memory") or 0)
    facts |= {
        "image": said["Config"]["Image"],
        "image_id": said["Image"],
        "host": address,
        "port": port,
        "cpu": nano_cpus / 1e9 if nano_cpus else None,
        "memory_bytes": memory or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _binding(bindings: list[Mapping[str, str]] | None) -> tuple[str | None, int | None]:
    if not bindings:
        return None, None
    port = bindings[0].get("HostPort") or "0"
    return bindings[0].get("HostIp") or "0.0.0.0", int(port)  # noqa: S104


def _url(said: Mapping[str, Any], engine_host: str | None) -> str | None:
    ports = (said.get("NetworkSettings") or {}).get("Ports") or {}
    address, port = _binding(ports.get(_PORT_KEY))
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


def _address(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(
            f"deploy.host: '{host}' is not an address that a container can be published at",
            hint="use 127.0.0.1 for this machine alone, 0.0.0.0 for every interface",
        ) from None
