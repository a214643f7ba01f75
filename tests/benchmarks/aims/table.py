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
    """None: there is no aim, or it was not measured."""
    figures: dict[str, float] = field(default_factory=dict)
    """The same for programs."""

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        return {True: "met", False: "**missed**", None: ""}[self.is_met]


def skipped(what: str, why: str, aim: str = "") -> Row:
    """Return the row of something that could not be measured here."""
    return Row(what, aim, f"skipped: {why}")


def markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = ["| workload | aim | measured | |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.what} | {one.aim} | {one.measured} | {one.verdict} |" for one in rows]
    return "\n".join(lines)
