"""What an engine is asked for: the containers of a deployment, as few rights as will do.

    DeploymentSpec ──keeper, replica──► Wanted: name, settings, host settings

Pure.  A replica runs the service; the keeper holds the port that all of them answer at
(``port_keeper``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from modelpack.deploy.accelerators import device_requests
from modelpack.deploy.autoscale.asked import policy_of, policy_words
from modelpack.deploy.engine_words import (
    ANYWHERE,
    CONTAINER_PORT,
    DEPLOYMENT_LABEL,
    GROUP_LABEL,
    HERE,
    KEEPER,
    KEEPER_LABEL,
    KEEPER_WORDS,
    KEPT,
    ON_TRIAL,
    REPLICA,
    REVISION_LABEL,
    ROLE_LABEL,
    SPEC_LABEL,
    STOP_S,
    address_id,
    address_of,
    keeper_name,
    replica_name,
    volume_name,
)
from modelpack.deploy.keeping.program import ASKER, program
from modelpack.deploy.spec import DeploymentSpec

_MOST_PROCESSES = 4096
_SHARED_FOLDER = "/run/modelpack"

NO_CHECK = {"test": ["NONE"]}
"""Instead of the health check of an image: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One container as an engine is asked for it."""

    name: str
    settings: Mapping[str, Any]
    """Arguments of ``APIClient.create_container`` but for name and host settings."""
    host: Mapping[str, Any]
    """Arguments of ``APIClient.create_host_config``."""


def keeper(spec: DeploymentSpec, python: str) -> Wanted:
    """Return the container that keeps the port; it runs ``python`` of the image and nothing of ours.

    It has no health check: that of the image would ask the service through the port, again and
    again, and nobody would ever sleep.
    """
    settings = {
        "image": spec.image,
        "entrypoint": [*keeper_program(python), "serve"],
        "command": [],
        "environment": {**_addressed(), **_meeting_at(spec)},
        "ports": [(CONTAINER_PORT, "tcp")],
        "labels": {**_roles(spec, KEEPER, address_id(spec)), KEEPER_LABEL: str(KEEPER_WORDS)},
        "stop_timeout": STOP_S,
        "healthcheck": NO_CHECK,
    }
    limits = {"mem_limit": 64 * 2**20, "memswap_limit": 64 * 2**20, "pids_limit": 64}
    address = address_of(spec.settings.host)
    ports = [one for one in (spec.settings.port, spec.settings.grpc_port) if one is not None]
    host = (
        _host_settings(spec, [(address, port) for port in ports])
        | limits
        | {"restart_policy": KEPT}
    )
    return Wanted(name=keeper_name(spec), settings=settings, host=host)


def keeper_program(python: str) -> list[str]:
    """Return the command line of the keeper, but for the word that says what to do."""
    return [python, "-I", "-S", "-c", program()]


def order_program(python: str, words: Sequence[object]) -> list[str]:
    """Return the command line that gives the keeper an order, inside its container."""
    return [python, "-I", "-S", "-c", ASKER, "ask", *map(str, words)]


def python_of(image: Mapping[str, Any]) -> str:
    """Return the Python of an image, as far as its entry point tells."""
    entry: Sequence[str] = (image.get("Config") or {}).get("Entrypoint") or []
    is_python = bool(entry) and PurePosixPath(entry[0]).name.startswith("python")
    return entry[0] if is_python else "python3"


def replica(
    spec: DeploymentSpec,
    group: str,
    number: int,
    secrets: Mapping[str, str] | None = None,
    *,
    serial: float = 0.0,
) -> Wanted:
    """Return one replica, on trial; ``secrets`` are the values of ``deploy.secrets``.

    It has as few rights as will do: the root file system is read-only, ``/tmp`` is in memory, there
    are no capabilities and no way to gain any; swap does not stretch the memory limit; logs cannot
    fill the disk.  Its own port is open to the engine's machine alone, for the probe.

    Where the load decides how many are awake, it sleeps until it is told otherwise, and has no
    health check, which would call that ill; ``serial`` says which of two policies is the newer one.
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
            **_sleeping(spec, serial),
        },
        "ports": [(CONTAINER_PORT, "tcp")],
        "labels": {
            **_roles(spec, REPLICA, group),
            REVISION_LABEL: spec.revision,
            SPEC_LABEL: spec.canonical(),
        },
        "stop_timeout": STOP_S,
        **({"healthcheck": NO_CHECK} if spec.settings.is_scaling else {}),
    }
    limits: dict[str, Any] = {"pids_limit": _MOST_PROCESSES, "restart_policy": ON_TRIAL}
    if spec.settings.cpu is not None:
        limits["nano_cpus"] = round(spec.settings.cpu * 1e9)
    if spec.settings.memory_bytes is not None:
        limits["mem_limit"] = limits["memswap_limit"] = spec.settings.memory_bytes
    if requests := device_requests(spec.settings):
        limits["device_requests"] = requests
    host = _host_settings(spec, [(HERE, 0)]) | limits
    return Wanted(name=replica_name(spec.name, group, number), settings=settings, host=host)


def _addressed() -> dict[str, str]:
    return {"MODELPACK_HOST": ANYWHERE, "MODELPACK_PORT": str(CONTAINER_PORT)}


def _meeting_at(spec: DeploymentSpec) -> dict[str, str]:
    return {"MODELPACK_PORT_KEEPER": f"{_SHARED_FOLDER}/{address_id(spec)}.sock"}


def _sleeping(spec: DeploymentSpec, serial: float) -> dict[str, str]:
    policy = policy_of(spec.settings)
    return {} if policy is None else {"MODELPACK_SLEEPS": policy_words(policy, serial)}


def _roles(spec: DeploymentSpec, role: str, group: str) -> dict[str, str]:
    return {
        **spec.settings.labels,
        DEPLOYMENT_LABEL: spec.name,
        ROLE_LABEL: role,
        GROUP_LABEL: group,
    }


def _host_settings(spec: DeploymentSpec, published: Sequence[tuple[str, int]]) -> dict[str, Any]:
    return {
        "port_bindings": {CONTAINER_PORT: list(published)},
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
