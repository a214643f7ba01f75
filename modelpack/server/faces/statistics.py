"""The counts of the apis in the words of Triton: what its clients and dashboards look at.

    Catalog.gather() ──► readings of all processes ──statistics──► [{"name", "inference_count", …}]

``inference_count / execution_count`` is the mean size of a batch, in rows.  All counts go on through
hot swaps, as the metrics do.  Source: Triton's statistics extension; times are in nanoseconds,
``last_inference`` in milliseconds since 1970.

What Triton has and this server has not stays 0: caches, and the preparing of inputs and outputs,
which is part of the run here.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter, time
from typing import Any

from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.observe.stats import ApiStats, Reading

_NOTHING = {"count": 0, "ns": 0}
_OK = 200


async def statistics(catalog: Catalog, models: Iterable[Served]) -> list[dict[str, Any]]:
    """Return what was counted of models, by all processes of the server together."""
    found = await catalog.gather() if catalog.gather is not None else None
    readings = found.readings if found is not None else []
    by_api = {one.stats.name: one for one in readings}
    return [
        _of(one.name, catalog.version, by_api.get(one.api.name) or one.endpoint.reading())
        for one in models
    ]


def _of(name: str, version: str, reading: Reading) -> dict[str, Any]:
    stats, batches = reading.stats, reading.batches
    answered = stats.statuses.get(_OK, 0)
    failed = sum(stats.statuses.values()) - answered
    ran = sum(stats.queue_buckets)
    run_s = batches.run_s if batches is not None else stats.seconds - stats.overhead_s
    executions = batches.batches if batches is not None and batches.batches else answered
    return {
        "name": name,
        "version": version,
        "last_inference": _milliseconds(stats),
        "inference_count": stats.rows,
        "execution_count": executions,
        "inference_stats": {
            "success": _duration(answered, stats.seconds - stats.failed_s),
            "fail": _duration(failed, stats.failed_s),
            "queue": _duration(ran, stats.queue_s),
            "compute_input": _NOTHING,
            "compute_infer": _duration(executions, run_s),
            "compute_output": _NOTHING,
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "response_stats": {},
        "batch_stats": _batches(reading),
        "memory_usage": [],
    }


def _batches(reading: Reading) -> list[dict[str, Any]]:
    batches = reading.batches
    if batches is None:
        return []
    return [
        {
            "batch_size": rows,
            "compute_input": _NOTHING,
            "compute_infer": _duration(count, batches.size_s.get(rows, 0.0)),
            "compute_output": _NOTHING,
        }
        for rows, count in sorted(batches.size_counts.items())
    ]


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(max(0.0, seconds) * 1e9) if count else 0}


def _milliseconds(stats: ApiStats) -> int:
    if not stats.last_s:
        return 0
    return round((time() - (perf_counter() - stats.last_s)) * 1000)
