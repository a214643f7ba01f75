"""What a run has to reach, for continuous integration.

Result, Goals ──misses──► one sentence for each goal that was missed
"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.bench.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """Bounds on what is measured; None: none."""

    max_p99_ms: float | None = None
    min_rate: float | None = None
    max_failed_percent: float | None = None

    @property
    def is_any(self) -> bool:
        """True when there is something to reach."""
        return any(
            one is not None for one in (self.max_p99_ms, self.min_rate, self.max_failed_percent)
        )


def misses(result: Result, goals: Goals) -> list[str]:
    """Return what was missed, with the figures; empty: all was reached."""
    found = []
    whole = result.whole
    p99 = result.latency_ms["p99"]
    if goals.max_p99_ms is not None and p99 > goals.max_p99_ms:
        found.append(f"p99 is {p99:,.4g} ms, above --max-p99 {goals.max_p99_ms:g}")
    if goals.min_rate is not None and result.rate < goals.min_rate:
        found.append(f"rate is {result.rate:,.1f}/s, below --min-rate {goals.min_rate:g}")
    if goals.max_failed_percent is not None:
        percent = 100 * whole.failed / max(whole.failed + whole.good, 1)
        if percent > goals.max_failed_percent:
            found.append(
                f"{percent:.3g} % of the requests failed, above --max-errors "
                f"{goals.max_failed_percent:g}"
            )
    return found
