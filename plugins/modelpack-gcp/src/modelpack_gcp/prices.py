"""About what a deployment costs an hour, where a table says so.

    RunSize, replicas, region ──of_instances──► Cost | None       Cloud Run
    Machine, replicas         ──of_machines───► Cost | None       Vertex AI

List prices in US dollars, without free tiers, discounts, network and storage.  An instance of Cloud Run
that is kept while nobody asks, and one of the billing by instance, is counted as always active: what is
said is the most that the least number of replicas costs.  None is said rather than a guess.

Sources, as of the dates in the notes: cloud.google.com/run/pricing (processors and memory by tier; the L4
in us-central1, with and without zonal redundancy); cloud.google.com/vertex-ai/pricing (machines of
inference in us-central1).  In no table here: whole instances in regions of tier 2, a T4 beside an N1, an
RTX PRO 6000 on Cloud Run, and spot machines, whose prices move.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.deploy import Cost
from modelpack_gcp.regions import tier
from modelpack_gcp.sizes import Machine, RunSize

_HOUR_S = 3600

_BY_INSTANCE: Mapping[int, tuple[float, float]] = {1: (0.000018, 0.000002)}
_BY_REQUEST: Mapping[int, tuple[float, float]] = {
    1: (0.000024, 0.0000025),
    2: (0.0000336, 0.0000035),
}
"""USD a second of one processor, and of one GiB, by tier."""

_L4_S, _L4_REDUNDANT_S = 0.0001867, 0.0002909
RUN_DATE, VERTEX_DATE = "2026-08", "2026-07"

MACHINES: Mapping[str, float] = {
    "n1-standard-2": 0.1095, "n1-standard-4": 0.219, "n1-standard-8": 0.438,
    "n1-standard-16": 0.876,
    "g2-standard-4": 0.8129, "g2-standard-8": 0.9818, "g2-standard-12": 1.1507,
    "g2-standard-16": 1.3196, "g2-standard-24": 2.3014, "g2-standard-32": 1.9951,
    "g2-standard-48": 4.6028, "g2-standard-96": 9.2055,
    "a2-highgpu-1g": 4.2245, "a2-highgpu-2g": 8.449, "a2-highgpu-4g": 16.898,
    "a2-highgpu-8g": 33.796,
    "a2-ultragpu-1g": 5.7818, "a2-ultragpu-2g": 11.5637, "a2-ultragpu-4g": 23.1274,
    "a2-ultragpu-8g": 46.2548,
    "a3-highgpu-1g": 12.6259, "a3-highgpu-2g": 25.2518, "a3-highgpu-4g": 50.5037,
    "a3-highgpu-8g": 101.0074,
}  # fmt: skip
"""USD an hour of a machine with its accelerators, if it has them built in; us-central1."""


def of_instances(
    size: RunSize,
    replicas: int,
    *,
    region: str | None = None,
    by_instance: bool = False,
    is_redundant: bool = False,
) -> Cost | None:
    """Return what so many instances of Cloud Run cost; None: none is kept, or no table says.

    region       None, or one that is not in the table: tier 1 is taken, and the note says so
    by_instance  billing of whole instances; always so with an accelerator
    """
    if replicas == 0 or size.accelerator not in (None, "nvidia-l4"):
        return None
    known = tier(region)
    table = _BY_INSTANCE if by_instance or size.accelerator else _BY_REQUEST
    prices = table.get(known or 1)
    if prices is None:
        return None
    cpu_s, gib_s = prices
    each_s = size.cpu * cpu_s + size.memory_mib / 1024 * gib_s
    if size.accelerator:
        each_s += _L4_REDUNDANT_S if is_redundant else _L4_S
    how = "always" if table is _BY_INSTANCE else "while it answers, less while it waits"
    where = f"tier {known}" if known else "tier 1, whatever the region's"
    if size.accelerator:
        where += ", the accelerator as in us-central1"
    note = f"{replicas} x {size.describe()}, {how}; Cloud Run, {where}, list prices of {RUN_DATE}"
    return Cost(usd_per_hour=round(each_s * _HOUR_S * replicas, 4), note=note)


def of_machines(machine: Machine, replicas: int, *, spot: bool = False) -> Cost | None:
    """Return what so many machines of Vertex AI cost; None where no table says."""
    is_beside = machine.accelerator is not None and machine.type.startswith("n1-")
    price = MACHINES.get(machine.type)
    if price is None or spot or is_beside:
        return None
    note = f"{replicas} x {machine.type}; Vertex AI, us-central1, list prices of {VERTEX_DATE}"
    return Cost(usd_per_hour=round(price * replicas, 4), note=note)
