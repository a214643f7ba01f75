"""How large a replica may be, and which machine has what a deployment asks for.

    cpu, memory ──size_of──► Size(1.5, "3Gi")             Container Apps, profile "Consumption"
    accelerator, instance ──profile_of──► "gpu-t4"        a workload profile of the environment
    cpu, memory, accelerator ──machine_of──► Standard_DS3_v2    Azure Machine Learning

Facts: Azure Container Apps, "Containers" (pairs of processors and memory of the Consumption profile,
up to 4 and 8 GiB) and "Workload profiles" (GPU profiles); Azure Machine Learning, "Managed online
endpoints SKU list".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError, did_you_mean

GIB = 1024**3

_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,59}")
_MACHINE_NAME = re.compile(r"Standard_[A-Z]{1,3}[0-9][A-Za-z0-9_-]{0,59}")
_STEP = 0.25
_MOST_CPU = 4.0
_GIB_A_CPU = 2.0

PROFILES = {
    "nvidia-t4": ("gpu-t4", "Consumption-GPU-NC8as-T4", 8.0, 56.0),
    "nvidia-a100": ("gpu-a100", "Consumption-GPU-NC24-A100", 24.0, 220.0),
}
"""By accelerator: the name that we look for in the environment, its type, processors and GiB."""


@dataclass(frozen=True, slots=True)
class Size:
    """Processors and memory of one replica."""

    cpu: float
    gib: float

    @property
    def memory(self) -> str:
        """As Azure writes it, such as ``1.5Gi``."""
        return f"{self.gib:g}Gi"


def profile_of(settings: DeploySettings) -> str | None:
    """Return the workload profile that a deployment runs in; None: the one of everybody.

    Raises UsageError for an accelerator that Container Apps does not have.
    """
    if settings.instance not in (None, "auto"):
        return _profile(str(settings.instance))
    kind = _kind(settings)
    if kind is None:
        return None
    if kind not in PROFILES:
        near = did_you_mean(kind, list(PROFILES))
        raise UsageError(
            f"deploy.resources.accelerator: Container Apps has no '{kind}'",
            hint=f"did you mean '{near}'?" if near else f"it has {' and '.join(PROFILES)}",
        )
    if settings.accelerator_count > 1:
        raise UsageError(
            "deploy.resources.accelerator: a replica in Container Apps has one, got "
            f"{settings.accelerator_count}",
            hint="mode 'ml' has machines with more",
        )
    return PROFILES[kind][0]


def _profile(name: str) -> str:
    if name.startswith("Standard_"):
        raise UsageError(
            f"deploy.resources.instance: '{name}' is a machine, and Container Apps has workload profiles",
            hint="name a profile of the environment, or use mode 'ml'",
        )
    if not _PROFILE_NAME.fullmatch(name):
        raise UsageError(
            f"deploy.resources.instance: '{name[:60]}' is no name of a workload profile",
            hint="'az containerapp env workload-profile list -g GROUP -n NAME' has them",
        )
    return name


def size_of(settings: DeploySettings) -> Size:
    """Return the least size that has what is asked for; raises UsageError when none has."""
    cpu = settings.cpu or 0.0
    gib = (settings.memory_bytes or 0) / GIB
    if settings.instance not in (None, "auto"):
        return Size(cpu or 0.5, gib or max(1.0, (cpu or 0.5) * _GIB_A_CPU))
    kind = _kind(settings)
    if kind in PROFILES:
        _, name, most_cpu, most_gib = PROFILES[kind]
        if cpu > most_cpu or gib > most_gib:
            raise UsageError(
                f"deploy.resources: '{name}' has {most_cpu:g} processors and {most_gib:g} GiB"
            )
        return Size(cpu or most_cpu, gib or most_gib)
    steps = max(math.ceil(cpu / _STEP), math.ceil(gib / _GIB_A_CPU / _STEP))
    steps = steps or round(0.5 / _STEP)
    if steps * _STEP > _MOST_CPU:
        raise UsageError(
            f"deploy.resources: a replica in Container Apps has at most {_MOST_CPU:g} processors "
            f"and {_MOST_CPU * _GIB_A_CPU:g} GiB",
            hint="name a workload profile under 'deploy.resources.instance', or use mode 'ml'",
        )
    return Size(steps * _STEP, steps * _STEP * _GIB_A_CPU)


def size_notes(settings: DeploySettings) -> list[str]:
    """Return where a replica gets more than was asked for."""
    size = size_of(settings)
    asked = (settings.cpu or 0, (settings.memory_bytes or 0) / GIB)
    if not any(asked) or (asked[0] in (0, size.cpu) and asked[1] in (0, size.gib)):
        return []
    return [f"a replica gets {size.cpu:g} processors and {size.gib:g} GiB: the next pair there is"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A type of machine of managed online endpoints."""

    name: str
    cpu: int
    gib: int
    accelerator: str | None = None
    count: int = 0


MACHINES = (
    Machine("Standard_F2s_v2", 2, 4),
    Machine("Standard_DS2_v2", 2, 7),
    Machine("Standard_F4s_v2", 4, 8),
    Machine("Standard_DS3_v2", 4, 14),
    Machine("Standard_E4s_v3", 4, 32),
    Machine("Standard_F8s_v2", 8, 16),
    Machine("Standard_DS4_v2", 8, 28),
    Machine("Standard_E8s_v3", 8, 64),
    Machine("Standard_F16s_v2", 16, 32),
    Machine("Standard_DS5_v2", 16, 56),
    Machine("Standard_E16s_v3", 16, 128),
    Machine("Standard_F32s_v2", 32, 64),
    Machine("Standard_E32s_v3", 32, 256),
    Machine("Standard_NC4as_T4_v3", 4, 28, "nvidia-t4", 1),
    Machine("Standard_NC8as_T4_v3", 8, 56, "nvidia-t4", 1),
    Machine("Standard_NC16as_T4_v3", 16, 110, "nvidia-t4", 1),
    Machine("Standard_NC64as_T4_v3", 64, 440, "nvidia-t4", 4),
    Machine("Standard_NC24ads_A100_v4", 24, 220, "nvidia-a100", 1),
    Machine("Standard_NC48ads_A100_v4", 48, 440, "nvidia-a100", 2),
    Machine("Standard_NC96ads_A100_v4", 96, 880, "nvidia-a100", 4),
)
"""From the least to the most of each family."""


def machine_of(settings: DeploySettings) -> tuple[str, str]:
    """Return the type of machine of a deployment, and why it is that one; raises UsageError."""
    if settings.instance not in (None, "auto"):
        return _machine(str(settings.instance)), "asked for"
    kind, count = _kind(settings), settings.accelerator_count
    kinds = sorted({str(one.accelerator) for one in MACHINES if one.accelerator})
    if kind is not None and kind not in (*kinds, "nvidia"):
        near = did_you_mean(kind, kinds)
        raise UsageError(
            f"deploy.resources.accelerator: no machine of our table has '{kind}'",
            hint=f"did you mean '{near}'?" if near else "name a type with deploy.instance",
        )
    cpu, gib = settings.cpu or 2, (settings.memory_bytes or 0) / GIB
    for one in MACHINES:
        fits = one.cpu >= cpu and one.gib >= gib and one.count >= count
        if fits and _has(one, kind):
            has = f"{one.cpu} processors, {one.gib} GiB"
            if one.accelerator:
                has += f", {one.count} x {one.accelerator}"
            return one.name, f"the least of our table that has what is asked for ({has})"
    raise UsageError(
        "deploy.resources: no machine of our table has as much",
        hint="name a type with 'deploy.resources.instance'",
    )


def _machine(name: str) -> str:
    if _MACHINE_NAME.fullmatch(name):
        return name
    known = {one.name.lower(): one.name for one in MACHINES}
    near = known.get(did_you_mean(name.lower(), list(known)) or "")
    raise UsageError(
        f"deploy.resources.instance: '{name[:60]}' is no type of machine of Azure",
        hint=f"did you mean '{near}'?"
        if near
        else "such as 'Standard_DS3_v2'; auto: one that fits",
    )


def _has(machine: Machine, kind: str | None) -> bool:
    if kind is None:
        return machine.accelerator is None
    return machine.accelerator is not None and kind in (machine.accelerator, "nvidia")


def _kind(settings: DeploySettings) -> str | None:
    return settings.accelerator_kind
