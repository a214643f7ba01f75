"""Moves one thing with all that belongs to it from a source to a target.

    read_graph ──► begin ──► blobs, several at once, big ones first ──► finish: shown

What always holds: nothing is shown at the target before all of it is there; when one part fails,
the others are stopped and nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from modelpack.registry.base import Graph, Outcome, Source, Target, read_graph
from modelpack.registry.counts import Counts, StoppedError
from modelpack.registry.reader import BlobReader
from modelpack.store.durable import Blob

JOBS = 4
"""Blobs that move at the same time."""


def transfer(source: Source, target: Target, counts: Counts, *, jobs: int = JOBS) -> Graph:
    """Move what ``source`` gives to ``target`` and return what that was.

    Raises whatever of ``modelpack.errors`` the two of them raise.
    """
    graph = read_graph(source, target)
    counts.total_bytes = sum(blob.size for blob in (*graph.blobs, *graph.referrer_blobs))
    brought: set[str] = set()

    def bring(blob: Blob) -> None:
        if blob.digest in brought:
            return
        brought.add(blob.digest)
        reader = BlobReader(
            blob, lambda offset: source.chunks(blob, offset), source=f"'{source.name}'"
        )
        try:
            outcome = target.put(reader, source.place)
        finally:
            reader.close()
        if outcome is not Outcome.MOVED:
            counts.saved(blob.size, is_mounted=outcome is Outcome.MOUNTED)

    with target.open(graph):
        wanted = [*graph.referrer_blobs]
        if target.begin(graph, bring):
            counts.saved(sum(blob.size for blob in graph.blobs))
        else:
            wanted += graph.blobs
        wanted.sort(key=lambda blob: blob.size, reverse=True)
        _bring_all(wanted, bring, counts, jobs)
        target.finish(graph)
    return graph


def _bring_all(
    blobs: Iterable[Blob], bring: Callable[[Blob], None], counts: Counts, jobs: int
) -> None:
    """Bring all blobs; raises what the first failure raised, after the others have ended."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="transfer") as crew:
        futures: list[Future[None]] = [crew.submit(bring, blob) for blob in blobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # interrupted: let nobody go on for gigabytes
            _stop(futures, counts)
            raise
        if any(future.exception() for future in done):
            _stop(futures, counts)
    failures = [future.exception() for future in futures if not future.cancelled()]
    first = [failure for failure in failures if failure is not None]
    if first:  # whoever was only stopped is not the reason
        raise min(first, key=lambda failure: isinstance(failure, StoppedError))


def _stop(futures: Iterable[Future[None]], counts: Counts) -> None:
    counts.stop()
    for future in futures:
        future.cancel()
