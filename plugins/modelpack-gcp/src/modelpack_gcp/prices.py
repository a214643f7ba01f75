"""About what an instance of Cloud Run costs while it is there.

Source: cloud.google.com/run/pricing, Tier 1 regions, list prices of 2025, without the free tier.  An
instance that is kept while nobody asks, and one of the billing by instance, is counted as always
active: what is said is the most that the least number of replicas costs.
"""

from __future__ import annotations

from modelpack.deploy import Cost
from modelpack_gcp.sizes import RunSize

_HOUR_S = 3600
_CPU_S, _GIB_S = 0.000018, 0.000002
_BY_REQUEST_CPU_S, _BY_REQUEST_GIB_S = 0.000024, 0.0000025
NOTE = "Cloud Run, Tier 1 regions, list prices of 2025"


def cost_of(size: RunSize, replicas: int, *, by_instance: bool) -> Cost | None:
    """Return what so many replicas cost an hour; None for accelerators, and for none at all."""
    if replicas == 0 or size.accelerator:
        return None
    cpu_s, gib_s = (_CPU_S, _GIB_S) if by_instance else (_BY_REQUEST_CPU_S, _BY_REQUEST_GIB_S)
    one = (size.cpu * cpu_s + size.memory_mib / 1024 * gib_s) * _HOUR_S
    how = "always" if by_instance else "while it answers, less while it waits"
    note = f"{replicas} x {size.describe()}, {how}; {NOTE}"
    return Cost(usd_per_hour=round(one * replicas, 4), note=note)
