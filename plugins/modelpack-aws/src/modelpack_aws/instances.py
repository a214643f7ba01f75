"""Instance types of EC2, and which of them a deployment gets.

    cpu, memory, accelerator ──choose──► the cheapest type of the table that holds them, and why

A table and no call: the same spec gives the same plan with and without credentials.  Any type of AWS
(``offered``) may be named; what it has is then said by whoever named it, where the table does not
know it.
Processors, memory and devices: ``DescribeInstanceTypes`` of the EC2 API.  Prices: Amazon EC2 on-demand
list, Linux, US East (N. Virginia), as of ``PRICES_OF``, to compare types with each other; what AWS
charges is on its own pages.  A price of None is one that has moved since.

SageMaker offers most of these under the prefix ``ml.``, at other prices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.errors import UsageError, did_you_mean
from modelpack_aws.wanted import GIB, MIB, Accelerator

PRICES_OF = "mid-2025"

HEADROOM_BYTES = 768 * MIB
"""What the system, the container engine and the agents of an instance take of its memory."""

_TYPE = re.compile(r"(?:ml\.)?[a-z][a-z0-9-]{1,15}\.[a-z0-9-]{2,16}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance type."""

    name: str
    cpu: int
    """Virtual processors."""
    memory_mib: int
    accelerator: str | None = None
    """Kind of its devices, such as ``nvidia-l4``."""
    devices: int = 0
    device_mib: int = 0
    """Memory of one device."""
    usd_hour: float | None = None
    """List price of an hour; None: not known."""

    @property
    def is_gpu(self) -> bool:
        """True when its devices are NVIDIA's."""
        return (self.accelerator or "").startswith("nvidia-")

    @property
    def is_neuron(self) -> bool:
        """True when its devices are AWS's own, which the Neuron driver runs."""
        return (self.accelerator or "").startswith("aws-")

    def describe(self) -> str:
        """Return what it has, for people."""
        parts = [f"{self.cpu} vCPU", f"{self.memory_mib / 1024:g} GiB"]
        if self.accelerator:
            parts.append(f"{self.devices} x {self.accelerator} ({self.device_mib / 1024:.0f} GiB)")
        return ", ".join(parts)


TABLE = (
    Instance("t3.small", 2, 2048, usd_hour=0.0208),
    Instance("t3.medium", 2, 4096, usd_hour=0.0416),
    Instance("t3.large", 2, 8192, usd_hour=0.0832),
    Instance("c7i.large", 2, 4096, usd_hour=0.08925),
    Instance("m7i.large", 2, 8192, usd_hour=0.1008),
    Instance("r7i.large", 2, 16384, usd_hour=0.1323),
    Instance("c7i.xlarge", 4, 8192, usd_hour=0.1785),
    Instance("m7i.xlarge", 4, 16384, usd_hour=0.2016),
    Instance("r7i.xlarge", 4, 32768, usd_hour=0.2646),
    Instance("c7i.2xlarge", 8, 16384, usd_hour=0.357),
    Instance("m7i.2xlarge", 8, 32768, usd_hour=0.4032),
    Instance("r7i.2xlarge", 8, 65536, usd_hour=0.5292),
    Instance("c7i.4xlarge", 16, 32768, usd_hour=0.714),
    Instance("m7i.4xlarge", 16, 65536, usd_hour=0.8064),
    Instance("r7i.4xlarge", 16, 131072, usd_hour=1.0584),
    Instance("c7i.8xlarge", 32, 65536, usd_hour=1.428),
    Instance("m7i.8xlarge", 32, 131072, usd_hour=1.6128),
    Instance("g4dn.xlarge", 4, 16384, "nvidia-t4", 1, 16384, 0.526),
    Instance("g4dn.2xlarge", 8, 32768, "nvidia-t4", 1, 16384, 0.752),
    Instance("g4dn.12xlarge", 48, 196608, "nvidia-t4", 4, 16384, 3.912),
    Instance("g6.xlarge", 4, 16384, "nvidia-l4", 1, 22888, 0.8048),
    Instance("g6.2xlarge", 8, 32768, "nvidia-l4", 1, 22888, 0.9776),
    Instance("g6.12xlarge", 48, 196608, "nvidia-l4", 4, 22888, 4.6016),
    Instance("g6.48xlarge", 192, 786432, "nvidia-l4", 8, 22888, 13.3504),
    Instance("g5.xlarge", 4, 16384, "nvidia-a10g", 1, 22888, 1.006),
    Instance("g5.2xlarge", 8, 32768, "nvidia-a10g", 1, 22888, 1.212),
    Instance("g5.4xlarge", 16, 65536, "nvidia-a10g", 1, 22888, 1.624),
    Instance("g5.12xlarge", 48, 196608, "nvidia-a10g", 4, 22888, 5.672),
    Instance("g5.48xlarge", 192, 786432, "nvidia-a10g", 8, 22888, 16.288),
    Instance("g6e.xlarge", 4, 32768, "nvidia-l40s", 1, 45776, 1.861),
    Instance("g6e.2xlarge", 8, 65536, "nvidia-l40s", 1, 45776, 2.24208),
    Instance("g6e.12xlarge", 48, 393216, "nvidia-l40s", 4, 45776, 10.49264),
    Instance("g6e.48xlarge", 192, 1572864, "nvidia-l40s", 8, 45776, 30.13118),
    Instance("p4d.24xlarge", 96, 1179648, "nvidia-a100", 8, 40960),
    Instance("p4de.24xlarge", 96, 1179648, "nvidia-a100", 8, 81920),
    Instance("p5.4xlarge", 16, 262144, "nvidia-h100", 1, 81920),
    Instance("p5.48xlarge", 192, 2097152, "nvidia-h100", 8, 81920),
    Instance("inf1.xlarge", 4, 8192, "aws-inferentia", 1, 8192, 0.228),
    Instance("inf1.6xlarge", 24, 49152, "aws-inferentia", 4, 8192, 1.18),
    Instance("inf2.xlarge", 4, 16384, "aws-inferentia2", 1, 32768, 0.7582),
    Instance("inf2.8xlarge", 32, 131072, "aws-inferentia2", 1, 32768, 1.96786),
    Instance("inf2.24xlarge", 96, 393216, "aws-inferentia2", 6, 32768, 6.49063),
    Instance("inf2.48xlarge", 192, 786432, "aws-inferentia2", 12, 32768, 12.98127),
    Instance("trn1.2xlarge", 8, 32768, "aws-trainium", 1, 32768, 1.34375),
    Instance("trn1.32xlarge", 128, 524288, "aws-trainium", 16, 32768, 21.5),
)

KINDS = tuple(sorted({one.accelerator for one in TABLE if one.accelerator}))
"""Every accelerator that the table has."""

_BY_NAME = {one.name: one for one in TABLE}
_ANY = {"gpu": "nvidia-", "nvidia": "nvidia-", "inferentia": "aws-inferentia", "neuron": "aws-"}
"""Words for several kinds, and what their names begin with."""

_GONE = ("elastic-inference", "eia", "eia1", "eia2")


@dataclass(frozen=True, slots=True)
class Choice:
    """An instance type, and why it is that one."""

    instance: Instance
    why: str


def choose(
    *,
    cpu: float | None = None,
    memory_bytes: int | None = None,
    accelerator: Accelerator | None = None,
    instance: str | None = None,
    headroom_bytes: int = HEADROOM_BYTES,
    among: Sequence[Instance] = TABLE,
) -> Choice:
    """Return the named type, or for ``auto`` and None the cheapest one that holds what is asked for.

    cpu, memory_bytes  of one replica, for which one instance is used; None: whatever there is
    headroom_bytes     of the memory of an instance is not the replica's
    among              types that there are where it shall run

    Raises UsageError when no type of the table does, or the named one has too little.
    """
    memory = (memory_bytes or GIB) + headroom_bytes
    if instance is not None and instance != "auto":
        return _named(instance, cpu, memory, accelerator)
    kinds = _kinds(accelerator)
    fitting = [
        one
        for one in among
        if one.cpu >= (cpu or 0)
        and one.memory_mib * MIB >= memory
        and _has(one, kinds, accelerator.count if accelerator else 0)
    ]
    if not fitting:
        raise UsageError(
            f"no instance type has {_asked(cpu, memory_bytes, accelerator)}",
            hint="name one with 'deploy.instance', or ask for less",
        )
    # Types without a price come last: nobody gets the dearest one by chance.
    best = min(fitting, key=lambda one: (one.usd_hour is None, one.usd_hour or 0, one.memory_mib))
    return Choice(best, f"the cheapest with {_asked(cpu, memory_bytes, accelerator)}")


def known(name: str) -> Instance | None:
    """Return a type of the table, with or without the prefix ``ml.``."""
    return _BY_NAME.get(name.removeprefix("ml."))


def _named(name: str, cpu: float | None, memory: int, accelerator: Accelerator | None) -> Choice:
    if not _TYPE.fullmatch(name):
        near = did_you_mean(name, _BY_NAME)
        raise UsageError(
            f"deploy.instance: '{name[:40]}' is no instance type",
            hint=f"did you mean '{near}'?" if near else "write one such as 'm7i.large', or 'auto'",
        )
    found = known(name)
    if found is None:
        kinds = _kinds(accelerator)
        devices = accelerator.count if accelerator else 0
        what = kinds[0] if kinds else None
        return Choice(Instance(name, 0, 0, what, devices), "named; it is not in our table")
    lacks = []
    if cpu and found.cpu < cpu:
        lacks.append(f"{found.cpu} vCPU")
    if found.memory_mib * MIB < memory:
        lacks.append(f"{found.memory_mib / 1024:g} GiB, some of it for the system")
    if accelerator and not _has(found, _kinds(accelerator), accelerator.count):
        lacks.append(
            f"{found.devices} x {found.accelerator}" if found.devices else "no accelerator"
        )
    if lacks:
        raise UsageError(
            f"'{name}' has {', '.join(lacks)}: too little for what is asked for",
            hint="set 'deploy.instance' to 'auto', or ask for less",
        )
    return Choice(found, "named")


def _has(one: Instance, kinds: tuple[str, ...], count: int) -> bool:
    """Return whether it has that many devices of one of the kinds; without kinds, none at all."""
    if not kinds:
        return one.accelerator is None
    return one.accelerator in kinds and one.devices >= count


def _kinds(accelerator: Accelerator | None) -> tuple[str, ...]:
    """Return the kinds of the table that are meant; raises UsageError for one AWS does not have."""
    if accelerator is None:
        return ()
    asked = accelerator.kind.lower()
    if asked in _GONE:
        raise UsageError(
            "AWS has ended Elastic Inference",
            hint="ask for 'inferentia2:1' or 'nvidia-t4:1' in 'deploy.accelerator'",
        )
    if asked in _ANY:
        return tuple(kind for kind in KINDS if kind.startswith(_ANY[asked]))
    for kind in (asked, f"nvidia-{asked}", f"aws-{asked}"):
        if kind in KINDS:
            return (kind,)
    near = did_you_mean(asked, KINDS)
    raise UsageError(
        f"deploy.accelerator: AWS has no '{accelerator.kind[:40]}'",
        hint=f"did you mean '{near}'?" if near else f"it has {', '.join(KINDS)}",
    )


def _asked(cpu: float | None, memory_bytes: int | None, accelerator: Accelerator | None) -> str:
    parts = [f"{cpu:g} vCPU"] if cpu else []
    parts.append(f"{(memory_bytes or GIB) / GIB:g} GiB for the service")
    if accelerator:
        parts.append(f"{accelerator.count} x {accelerator.kind}")
    return ", ".join(parts)
