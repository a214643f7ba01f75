"""Rows of the table, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was asked for and what was measured."""

    what: str
    aim: str = ""
    measured: str = ""
    is_met: bool | None = None
    """None: there is no aim, it was not measured, or the machine was too busy to say."""
    figures: dict[str, float] = field(default_factory=dict)
    """The same for programs."""

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        return {True: "met", False: "**missed**", None: ""}[self.is_met]


ENOUGH = 0.85
"""Share of its processor that a server under full load must have had for wall times to count."""


def judged(is_met: bool, cpu: float) -> bool | None:
    """Return the verdict on wall times, or None when others had too much of the processor."""
    return is_met if cpu >= ENOUGH else None


def had(cpu: float) -> str:
    """Say how much of its processor the server had."""
    return f"the server had {cpu:.0%} of its processor"


def skipped(what: str, why: str, aim: str = "") -> Row:
    """Return the row of something that could not be measured here."""
    return Row(what, aim, f"skipped: {why}")


def markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = ["| workload | aim | measured | |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.what} | {one.aim} | {one.measured} | {one.verdict} |" for one in rows]
    return "\n".join(lines)
