"""Picks the next batch: whose turn it is, how many go together, and whether they go now.

lines (who is next) ──► release (how many, now or later) ──► lines.take ──► Batch, or None
                           ▲ costs of such rows
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from modelpack.config.serving import BatchConfig
from modelpack.server.batching.call import Batch
from modelpack.server.batching.cost import CostModel
from modelpack.server.batching.lines import Level, Line, Lines
from modelpack.server.batching.pace import Pace
from modelpack.server.batching.release import Go, Release, Sight

RowSize = Callable[[Mapping[str, Any]], Hashable]
"""Tells rows of different cost apart."""


class Picker:
    """Forms the batches of one api."""

    def __init__(
        self, lines: Lines, pace: Pace, config: BatchConfig | None, row_size: RowSize | None
    ) -> None:
        """``config`` None: every call goes by itself."""
        self._lines = lines
        self._pace = pace
        self._release = Release(config or BatchConfig(max_batch_size=1))
        self._is_batched = config is not None
        self._row_size = row_size
        self.held_until = math.inf
        """After ``pick`` gave nothing: when the first of those that are held may go."""

    def model_of(self, values: Mapping[str, Any]) -> CostModel:
        """Return what is known of the cost of rows like these."""
        costs = self._pace.costs
        return costs.all if self._row_size is None else costs.of(self._row_size(values))

    def pick(self, now: float, runners: int, idle: int) -> Batch | None:
        """Take the next batch for one of ``idle`` runners; None: nothing waits, or all is held."""
        lines = self._lines
        self.held_until = math.inf
        while lines.rows:
            for level, line in lines.order():
                go = self._decide(level, line, now, runners, idle)
                if go is not None:
                    break
            else:
                return None
            limit, reason, otherwise = go
            latest = self._pace.latest(self._model_of_first(line), limit, lines.rows, now)
            batch = lines.take(level, line, limit, latest, now)
            if batch is not None:
                batch.reason = reason if line or batch.rows == limit else otherwise
                if batch.is_cut and len(batch.slices) == 1:
                    batch.reason = "slice"
                return batch
        return None

    def _decide(self, level: Level, line: Line, now: float, runners: int, idle: int) -> Go | None:
        """Return how many may go with a line; None: it is held."""
        lines = self._lines
        held_until = lines.held.get(line.key, 0.0)
        if held_until <= now:
            if not self._is_batched:
                return _ALONE
            model = self._model_of_first(line)
            if self._release.is_eager:
                return self._release.at_once(model, lines.rows)
            sight = Sight(now, model, lines.rows, lines.gone + lines.rows, runners, idle)
            decision = self._release.look(lines.calls_of(level, line), sight)
            if isinstance(decision, Go):
                return decision
            held_until = lines.held[line.key] = decision.until
        self.held_until = min(self.held_until, held_until)
        return None

    def _model_of_first(self, line: Line) -> CostModel:
        if self._row_size is not None:
            for call in line:
                if call.taken < call.rows:  # else it was dropped and has no values
                    return self.model_of(call.values)
        return self._pace.costs.all


_ALONE = Go(1, "alone", "alone")
