"""The counts of an api in Triton's words.

    Reading ──statistics_of──► ModelStatistics

``inference_count`` is rows, ``execution_count`` batches: their quotient is the mean batch.  What is
measured for batches alone (``compute_infer``) stands once for each batch.  Triton, statistics
extension.
"""

from __future__ import annotations

from modelpack.server.faces.catalog import Served
from modelpack.server.grpc.messages import Message, message
from modelpack.server.observe.stats import Reading

_Statistics = message("inference.ModelStatistics")


def statistics_of(served: Served, version: str, reading: Reading) -> Message:
    """Return what a model has answered."""
    stats, batches = reading.stats, reading.batches
    answered = sum(count for status, count in stats.statuses.items() if status < 400)
    failed = sum(count for status, count in stats.statuses.items() if status >= 400)
    ran = sum(stats.queue_buckets)
    found = _Statistics(name=served.name, version=version, inference_count=stats.rows)
    found.execution_count = answered if batches is None else batches.batches
    times = found.inference_stats
    # Times are not kept apart by how a request ended: each has the mean.
    mean_s = stats.seconds / (answered + failed) if answered + failed else 0.0
    _set(times.success, answered, answered * mean_s)
    _set(times.fail, failed, failed * mean_s)
    _set(times.queue, ran, stats.queue_s)
    if batches is not None:
        _set(times.compute_infer, batches.batches, batches.run_s)
    return found


def _set(duration: Message, count: int, seconds: float) -> None:
    duration.count, duration.ns = count, int(seconds * 1e9)
