"""Rows from a file through a service, with no server: the layer behind ``modelpack batch``.

    input ──inputs──► Block ──engine──► Answered ──outputs──► part ──journal──► output
                        ▲                  │                           └ bad rows ──► dead-letter file
                        └──── run: how many rows at a time, in which order, what is done ────┘

    launch     SOURCE ──► how its process is started, in the bundle's own environment
    engine     one such process on this machine; ``cluster``: some on each node of a Ray cluster
    run        ``run_batch(Job)`` ──► Summary

The service runs in a process of its own (``modelpack.server.offline``) with the decoder, the batcher,
the costs and the counters of the server.  What always holds: each row of the input is in the output once
or in the dead-letter file once, whatever ends the run and however often it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelpack.lazy import names_of

if TYPE_CHECKING:
    from modelpack.offline.job import Job
    from modelpack.offline.run import Summary, run_batch

__all__ = ["Job", "Summary", "run_batch"]

_HOMES = {
    "Job": "modelpack.offline.job",
    "Summary": "modelpack.offline.run",
    "run_batch": "modelpack.offline.run",
}

__getattr__ = names_of(__name__, _HOMES)
