"""Accelerators in the words of container engines.

    DeploySettings.accelerator "nvidia-l4:2" ──device_requests──► Docker's DeviceRequests
                                             ──compose_devices──► compose's reservations

An engine of one machine hands out what that machine has: the kind behind the maker is noted and not
chosen by.  Source: Docker Engine API, HostConfig.DeviceRequests; Compose specification, devices.
"""

from __future__ import annotations

from typing import Any

from modelpack.config.settings import DeploySettings
from modelpack.errors import UsageError

_DRIVERS = {"nvidia": "nvidia", "gpu": "nvidia"}


def device_requests(settings: DeploySettings) -> list[dict[str, Any]]:
    """Return what an engine is asked for; raises UsageError for a maker it knows nothing of."""
    driver = _driver(settings)
    if driver is None:
        return []
    count = settings.accelerator_count
    return [{"Driver": driver, "Count": count, "Capabilities": [["gpu"]]}]


def compose_devices(settings: DeploySettings) -> list[dict[str, Any]]:
    """Return the same for a compose file; raises UsageError."""
    driver = _driver(settings)
    if driver is None:
        return []
    return [{"driver": driver, "count": settings.accelerator_count, "capabilities": ["gpu"]}]


def _driver(settings: DeploySettings) -> str | None:
    kind = settings.accelerator_kind
    if kind is None:
        return None
    maker = kind.partition("-")[0]
    if maker not in _DRIVERS:
        raise UsageError(
            f"deploy.resources.accelerator: a container engine has no '{maker}'",
            hint="use nvidia:1 for a graphics processor of its machine",
        )
    return _DRIVERS[maker]
