"""Metrics of a server with several processes: whichever is asked shows all of them.

scraped worker ──ask("gather")──► supervisor ──ask("readings")──► every worker, a second at most
                                      └──► sums, with the last counts of who is silent or gone
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from modelpack.server.life.channel import Channel
from modelpack.server.observe.processes import Usage, tree
from modelpack.server.observe.snapshot import Gather, Snapshot, from_plain
from modelpack.server.observe.stats import Reading

WORKER_S = 1.0
"""Longest that a worker may take to say what it counted."""

SUPERVISOR_S = 3.0
"""Longest that the supervisor may take.  A page of one worker alone would look like a restart."""


def gather_through(channel: Channel) -> Gather:
    """Return what asks the supervisor; it raises ChannelClosedError or TimeoutError."""

    async def gather() -> Snapshot:
        found: dict[str, Any] = await channel.ask("gather", SUPERVISOR_S)
        return Snapshot(from_plain(found["readings"]), usage=Usage(**found["usage"]))

    return gather


def gather_here(read: Callable[[], Iterable[Reading]]) -> Gather:
    """Return what gathers the readings of this process, and of the runners below it."""

    async def gather() -> Snapshot:
        return Snapshot(list(read()), tuple(tree(os.getpid())))

    return gather
