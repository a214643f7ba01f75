"""What an instance gets: processors, memory and accelerators in the steps that Google has.

    DeploySettings ──run_size──► RunSize(cpu, memory)            Cloud Run
                   ──machine_for──► Machine(type, accelerator)   Vertex AI

Sources: Cloud Run documentation, "Configure CPU limits for services" (processors and memory),
"GPU support for services" (what an L4 and an RTX PRO 6000 take at least); Vertex AI documentation,
"Configure compute resources for inference", and Compute Engine, "GPU machine types" (what a machine
type has).  Accelerators of Vertex AI are the words of its API.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError, did_you_mean
from modelpack_gcp.wanted import GIB, MIB

_Steps = tuple[tuple[int, float, float], ...]
"""Processors, and from how much to how much memory in GiB."""

_PLAIN_STEPS: _Steps = ((1, 0.5, 4), (2, 0.5, 8), (4, 2, 16), (6, 4, 24), (8, 4, 32))
_L4: tuple[str, _Steps] = ("nvidia-l4", ((4, 16, 16), (6, 16, 24), (8, 16, 32)))

RUN_ACCELERATORS: Mapping[str, tuple[str, _Steps]] = {
    "nvidia": _L4,
    "gpu": _L4,
    "nvidia-l4": _L4,
    "nvidia-rtx-pro-6000": ("nvidia-rtx-pro-6000", ((20, 80, 80),)),
}
"""Word of ours: that of Cloud Run, and what an instance with one of them has."""

_RUN_CPU, _RUN_MEMORY = 1.0, 2 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """An instance of Cloud Run."""

    cpu: int
    memory_mib: int
    accelerator: str | None = None
    """Its word for what it has; at most one."""

    def describe(self) -> str:
        """Return it for people."""
        more = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.cpu} vCPU and {self.memory_mib / 1024:g} GiB{more}"


def fits_cloud_run(settings: DeploySettings) -> bool:
    """Return whether Cloud Run has an instance of that size."""
    try:
        run_size(settings)
    except UsageError:
        return False
    return True


def run_size(settings: DeploySettings) -> RunSize:
    """Return the least instance that has what is asked for; raises UsageError when there is none.

    By default one processor and 2 GiB.
    """
    cpu = settings.cpu or _RUN_CPU
    memory_gib = math.ceil((settings.memory_bytes or _RUN_MEMORY) / MIB) / 1024
    word, steps = _steps(settings)
    for count, least, most in steps:
        if cpu <= count and memory_gib <= most:
            memory_mib = round(max(memory_gib, least) * 1024)
            return RunSize(cpu=count, memory_mib=memory_mib, accelerator=word)
    beside = f" beside '{word}'" if word else ""
    raise UsageError(
        f"deploy.resources: Cloud Run has no instance of {cpu:g} processors and "
        f"{memory_gib:g} GiB{beside}",
        hint=f"up to {steps[-1][0]} processors and {steps[-1][2]:g} GiB{beside}; see 'gcp-vertex'",
    )


def _steps(settings: DeploySettings) -> tuple[str | None, _Steps]:
    """Return Cloud Run's word for the accelerator, and the steps that it has with it."""
    kind = settings.accelerator_kind
    if kind is None:
        return None, _PLAIN_STEPS
    if kind not in RUN_ACCELERATORS or settings.accelerator_count != 1:
        known = ", ".join(sorted({word for word, _ in RUN_ACCELERATORS.values()}))
        raise UsageError(
            f"deploy.resources.accelerator: Cloud Run has no '{settings.accelerator}'",
            hint=f"it has one of {known}; 'gcp-vertex' has others",
        )
    return RUN_ACCELERATORS[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of Vertex AI."""

    type: str
    cpu: int = 0
    """0: a type that our table does not know."""
    memory_gib: float = 0
    accelerator: str | None = None
    """Word of its API, such as ``NVIDIA_L4``."""
    count: int = 0

    def describe(self) -> str:
        """Return it for people."""
        has = f" ({self.cpu} vCPU, {self.memory_gib:g} GiB)" if self.cpu else ""
        more = f" with {self.count} x {self.accelerator}" if self.accelerator else ""
        return f"{self.type}{has}{more}"


def _family(word: str | None, rows: Mapping[str, tuple[int, float, int]]) -> tuple[Machine, ...]:
    return tuple(
        Machine(
            type=name, cpu=cpu, memory_gib=gib, accelerator=word if count else None, count=count
        )
        for name, (cpu, gib, count) in rows.items()
    )


_PLAIN = _family(None, {
    "n1-standard-2": (2, 7.5, 0), "n1-standard-4": (4, 15, 0), "n1-standard-8": (8, 30, 0),
    "n1-standard-16": (16, 60, 0), "n1-standard-32": (32, 120, 0),
})  # fmt: skip

_WITH: Mapping[str, tuple[Machine, ...]] = {
    "nvidia-l4": _family("NVIDIA_L4", {
        "g2-standard-4": (4, 16, 1), "g2-standard-8": (8, 32, 1), "g2-standard-12": (12, 48, 1),
        "g2-standard-16": (16, 64, 1), "g2-standard-32": (32, 128, 1),
        "g2-standard-24": (24, 96, 2), "g2-standard-48": (48, 192, 4),
        "g2-standard-96": (96, 384, 8),
    }),
    "nvidia-a100": _family("NVIDIA_TESLA_A100", {
        "a2-highgpu-1g": (12, 85, 1), "a2-highgpu-2g": (24, 170, 2),
        "a2-highgpu-4g": (48, 340, 4), "a2-highgpu-8g": (96, 680, 8),
    }),
    "nvidia-a100-80gb": _family("NVIDIA_A100_80GB", {
        "a2-ultragpu-1g": (12, 170, 1), "a2-ultragpu-2g": (24, 340, 2),
        "a2-ultragpu-4g": (48, 680, 4), "a2-ultragpu-8g": (96, 1360, 8),
    }),
    "nvidia-h100": _family("NVIDIA_H100_80GB", {
        "a3-highgpu-1g": (26, 234, 1), "a3-highgpu-2g": (52, 468, 2),
        "a3-highgpu-4g": (104, 936, 4), "a3-highgpu-8g": (208, 1872, 8),
    }),
    "nvidia-t4": tuple(
        Machine(
            type=one.type, cpu=one.cpu, memory_gib=one.memory_gib,
            accelerator="NVIDIA_TESLA_T4", count=count,
        )
        for count in (1, 2, 4) for one in _PLAIN[1:4]
    ),
}  # fmt: skip
_SAME = {"nvidia": "nvidia-l4", "gpu": "nvidia-l4"}


_TYPE = re.compile(r"[a-z][a-z0-9]*-[a-z]+-[0-9]+[a-z]?(-[a-z0-9]+)?")


def known_types() -> tuple[str, ...]:
    """Return the machine types that the table has."""
    return tuple(one.type for family in (_PLAIN, *_WITH.values()) for one in family)


def machine_for(settings: DeploySettings) -> Machine:
    """Return the least machine that has what is asked for; raises UsageError when there is none.

    A type that is named is taken as it is, also one that the table does not know.
    """
    rows = _candidates(settings)
    named = settings.instance if settings.instance != "auto" else None
    if named is not None and not _TYPE.fullmatch(named):
        near = did_you_mean(named, known_types())
        raise UsageError(
            f"deploy.resources.instance: '{named[:60]}' is no machine type of Google",
            hint=f"did you mean '{near}'?" if near else f"take one like {_some(rows)}",
        )
    if named is not None:
        known = [one for one in rows if one.type == named]
        if known or settings.accelerator is None:
            of_all = [one for family in (_PLAIN, *_WITH.values()) for one in family]
            found = known or [one for one in of_all if one.type == named and one.count]
            return found[0] if found else Machine(type=named)
        raise UsageError(
            f"deploy.resources: '{named}' has no '{settings.accelerator}'",
            hint=f"leave 'instance' out, or take {_some(rows)}",
        )
    cpu, memory_gib = settings.cpu or 0, (settings.memory_bytes or 0) / GIB
    fitting = [one for one in rows if one.cpu >= cpu and one.memory_gib >= memory_gib]
    if not fitting:
        raise UsageError(
            f"deploy.resources: no machine of the table has {cpu:g} processors and "
            f"{memory_gib:g} GiB",
            hint=f"name one as 'instance'; the table ends with {rows[-1].describe()}",
        )
    return min(fitting, key=lambda one: (one.cpu, one.memory_gib))


def _candidates(settings: DeploySettings) -> tuple[Machine, ...]:
    if settings.accelerator is None:
        return _PLAIN
    kind = _SAME.get(settings.accelerator_kind or "", settings.accelerator_kind or "")
    if kind not in _WITH:
        near = did_you_mean(kind, sorted(_WITH))
        raise UsageError(
            f"deploy.resources.accelerator: no machine of the table has '{settings.accelerator}'",
            hint=f"did you mean '{near}'?" if near else f"it has {', '.join(sorted(_WITH))}",
        )
    rows = tuple(one for one in _WITH[kind] if one.count == settings.accelerator_count)
    if not rows:
        counts = ", ".join(str(one) for one in sorted({one.count for one in _WITH[kind]}))
        raise UsageError(
            f"deploy.resources.accelerator: a machine has {counts} of '{kind}', "
            f"not {settings.accelerator_count}",
            hint="take one of these counts",
        )
    return rows


def _some(rows: tuple[Machine, ...]) -> str:
    return ", ".join(one.type for one in rows[:3])
