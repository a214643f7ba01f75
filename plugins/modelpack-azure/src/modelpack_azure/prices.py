"""About what a deployment costs while it stands.

    Size x replicas    ──of_replicas──► Cost    Container Apps, profile "Consumption"
    machine x number   ──of_machines──► Cost    managed online endpoints: the price of the machine

Sources: Azure's own price pages were not read.  A second of a processor and of a GiB (Container Apps, active
usage) is that of a public cost estimate of 2025, a machine that of a public catalogue of virtual machines of
2024, which is what Azure ML charges: pay as you go, Linux, East US, without the free grant of each month.  Most other
regions cost more, in the United States alone up to a third.  Workload profiles are not here: their
machines belong to the environment, and those with GPUs have a price a second that we have not seen.

What is said is the most that the least number of replicas costs.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.deploy import Cost
from modelpack_azure.sizes import Size

_HOUR_S = 3600
_CPU_S, _GIB_S = 0.000024, 0.000003
_REPLICAS = "Container Apps, East US, list prices of 2025"
_MACHINES = "Azure ML, East US, list prices of 2024"

USD_HOUR: Mapping[str, float] = {
    "Standard_DS2_v2": 0.146,
    "Standard_DS3_v2": 0.293,
    "Standard_DS4_v2": 0.585,
    "Standard_DS5_v2": 1.17,
    "Standard_E4s_v3": 0.252,
    "Standard_E8s_v3": 0.504,
    "Standard_E16s_v3": 1.008,
    "Standard_E32s_v3": 2.016,
    "Standard_F2s_v2": 0.0846,
    "Standard_F4s_v2": 0.169,
    "Standard_F8s_v2": 0.338,
    "Standard_F16s_v2": 0.677,
    "Standard_F32s_v2": 1.353,
    "Standard_NC4as_T4_v3": 0.526,
    "Standard_NC8as_T4_v3": 0.752,
    "Standard_NC16as_T4_v3": 1.204,
    "Standard_NC64as_T4_v3": 4.352,
    "Standard_NC24ads_A100_v4": 3.673,
    "Standard_NC48ads_A100_v4": 7.346,
    "Standard_NC96ads_A100_v4": 14.692,
}
"""Of a machine, US dollars an hour."""


def of_replicas(size: Size, number: int) -> Cost | None:
    """Return what so many replicas of a size cost; None for none at all."""
    if number == 0:
        return None
    one = (size.cpu * _CPU_S + size.gib * _GIB_S) * _HOUR_S
    what = f"{number} x {size.cpu:g} processors and {size.gib:g} GiB, while it answers, less while it waits"
    return Cost(usd_per_hour=round(one * number, 4), note=f"{what}; {_REPLICAS}")


def of_machines(machine: str, number: int) -> Cost | None:
    """Return what so many machines of a type cost; None for a type that the table has not."""
    price = USD_HOUR.get(machine)
    if price is None:
        return None
    return Cost(usd_per_hour=round(price * number, 4), note=f"{number} x {machine}; {_MACHINES}")
