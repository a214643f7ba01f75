"""A deployment on a Docker engine as files: what ``docker compose up`` needs, and nothing of ours.

    DeploymentSpec ──compose_files──► compose.yaml, port_keeper.py

Pure.  The containers are those of ``container``, in the words of the Compose specification.  Values
of secrets are left to the environment of whoever runs it (``env:``) or to files (``file:``).
Without orders every replica accepts at the keeper's port, so ``docker compose up`` after a change
replaces them one after the other while who connects waits.  Where the load decides how many are
awake, all that may be are started, and each says how it is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from modelpack.deploy.accelerators import compose_devices
from modelpack.deploy.asked import keeper, replica
from modelpack.deploy.engine_words import CONTAINER_PORT
from modelpack.deploy.fleet import count_of
from modelpack.deploy.keeping.program import program
from modelpack.deploy.spec import DeploymentSpec

_PROGRAM = "port_keeper.py"
_MEETING = "/run/modelpack"
_HEAD = """\
# {name} ({bundle}), as modelpack would run it on a Docker engine.
#   docker compose up --detach
# Published at {host}:{port}; the container 'port' keeps the port, the replicas take requests.
"""


def compose_files(spec: DeploymentSpec) -> dict[str, bytes]:
    """Return the files by name; the same spec gives the same bytes.

    Raises UsageError for an address or an accelerator that an engine does not have.
    """
    settings = spec.settings
    head = _HEAD.format(name=spec.name, bundle=spec.bundle, host=settings.host, port=settings.port)
    text = yaml.safe_dump(_compose(spec), sort_keys=False, allow_unicode=True, width=100)
    return {"compose.yaml": (head + text).encode(), _PROGRAM: program().encode()}


def _compose(spec: DeploymentSpec) -> dict[str, Any]:
    volume = f"{spec.name}-port"
    options = keeper(spec, "python3").host["mounts"][0]["VolumeOptions"]["DriverConfig"]["Options"]
    return {
        "services": {"port": _port(spec, volume), "replica": _replica(spec, volume)},
        "volumes": {volume: {"driver": "local", "driver_opts": dict(options)}},
    }


def _port(spec: DeploymentSpec, volume: str) -> dict[str, Any]:
    wanted = keeper(spec, "python3")
    published = [_published(*one) for one in wanted.host["port_bindings"][CONTAINER_PORT]]
    return {
        "image": spec.image,
        "entrypoint": ["python3", "-I", "-S", f"/{_PROGRAM}", "serve"],
        "environment": _literal(wanted.settings["environment"]),
        "ports": published,
        "volumes": [f"./{_PROGRAM}:/{_PROGRAM}:ro", f"{volume}:{_MEETING}"],
        "healthcheck": {"disable": True},
        **_confined(wanted.host),
    }


def _published(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}:{CONTAINER_PORT}" if port else f"{shown}::{CONTAINER_PORT}"


def _replica(spec: DeploymentSpec, volume: str) -> dict[str, Any]:
    wanted = replica(spec, spec.revision, 1)
    environment = _literal(wanted.settings["environment"])
    environment["MODELPACK_PORT_GROUP"] = spec.revision  # each is named by its machine
    described = {
        "image": spec.image,
        "environment": environment | _secrets(spec),
        "volumes": [f"{volume}:{_MEETING}"],
        "depends_on": ["port"],
        **_confined(wanted.host),
        "deploy": _deploy(spec),
    }
    if spec.settings.is_scaling:
        described["healthcheck"] = {"disable": True}
    if spec.settings.labels:
        described["labels"] = _literal(spec.settings.labels)
    return described


def _deploy(spec: DeploymentSpec) -> dict[str, Any]:
    settings = spec.settings
    limits: dict[str, Any] = {}
    if settings.cpu is not None:
        limits["cpus"] = str(settings.cpu)
    if settings.memory_bytes is not None:
        limits["memory"] = f"{settings.memory_bytes}b"
    resources: dict[str, Any] = {"limits": limits} if limits else {}
    if devices := compose_devices(settings):
        resources["reservations"] = {"devices": devices}
    deploy: dict[str, Any] = {"replicas": count_of(spec)}
    if resources:
        deploy["resources"] = resources
    return deploy


def _confined(host: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "read_only": True,
        "tmpfs": [f"{path}:{options}" for path, options in host["tmpfs"].items()],
        "cap_drop": list(host["cap_drop"]),
        "security_opt": list(host["security_opt"]),
        "pids_limit": host["pids_limit"],
        "restart": "unless-stopped",
        "stop_grace_period": "35s",
        "logging": {
            "driver": host["log_config"]["Type"],
            "options": dict(host["log_config"]["Config"]),
        },
    }


def _literal(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values so that compose puts nothing in their place."""
    return {key: value.replace("$", "$$") for key, value in values.items()}


def _secrets(spec: DeploymentSpec) -> dict[str, str]:
    """Let compose take secrets from the environment of whoever runs it."""
    found = {}
    for variable, reference in spec.settings.secrets.items():
        scheme, _, rest = reference.partition(":")
        name = rest if scheme == "env" else variable
        found[variable] = f"${{{name}:?set it to the value of the secret}}"
    return found
