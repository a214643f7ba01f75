"""What a deployment costs is said where a table has it, and never guessed."""

from __future__ import annotations

import pytest
from modelpack_gcp.prices import MACHINES, of_instances, of_machines
from modelpack_gcp.session import Session
from modelpack_gcp.sizes import Machine, RunSize, known_types, machine_for
from modelpack_gcp.target import CloudRunTarget

from modelpack.deploy import DeploySettings, rollout
from modelpack.testing import spec_of

from .google_run import FakeRun

SMALL = RunSize(cpu=1, memory_mib=2048)
L4 = RunSize(cpu=4, memory_mib=16 * 1024, accelerator="nvidia-l4")


def test_an_instance_costs_its_processors_and_memory() -> None:
    cost = of_instances(SMALL, 1, region="us-central1")

    assert cost is not None
    assert cost.usd_per_hour == round((0.000024 + 2 * 0.0000025) * 3600, 4) == 0.1044
    assert cost.note == (
        "1 x 1 vCPU and 2 GiB, while it answers, less while it waits; Cloud Run, tier 1, "
        "list prices of 2026-08"
    )


def test_regions_of_tier_2_cost_more() -> None:
    cost = of_instances(SMALL, 3, region="europe-west2")

    assert cost is not None
    assert cost.usd_per_hour == round(3 * (0.0000336 + 2 * 0.0000035) * 3600, 4)
    assert "tier 2" in cost.note


def test_a_region_that_is_not_said_is_taken_for_tier_1_and_the_note_says_so() -> None:
    cost = of_instances(SMALL, 1)

    assert cost is not None
    assert "tier 1, whatever the region's" in cost.note


def test_an_l4_is_paid_by_instance_and_costs_more_in_several_zones() -> None:
    one, other = (
        of_instances(L4, 1, region="us-central1", is_redundant=redundant)
        for redundant in (False, True)
    )

    assert one is not None
    assert other is not None
    assert one.usd_per_hour == round((4 * 0.000018 + 16 * 0.000002 + 0.0001867) * 3600, 4)
    assert other.usd_per_hour == pytest.approx(
        one.usd_per_hour + (0.0002909 - 0.0001867) * 3600, abs=1e-4
    )
    assert "always" in one.note


def test_what_no_table_says_is_not_said() -> None:
    rtx = RunSize(cpu=20, memory_mib=80 * 1024, accelerator="nvidia-rtx-pro-6000")

    assert of_instances(rtx, 1, region="us-central1") is None
    assert of_instances(SMALL, 1, region="europe-west2", by_instance=True) is None
    assert of_instances(SMALL, 0, region="us-central1") is None
    assert of_machines(Machine(type="x9-standard-1"), 1) is None
    assert of_machines(machine_for(DeploySettings(accelerator="nvidia-t4:1")), 1) is None
    assert of_machines(machine_for(DeploySettings()), 1, spot=True) is None


def test_machines_cost_by_their_number() -> None:
    cost = of_machines(machine_for(DeploySettings(accelerator="nvidia-l4:1")), 2)

    assert cost is not None
    assert cost.usd_per_hour == 2 * 0.8129
    assert cost.note == "2 x g2-standard-4; Vertex AI, us-central1, list prices of 2026-07"


def test_prices_are_of_machines_that_there_are() -> None:
    assert set(MACHINES) <= set(known_types())


def test_the_region_of_the_environment_counts_where_google_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_REGION", "europe-west2")
    google = FakeRun()
    try:
        session = Session(project_id="demo-project", endpoint=google.url, credentials="none")
        target = CloudRunTarget(google=session)
        asked = rollout.plan_deployment(target, spec_of())
        offline = rollout.plan_deployment(target, spec_of(), offline=True)
    finally:
        google.close()

    assert "tier 2" in asked.describe()
    assert "whatever the region's" in offline.describe()
