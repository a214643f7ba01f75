"""A plan says what it costs, of when and where the price is, and where no price is known."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.prices import USD_HOUR, of_machines, of_replicas
from modelpack_azure.sizes import MACHINES, Size
from modelpack_azure.target import AzureTarget, ContainerAppsTarget, MlTarget

from modelpack.deploy import rollout
from modelpack.testing import spec_of

from .azure_cases import APPS, ML


def test_every_machine_of_the_table_has_a_price() -> None:
    assert {one.name for one in MACHINES} == set(USD_HOUR)


def test_the_price_is_that_of_all_replicas_for_an_hour() -> None:
    half = of_replicas(Size(0.5, 1.0), 1)
    assert half is not None
    assert half.usd_per_hour == pytest.approx(0.054)
    assert half.usd_per_hour * 730 == pytest.approx(39.4, abs=0.1), "what others reckon a month"
    three = of_replicas(Size(0.5, 1.0), 3)
    assert three is not None
    assert three.usd_per_hour == pytest.approx(3 * half.usd_per_hour)
    assert of_replicas(Size(0.5, 1.0), 0) is None
    assert of_machines("Standard_HB120rs_v3", 1) is None


@pytest.mark.parametrize(
    ("kind", "settings", "cost", "note"),
    [
        (ContainerAppsTarget, {}, 0.054, None),
        (ContainerAppsTarget, {"min_replicas": 3, "cpu": 1.0}, 0.324, None),
        (ContainerAppsTarget, {"min_replicas": 0}, None, "nothing is paid for"),
        (ContainerAppsTarget, {"accelerator": "nvidia-t4:1"}, None, "in no table of ours"),
        (ContainerAppsTarget, {"instance": "big"}, None, "in no table of ours"),
        (MlTarget, {}, 0.0846, None),
        (MlTarget, {"min_replicas": 2, "accelerator": "nvidia-t4:1"}, 1.052, None),
        (MlTarget, {"instance": "Standard_HB120rs_v3"}, None, "in no table of ours"),
    ],
)
def test_a_plan_says_what_it_costs(
    kind: type[AzureTarget], settings: dict[str, Any], cost: float | None, note: str | None
) -> None:
    target = kind(given=ML if kind is MlTarget else APPS)
    plan = rollout.plan_deployment(target, spec_of(**settings), offline=True)
    found = [one.cost for one in plan.changes if one.cost is not None]
    assert [one.usd_per_hour for one in found] == ([] if cost is None else [cost])
    assert all("East US, list prices of 202" in one.note for one in found)
    assert note is None or any(note in one for one in plan.notes), plan.notes
