"""Regions are known by a table, and what is not in it is doubted."""

from __future__ import annotations

from modelpack_gcp.regions import TIER_1, TIER_2, doubt, tier
from modelpack_gcp.target import CloudRunTarget

from modelpack.deploy import rollout

from .google_parts import Kind
from .google_run import FakeRun


def test_a_region_is_in_one_tier() -> None:
    assert not TIER_1 & TIER_2
    assert (tier("europe-west1"), tier("europe-west2"), tier("europe-west99")) == (1, 2, None)
    assert tier(None) is None


def test_a_region_that_nobody_knows_is_doubted_and_not_refused() -> None:
    assert doubt("europe-west1") is None
    assert doubt(None) is None
    assert "did you mean 'us-central1'?" in str(doubt("us-centrall1"))
    assert "did you mean" not in str(doubt("qqq-xyzzy9"))


def test_the_plan_says_it() -> None:
    google = FakeRun()
    try:
        target = Kind(CloudRunTarget).at(google)
        plan = rollout.plan_deployment(
            target, Kind(CloudRunTarget).spec(region="us-centrall1"), offline=True
        )
    finally:
        google.close()

    assert any("did you mean 'us-central1'?" in one for one in plan.warnings)
