"""Instances that SageMaker has: those of the table with ``ml.`` in front, but not all of them.

    Wanted ──hosted_on──► Hosted(type, vcpu, why)

What SageMaker offers is the enumeration of its own API (``ProductionVariantInstanceType`` and
``TransformInstanceType``); a test compares it with what stands here.  Prices are those of EC2, and
so only rank the types: SageMaker's are higher.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.errors import UsageError
from modelpack_aws.instances import TABLE, choose
from modelpack_aws.wanted import Wanted

PREFIX = "ml."

NOT_HOSTED = frozenset({"t3.small", "t3.medium", "t3.large"})
"""Types of the table that endpoints do not have."""

NOT_FOR_JOBS = NOT_HOSTED | {
    "inf1.6xlarge",
    "inf1.xlarge",
    "p4d.24xlarge",
    "p4de.24xlarge",
    "p5.48xlarge",
    "p5.4xlarge",
}
"""Types of the table that batch transform does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """An instance type of SageMaker."""

    type: str
    """With ``ml.`` in front."""
    vcpu: int
    """Its processors; 1 for a type that our table does not know."""
    why: str
    """What it has and why it was taken, for people."""


def hosted_on(wanted: Wanted, *, for_jobs: bool = False) -> Hosted:
    """Return the instance of a deployment; raises UsageError when SageMaker has none that fits."""
    missing = NOT_FOR_JOBS if for_jobs else NOT_HOSTED
    instance = wanted.instance
    if instance is not None and instance.removeprefix(PREFIX) in missing:
        what = "batch transform" if for_jobs else "an endpoint"
        raise UsageError(
            f"'{instance}' is no instance type of {what} of SageMaker",
            hint="name another one, or set 'deploy.instance' to 'auto'",
        )
    choice = choose(
        cpu=wanted.cpu,
        memory_bytes=wanted.memory_bytes,
        accelerator=wanted.accelerator,
        instance=instance,
        among=[one for one in TABLE if one.name not in missing],
    )
    found = choice.instance
    name = PREFIX + found.name.removeprefix(PREFIX)
    has = f" ({found.describe()})" if found.cpu else ""
    return Hosted(type=name, vcpu=max(1, found.cpu), why=f"{name}{has}, {choice.why}")
