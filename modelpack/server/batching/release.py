"""Decides how many rows go together, and whether they go now.

    look(what waits, a free runner) ──► Go(limit, reason)      take up to ``limit`` rows now
                                   └──► Hold(until)            ask again when one more has come

How the settings of an api choose, from the simplest on:

    none                         everything that is there goes at once, up to ``max_batch_size``;
                                 fewer, when more would be no cheaper a row
    latency_ms                   batches short enough to meet the goal; a hold for company where the
                                 costs and the arrivals of late say that the goal and all who wait
                                 gain by it
    max_wait_ms, preferred       Triton's rules: the largest preferred size that whole calls make
                                 up; else, when a full batch is there, that; else a hold until the
                                 first has waited ``max_wait_ms``; then all that is there

Nothing here waits by itself: the batcher has the one timer.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf
from typing import NamedTuple

from modelpack.config.serving import BatchConfig
from modelpack.server.batching.call import Call
from modelpack.server.batching.cost import CostModel

REASONS = {
    "idle": "a runner was free and took all that was there",
    "full": "no more fit",
    "cost": "more rows together would have been no cheaper",
    "goal": "more rows together would have endangered the latency goal",
    "preferred": "a preferred size was reached",
    "waited": "it had been held for company as long as it may be",
    "slice": "a part of a request that is larger than a batch",
    "retry": "a half of a batch that failed",
    "replay": "its runner was lost",
    "alone": "the api has no batches",
}
"""Why batches are let go."""

_SHARE_OF_GOAL = 0.8
_MOST_LOAD = 0.85
_HARDLY_SLOWER = 1.25
_MARGIN = 2.0


class Go(NamedTuple):
    """Take up to ``limit`` rows; ``reason`` is why, if that many are there or more wait."""

    limit: int
    reason: str
    otherwise: str = "idle"
    """Why, if that is all there is."""


class Hold(NamedTuple):
    """Wait for company until a moment of ``perf_counter``."""

    until: float


class Sight(NamedTuple):
    """What is known as a runner is free."""

    now: float
    model: CostModel
    """What rows like those at the head cost."""
    waiting: int
    """Rows that wait, of all kinds."""
    came: int
    """Rows that have ever come."""
    runners: int
    idle: int
    """Runners that have nothing to do, this one included."""


class Release:
    """The rule of one api."""

    def __init__(self, config: BatchConfig) -> None:
        self._most = config.max_batch_size
        self._all = Go(config.max_batch_size, "full")
        self._goal_s = None if config.latency_ms is None else config.latency_ms / 1000
        self._delay_s = (config.max_wait_ms or 0.0) / 1000
        self._preferred = config.preferred_batch_sizes
        self._is_fixed = self._delay_s > 0 or bool(self._preferred)
        self._may_learn_to_hold = config.max_wait_ms is None and not self._is_fixed
        self._lately = Arrivals(0.5)
        self._usually = Arrivals(5.0)
        self.is_eager = not self._is_fixed and self._goal_s is None
        """True when nothing is ever held, so that ``at_once`` may be asked instead of ``look``."""

    def at_once(self, model: CostModel, waiting: int) -> Go:
        """Decide for an api without goal and rules: all that is there, or as many as pay."""
        there = waiting if waiting < self._most else self._most
        limit = model.enough(there)
        return Go(limit, "cost") if limit < there else self._all

    def look(self, calls: Iterable[Call], sight: Sight) -> Go | Hold:
        """Decide about calls of one kind, in the order in which they would go."""
        if self._goal_s is None:
            if self._is_fixed:
                return self._look_fixed(calls, sight, self._most)
            return self.at_once(sight.model, sight.waiting)
        self._lately.see(sight.came, sight.now)
        self._usually.see(sight.came, sight.now)
        limit = self._size_for_goal(sight, self._goal_s)
        if self._is_fixed:
            return self._look_fixed(calls, sight, limit)
        if self._may_learn_to_hold and sight.idle == 1 and sight.waiting < limit:
            until = self._hold_until(calls, sight, self._goal_s)
            if until > sight.now:
                return Hold(until)
        return Go(limit, "full" if limit == self._most else "goal")

    def _look_fixed(self, calls: Iterable[Call], sight: Sight, most: int) -> Go | Hold:
        """Decide as Triton does."""
        reached = best = 0
        until = soonest = inf
        for call in calls:
            left = call.rows - call.taken
            if not left:
                continue
            if reached and reached + left > most and call.rows <= most:
                reached = most  # it would not fit: no fuller batch can be made of these
                break
            soonest = min(soonest, call.deadline)
            # Of the time that it has, a call spends no more than half on waiting for company.
            until = min(
                until, call.started + min(self._delay_s, (call.deadline - call.started) / 2)
            )
            is_cut = call.rows > most
            best = max(best, self._preferred_within(reached, reached + left, is_cut))
            reached += left
            if reached >= most:
                break
        if best:
            return Go(best, "preferred")
        if reached >= most:
            return Go(most, "full", "full")
        until = min(until, soonest - 2 * (sight.model.seconds(max(1, reached)) or 0.0))
        if reached and until > sight.now:
            return Hold(until)
        return Go(most, "full", "waited" if self._delay_s else "idle")

    def _preferred_within(self, before: int, after: int, is_cut: bool) -> int:
        """Return the largest preferred size that a call makes up, or any inside it if it is cut."""
        for size in reversed(self._preferred):
            if size == after or (is_cut and before < size < after):
                return size
        return 0

    def _size_for_goal(self, sight: Sight, goal_s: float) -> int:
        """Return the most rows that may go together.

        A call waits for the batch before its own, or a share of it when there are several runners,
        and then for its own; so short should a batch be.  But not so short that the runners could
        not keep up with what comes, nor where that would make those that wait miss the goal: then
        the fastest size helps most.
        """
        model, most = sight.model, self._most
        there = min(sight.waiting, most)
        fastest = model.enough(there)
        if fastest == there:
            fastest = most
        fitting = _largest_within(model, fastest, goal_s / (1 + 1 / sight.runners))
        if fitting == fastest:
            return fastest
        row_s = (model.seconds(fitting) or 0.0) / fitting
        best_s = (model.seconds(there) or 0.0) / there
        gains = not model.knows(there) or row_s > best_s * _HARDLY_SLOWER
        if self._usually.per_second * row_s / sight.runners > _MOST_LOAD:
            return fastest
        if gains and sight.waiting * row_s / sight.runners > goal_s:
            return fastest
        return fitting

    def _hold_until(self, calls: Iterable[Call], sight: Sight, goal_s: float) -> float:
        """Return until when holding pays; 0.0: not at all.

        Those that wait lose the pause and what one more row costs.  The one that comes gains: it
        need not wait for the batch that runs without it and then for one of its own.
        """
        model, rate = sight.model, self._lately.per_second
        ready, first, soonest = 0, inf, inf
        for call in calls:
            ready += call.rows - call.taken
            first, soonest = min(first, call.started), min(soonest, call.deadline)
        if not model.knows(1) or not ready or rate <= 0:
            return 0.0
        now_s, more_s = model.seconds(ready) or 0.0, model.seconds(ready + 1) or 0.0
        pause_s = 1 / rate
        company = rate * now_s  # rows that come while the batch runs
        if company <= ready + 1:
            return 0.0
        latest = min(first + goal_s * _SHARE_OF_GOAL, soonest) - more_s
        if sight.now + pause_s > latest:
            return 0.0
        next_s = model.seconds(min(self._most, round(company))) or 0.0
        gain = (now_s - pause_s) + next_s - more_s
        loss = ready * (pause_s + more_s - now_s)
        return min(latest, sight.now + 2 * pause_s) if gain > _MARGIN * loss else 0.0


class Arrivals:
    """How many rows come in a second, over about ``memory_s``."""

    __slots__ = ("_at", "_came", "_known", "_memory_s", "_sum")

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._sum = 0.0
        self._known = 0.0  # share of the memory that has been filled
        self._came = 0
        self._at = -inf

    @property
    def per_second(self) -> float:
        """Rows a second; 0 until something is known."""
        return self._sum / self._known if self._known else 0.0

    def see(self, came: int, now: float) -> None:
        """Take in how many have ever come until ``now``."""
        passed = now - self._at
        if passed <= 0:
            return
        if passed < inf:
            weight = 1 - exp(-passed / self._memory_s)
            self._sum += ((came - self._came) / passed - self._sum) * weight
            self._known += (1 - self._known) * weight
        self._came, self._at = came, now


def _largest_within(model: CostModel, most: int, seconds: float) -> int:
    """Return the most rows, at least 1, whose batch takes no longer than ``seconds``."""
    low, high = 1, most
    if (model.seconds(most) or 0.0) <= seconds:
        return most
    while low < high:
        middle = (low + high + 1) // 2
        if (model.seconds(middle) or 0.0) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low
