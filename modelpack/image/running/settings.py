"""What the engine is told to run an image with: its ports, limits, and as few rights as will do.

    what the engine says of the image + RunOptions ──► ContainerSettings ──► create_container

Pure.  Every container gets a read-only root with ``/tmp`` in memory, no capabilities, no way to gain
any, a bounded number of processes, and its ports on the loopback address alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.config.units import parse_size
from modelpack.errors import UsageError
from modelpack.image.plan import PORT
from modelpack.image.ports import labelled

ADDRESS = "127.0.0.1"
STOP_S = 35
"""Longest that a container may take to end by itself: the server's own grace, and a margin."""
RUN_LABEL = "dev.modelpack.run"
"""On containers that ``modelpack image run`` started."""

_MOST_PROCESSES = 4096
_LEAST_MEMORY_BYTES = 6 * 1024 * 1024
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GPU_VARIABLE = "NVIDIA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How an image is run; made of what people write."""

    port: int | None = None
    """On this machine; 0: a free one; None: the container's own, or a free one when it is taken."""
    container_port: int | None = None
    """Where the program in the image listens; None: what the image names."""
    memory_bytes: int | None = None
    cpus: float | None = None
    gpus: str | None = None
    """``all``, ``none`` or a number; None: all where the image asks for them and there are some."""
    env: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    @classmethod
    def of_words(
        cls,
        *,
        port: int | None = None,
        container_port: int | None = None,
        memory: str | None = None,
        cpus: float | None = None,
        gpus: str | None = None,
        env: Sequence[str] = (),
        name: str | None = None,
    ) -> RunOptions:
        """Read the words of a command; raises UsageError."""
        for value, flag in ((port, "--port"), (container_port, "--container-port")):
            if value is not None and not 0 <= value <= 65535:
                raise UsageError(f"{flag}: must be from 0 to 65535, got {value}")
        if cpus is not None and not 0.01 <= cpus <= 4096:
            raise UsageError(f"--cpus: must be at least 0.01, got {cpus:g}")
        if gpus is not None and not re.fullmatch(r"all|none|[1-9][0-9]?", gpus):
            raise UsageError(f"--gpus: must be 'all', 'none' or a number, got '{gpus[:40]}'")
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,127}", name):
            raise UsageError(
                f"--name: '{name[:80]}' is not the name of a container",
                hint="it has letters, digits, '_', '.' and '-'",
            )
        return cls(
            port=port,
            container_port=container_port,
            memory_bytes=None if memory is None else _memory(memory),
            cpus=cpus,
            gpus=gpus,
            env=dict(map(_variable, env)),
            name=name,
        )


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What a container is made with."""

    image: str
    container_port: int
    has_gpus: bool
    """True when GPUs are asked for."""
    must_have_gpus: bool
    """True when it is not to run without."""
    config: Mapping[str, Any]
    """Arguments of ``APIClient.create_container``."""
    host: Mapping[str, Any]
    """Arguments of ``APIClient.create_host_config``; but for the port, which may have to change."""
    other_ports: Mapping[str, int] = field(default_factory=dict)
    """Where else it listens, by what is spoken there, as the labels of the image say."""
    gpu_count: int = -1
    """-1: all."""


def settings_for(
    image: str, described: Mapping[str, Any], options: RunOptions
) -> ContainerSettings:
    """Work out how an image is run; ``described`` is what the engine says of it.

    Raises UsageError when the image does not say on which port it listens.
    """
    config = described.get("Config") or {}
    port = options.container_port or _port(image, config)
    others = labelled(config.get("Labels") or {})
    others = {name: other for name, other in others.items() if other != port}
    said = dict(str(pair).partition("=")[::2] for pair in config.get("Env") or ())
    asks = said.get(_GPU_VARIABLE, "void") not in ("void", "none", "")
    wanted = options.gpus
    limits: dict[str, Any] = {}
    if options.memory_bytes is not None:
        limits["mem_limit"] = limits["memswap_limit"] = options.memory_bytes
    if options.cpus is not None:
        limits["nano_cpus"] = round(options.cpus * 1e9)
    return ContainerSettings(
        image=image,
        container_port=port,
        other_ports=others,
        has_gpus=wanted not in (None, "none") or (wanted is None and asks),
        must_have_gpus=wanted not in (None, "none"),
        gpu_count=int(wanted) if wanted and wanted.isdigit() else -1,
        config={
            "image": image,
            "environment": dict(options.env),
            "ports": [(one, "tcp") for one in (port, *others.values())],
            "labels": {RUN_LABEL: "true"},
            "stop_timeout": STOP_S,
        },
        host={
            "read_only": True,
            "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108  the container's own
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "pids_limit": _MOST_PROCESSES,
            "log_config": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
            **limits,
        },
    )


def _port(image: str, config: Mapping[str, Any]) -> int:
    """Return the one port that an image listens on, or 3000 among several."""
    named = [str(one).partition("/") for one in config.get("ExposedPorts") or ()]
    ports = sorted(int(port) for port, _, kind in named if kind in ("tcp", "") and port.isdigit())
    if len(ports) == 1:
        return ports[0]
    if PORT in ports:
        return PORT
    what = f"names {len(ports)} ports" if ports else "does not say on which port it listens"
    raise UsageError(f"'{image}' {what}", hint="give it with '--container-port'")


def _memory(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as wrong:
        raise UsageError(f"--memory: {wrong}") from None
    if size < _LEAST_MEMORY_BYTES:
        raise UsageError(
            f"--memory: must be at least {_LEAST_MEMORY_BYTES} bytes, got {size}",
            hint="write it with its unit, such as 512MiB",
        )
    return size


def _variable(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``, or ``NAME`` for the value that it has here."""
    name, equals, value = text.partition("=")
    if not _ENV_NAME.fullmatch(name):
        raise UsageError(f"--env: '{name[:80]}' cannot be a variable", hint="write NAME=VALUE")
    if equals:
        return name, value
    if name not in os.environ:
        raise UsageError(f"--env: '{name}' has no value here", hint=f"write '{name}=VALUE'")
    return name, os.environ[name]
