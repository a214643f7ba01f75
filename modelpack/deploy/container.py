"""The containers of a deployment: how they are asked for, and how they are read back.

    DeploymentSpec ──replica, keeper──► Wanted: what the engine is told
    what the engine says (inspect) ──read_container──► Container: role, group, facts, state, url

Pure.  A replica runs the service; the keeper holds the port that all of them answer at.  The labels
``dev.modelpack.*`` hold the state: whoever can ask the engine knows everything.  What the engine
itself enforces (address, limits, image) is read from the engine and not from the label, so that a
change made behind our back shows in the next plan.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from modelpack.deploy import port_keeper
from modelpack.deploy.accelerators import device_requests
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.probe import service_url
from modelpack.deploy.references import SCHEMES
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import CRASHES_TO_FAIL, State
from modelpack.errors import DeployError, UsageError
from modelpack.manifest import canonical_json, sha256_digest

DEPLOYMENT_LABEL = "dev.modelpack.deployment"
REVISION_LABEL = "dev.modelpack.revision"
SPEC_LABEL = "dev.modelpack.spec"
ROLE_LABEL = "dev.modelpack.role"
GROUP_LABEL = "dev.modelpack.group"
"""On replicas: which ones came together.  On keepers: which address they hold."""
BUNDLE_DIGEST_LABEL = "dev.modelpack.bundle.digest"
"""On images: the digest of the bundle that they hold."""

REPLICA, KEEPER = "replica", "port"

CAPABILITIES = Capabilities(
    heeds=frozenset(
        {
            "env",
            "secrets",
            "host",
            "port",
            "labels",
            "cpu",
            "memory_bytes",
            "accelerator",
            "min_replicas",
        }
    ),
    reasons={
        "max_replicas": "an engine does not scale by itself; 'deployments scale --min' does",
        "public": "say where it is published with 'host', such as 0.0.0.0",
    },
    secret_schemes=SCHEMES,
)
"""What one engine can be held to."""

CONTAINER_PORT = 3000
STOP_S = 35
"""Longest that a container may take to end by itself: the server's own grace, and a margin."""

KEPT, ON_TRIAL = {"Name": "unless-stopped"}, {"Name": "no"}
"""Restart policies: of what was found healthy, and of what has not been yet."""

_PORT_KEY = f"{CONTAINER_PORT}/tcp"
_MOST_PROCESSES = 4096
_SHARED_FOLDER = "/run/modelpack"
_ANYWHERE = "0.0.0.0"  # noqa: S104  inside a container
_HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One container as an engine is asked for it."""

    name: str
    settings: Mapping[str, Any]
    """Arguments of ``APIClient.create_container`` but for name and host settings."""
    host: Mapping[str, Any]
    """Arguments of ``APIClient.create_host_config``."""


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
        timeout_s = self.spec.settings.ready_timeout_s if self.spec is not None else 0.0
        return State.STARTING if self._age_s(now) < timeout_s else State.UNHEALTHY

    def _age_s(self, now: datetime) -> float:
        if self.since is None:
            return 0.0
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def wanted_facts(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return the facts of the spec as an engine keeps them; raises UsageError for the host."""
    facts = CAPABILITIES.heeded(spec.facts()) | {"host": _address(spec.settings.host)}
    if spec.settings.min_replicas == 0:
        del facts["min_replicas"]  # there is at least one
    return facts


def address_id(spec: DeploymentSpec) -> str:
    """Return eight hex digits that stand for host and port in names; raises UsageError."""
    address = [_address(spec.settings.host), spec.settings.port]
    return sha256_digest(canonical_json(address)).removeprefix("sha256:")[:8]


def keeper_name(spec: DeploymentSpec) -> str:
    """Return the name of the container that keeps the port."""
    return f"modelpack-{spec.name}-P{address_id(spec)}"


def replica_name(deployment: str, group: str, number: int) -> str:
    """Return the name of a replica; names of deployments have no capitals."""
    return f"modelpack-{deployment}-R{group}-{number}"


def volume_name(deployment: str) -> str:
    """Return the name of the volume in which keeper and replicas meet."""
    return f"modelpack-{deployment}-Port"


def keeper(spec: DeploymentSpec, python: str) -> Wanted:
    """Return the container that keeps the port; it runs ``python`` of the image and nothing of ours."""
    settings = {
        "image": spec.image,
        "entrypoint": [*keeper_program(python), "serve"],
        "command": [],
        "environment": {**_addressed(), **_meeting_at(spec)},
        "ports": [(CONTAINER_PORT, "tcp")],
        "labels": _roles(spec, KEEPER, address_id(spec)),
        "stop_timeout": STOP_S,
    }
    limits = {"mem_limit": 64 * 2**20, "memswap_limit": 64 * 2**20, "pids_limit": 64}
    bindings = {CONTAINER_PORT: (_address(spec.settings.host), spec.settings.port)}
    host = _host_settings(spec, bindings) | limits | {"restart_policy": KEPT}
    return Wanted(name=keeper_name(spec), settings=settings, host=host)


def keeper_program(python: str) -> list[str]:
    """Return the command line of the keeper, but for the word that says what to do."""
    return [python, "-I", "-S", "-c", Path(port_keeper.__file__).read_text(encoding="utf-8")]


def python_of(image: Mapping[str, Any]) -> str:
    """Return the Python of an image, as far as its entry point tells."""
    entry: Sequence[str] = (image.get("Config") or {}).get("Entrypoint") or []
    is_python = bool(entry) and PurePosixPath(entry[0]).name.startswith("python")
    return entry[0] if is_python else "python3"


def replica(
    spec: DeploymentSpec, group: str, number: int, secrets: Mapping[str, str] | None = None
) -> Wanted:
    """Return one replica, on trial; ``secrets`` are the values of ``deploy.secrets``.

    It has as few rights as will do: the root file system is read-only, ``/tmp`` is in memory, there
    are no capabilities and no way to gain any; swap does not stretch the memory limit; logs cannot
    fill the disk.  Its own port is open to the engine's machine alone, for the probe.
    """
    settings = {
        "image": spec.image,
        "environment": {
            **spec.settings.env,
            **(secrets or {}),
            **_addressed(),
            **_meeting_at(spec),
            "MODELPACK_PORT_GROUP": f"{group}/{number}",
            "MODELPACK_TAG": spec.bundle,
        },
        "ports": [(CONTAINER_PORT, "tcp")],
        "labels": {
            **_roles(spec, REPLICA, group),
            REVISION_LABEL: spec.revision,
            SPEC_LABEL: spec.canonical(),
        },
        "stop_timeout": STOP_S,
    }
    limits: dict[str, Any] = {"pids_limit": _MOST_PROCESSES, "restart_policy": ON_TRIAL}
    if spec.settings.cpu is not None:
        limits["nano_cpus"] = round(spec.settings.cpu * 1e9)
    if spec.settings.memory_bytes is not None:
        limits["mem_limit"] = limits["memswap_limit"] = spec.settings.memory_bytes
    if requests := device_requests(spec.settings):
        limits["device_requests"] = requests
    host = _host_settings(spec, {CONTAINER_PORT: (_HERE, 0)}) | limits
    return Wanted(name=replica_name(spec.name, group, number), settings=settings, host=host)


def _addressed() -> dict[str, str]:
    return {"MODELPACK_HOST": _ANYWHERE, "MODELPACK_PORT": str(CONTAINER_PORT)}


def _meeting_at(spec: DeploymentSpec) -> dict[str, str]:
    return {"MODELPACK_PORT_KEEPER": f"{_SHARED_FOLDER}/{address_id(spec)}.sock"}


def _roles(spec: DeploymentSpec, role: str, group: str) -> dict[str, str]:
    return {
        **spec.settings.labels,
        DEPLOYMENT_LABEL: spec.name,
        ROLE_LABEL: role,
        GROUP_LABEL: group,
    }


def _host_settings(spec: DeploymentSpec, bindings: Mapping[int, tuple[str, int]]) -> dict[str, Any]:
    return {
        "port_bindings": dict(bindings),
        "mounts": [_meeting_place(spec.name)],
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "log_config": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
    }


def _meeting_place(deployment: str) -> dict[str, Any]:
    """Return the volume that keeper and replicas share; the engine makes it with the first of them.

    It is in memory, so that nothing of it outlives a restart of the machine, and any user of an
    image may use it.
    """
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=1777,nosuid,nodev,noexec"}
    return {
        "Type": "volume",
        "Source": volume_name(deployment),
        "Target": _SHARED_FOLDER,
        "VolumeOptions": {
            "NoCopy": True,
            "Labels": {DEPLOYMENT_LABEL: deployment},
            "DriverConfig": {"Name": "local", "Options": options},
        },
    }


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
    """Return the facts of a replica; of a keeper, the address that it is published at."""
    host = said["HostConfig"]
    address, port = _binding((host.get("PortBindings") or {}).get(_PORT_KEY))
    labels = said["Config"].get("Labels") or {}
    if labels.get(ROLE_LABEL) == KEEPER:
        return {"host": address, "port": port}
    facts = wanted_facts(spec) if spec is not None else {}
    nano_cpus, memory = int(host.get("NanoCpus") or 0), int(host.get("Memory") or 0)
    facts |= {
        "image": said["Config"]["Image"],
        "image_id": said["Image"],
        "cpu": nano_cpus / 1e9 if nano_cpus else None,
        "memory_bytes": memory or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _binding(bindings: list[Mapping[str, str]] | None) -> tuple[str | None, int | None]:
    if not bindings:
        return None, None
    port = bindings[0].get("HostPort") or "0"
    return bindings[0].get("HostIp") or _ANYWHERE, int(port)


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
        return _HERE
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(
            f"deploy.host: '{host}' is not an address that a container can be published at",
            hint="use 127.0.0.1 for this machine alone, 0.0.0.0 for every interface",
        ) from None
