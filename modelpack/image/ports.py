"""Where the server in an image listens besides its own port: for gRPC, for metrics.

    settings of the bundle, variables of the image ──other_ports──► {"grpc": 8001}
                                                         └──► EXPOSE, labels, ``image run``

A label names the port of each, since an exposed port does not say what is spoken there.  What always
holds: nobody else in the container listens on them, so that the server can start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modelpack.config.settings import ServerSettings, recorded_settings, settings_from_env
from modelpack.errors import UsageError
from modelpack.image.plan import PORT

LABEL = "dev.modelpack.port."
"""Before the name of what is spoken there, in a label of the image whose value is the port."""

_SETTINGS = {"grpc": "grpc_port", "metrics": "metrics_port"}
_GRPC_PACKAGE = "grpcio"
_END = 65536


def other_ports(
    recorded: Mapping[str, Any], env: Mapping[str, str], packages: Collection[str]
) -> tuple[dict[str, int], list[str]]:
    """Return the ports by what is spoken there, and what to warn of.

    recorded  the bundle's settings, as its manifest has them
    env       variables of the image, which win
    packages  normalised names of what the lock installs

    Raises UsageError for ports with which the server could not start, RefusedError for settings of
    the bundle that cannot be.
    """
    try:
        server = settings_from_env(recorded_settings(ServerSettings, recorded), env)
    except ValueError as wrong:
        raise UsageError(f"image.env: {wrong}") from None
    found: dict[str, int] = {}
    warnings = []
    for name, setting in _SETTINGS.items():
        port = getattr(server, setting)
        if port == 0:
            warnings.append(f"{setting} is 0: nobody outside a container knows that port")
        if not port:
            continue
        if port in (taken := [PORT, *found.values()]):
            others = " or ".join(map(str, taken))
            raise UsageError(
                f"{setting}: {port} is taken in an image",
                hint=f"set another than {others} below 'server' in modelpack.yaml, build again",
            )
        found[name] = port
    if "grpc" in found and _GRPC_PACKAGE not in packages:
        raise UsageError(
            f"gRPC is to be spoken on port {found['grpc']}, and the lock has no {_GRPC_PACKAGE}",
            hint="set 'grpc_port' below 'server' in modelpack.yaml, build again",
        )
    return found, warnings


def labels_of(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the labels that name the ports."""
    return {f"{LABEL}{name}": str(port) for name, port in ports.items()}


def labelled(labels: Mapping[str, Any]) -> dict[str, int]:
    """Return the ports that an image's labels name; what is no port is left out."""
    found = {
        name.removeprefix(LABEL): int(value)
        for name, value in sorted(labels.items())
        if name.startswith(LABEL) and isinstance(value, str) and _is_number(value)
    }
    return {name: port for name, port in found.items() if 0 < port < _END}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_END))
