"""The regions of Google that we know, and what Cloud Run costs there.

    "europe-west2" ──tier──► 2        "us-centrall1" ──doubt──► "…did you mean 'us-central1'?"

The table grows older than the regions: one that is not in it is doubted in the plan and not refused.
Source: Cloud Run documentation, "Locations" (regions by tier of prices), 2026.
"""

from __future__ import annotations

from modelpack.errors import did_you_mean

TIER_1 = frozenset(
    {
        "asia-east1", "asia-northeast1", "asia-northeast2", "europe-north1", "europe-southwest1",
        "europe-west1", "europe-west4", "europe-west8", "europe-west9", "me-west1", "us-central1",
        "us-east1", "us-east4", "us-east5", "us-south1", "us-west1",
    }
)  # fmt: skip
TIER_2 = frozenset(
    {
        "africa-south1", "asia-east2", "asia-northeast3", "asia-south1", "asia-south2",
        "asia-southeast1", "asia-southeast2", "australia-southeast1", "australia-southeast2",
        "europe-central2", "europe-west10", "europe-west12", "europe-west2", "europe-west3",
        "europe-west6", "me-central1", "me-central2", "northamerica-northeast1",
        "northamerica-northeast2", "southamerica-east1", "southamerica-west1", "us-west2",
        "us-west3", "us-west4",
    }
)  # fmt: skip


def tier(region: str | None) -> int | None:
    """Return in which tier of Cloud Run's prices a region is, 1 or 2; None: not in the table."""
    if region in TIER_1:
        return 1
    return 2 if region in TIER_2 else None


def doubt(region: str | None) -> str | None:
    """Return what is to be said of a region that is not in the table; None for the others."""
    if region is None or tier(region) is not None:
        return None
    near = did_you_mean(region, sorted(TIER_1 | TIER_2))
    more = f"; did you mean '{near}'?" if near else ""
    return f"the region '{region}' is not in our table of 2026: Google will say whether it is{more}"
