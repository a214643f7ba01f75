"""The table that a suite makes: one row a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.bench.result import Result

HEAD = ("rate/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed", "mean batch")


@dataclass(slots=True)
class Suite:
    """What one suite measured."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    finding: str = ""
    """One line on what the table says; '' when the table says it."""
    skipped: str = ""
    """Why it was not run; '' when it was."""

    def add(self, result: Result, cells: Sequence[str]) -> None:
        """Add one step."""
        self.results.append(result)
        self.rows.append(tuple(cells))

    @property
    def is_cut(self) -> bool:
        """True when it was interrupted."""
        return any(one.is_cut for one in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the runs are in the form of a single one."""
        return {
            "suite": self.name,
            "title": self.title,
            "head": list(self.head),
            "rows": [list(cells) for cells in self.rows],
            "finding": self.finding or None,
            "skipped": self.skipped or None,
            "runs": [one.to_json() for one in self.results],
        }


def row(result: Result) -> tuple[str, ...]:
    """Return the cells of ``HEAD`` for one step."""
    latency = result.latency_ms
    batch = result.server.mean_batch if result.server is not None else None
    return (
        f"{result.rate:,.0f}",
        *(ms_text(latency[name]) for name in ("p50", "p90", "p99", "max")),
        f"{result.whole.failed:,}",
        "-" if batch is None else f"{batch:.1f}",
    )


def ms_text(ms: float) -> str:
    """Return milliseconds with three digits or so: ``0.095``, ``2.31``, ``1,042``."""
    if ms >= 99.95:
        return f"{ms:,.0f}"
    return f"{ms:.1f}" if ms >= 9.995 else f"{ms:.2f}" if ms >= 0.9995 else f"{ms:.3f}"
