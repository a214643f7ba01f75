"""Watches a revision that gets a share of the calls, by what Cloud Logging says of its requests.

    bake(seconds) ──every few seconds──► requests of the revision, those that failed ──► too many: DeployError

A canary does not hold when more than 5 in 100 of its requests end with a status of the 5xx kind, five
requests at least.  Without requests there is nothing that speaks against it.  Source: Cloud Logging,
``LogEntry.httpRequest``.
"""

from __future__ import annotations

from typing import Any

from modelpack.errors import DeployError
from modelpack_gcp.session import Google

MOST_FAILED = 0.05
FEWEST = 5
_EVERY_S = 15.0
_PAGE = 1000


def bake(google: Google, chosen: str, unit: str, seconds: float) -> None:
    """Watch for so long; raises DeployError as soon as the revision does not hold.

    chosen  filter of Cloud Logging for the requests of the revision
    """
    clock = google.clock
    deadline = clock.now() + seconds
    while True:
        left = deadline - clock.now()
        clock.sleep(max(0.0, min(_EVERY_S, left)))
        asked: dict[str, Any] = {
            "resourceNames": [f"projects/{google.project}"],
            "filter": chosen,
            "orderBy": "timestamp desc",
            "pageSize": _PAGE,
        }
        page = google.call("logging.entries.list", "read the log of requests", asked)
        statuses = [
            int((one.get("httpRequest") or {}).get("status") or 0)
            for one in page.get("entries") or ()
        ]
        failed = sum(status >= 500 for status in statuses)
        if failed >= FEWEST and failed > MOST_FAILED * len(statuses):
            raise DeployError(
                f"the revision '{unit}' does not hold: {failed} of its last {len(statuses)} "
                "requests failed",
                hint="see 'modelpack deployments logs'",
            )
        if clock.now() >= deadline:
            return
