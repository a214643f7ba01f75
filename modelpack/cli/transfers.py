"""What ``push``, ``pull`` and ``copy`` say: a line while bytes move, and what really moved.

Counts ──Bar──► one line at the foot of a terminal      Moved ──tell──► note, or JSON
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.live import LiveLine

if TYPE_CHECKING:
    from modelpack.registry import Counts, Moved

_WIDTH = 24

InsecureOption = Annotated[
    bool,
    typer.Option("--insecure", help="speak plain HTTP, or TLS with any certificate"),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="replace what the tag leads to at the target")
]


def default_place() -> str | None:
    """Return the place that references without a host are meant below: ``MODELPACK_REGISTRY``."""
    return os.environ.get("MODELPACK_REGISTRY") or None


@contextmanager
def counted(verb: str) -> Iterator[Counts]:
    """Give counts whose state is drawn as it changes."""
    from modelpack.registry import Counts

    line = LiveLine()
    started = time.monotonic()
    try:
        yield Counts(lambda counts: line.show(_bar(verb, counts, time.monotonic() - started)))
    finally:
        line.clear()


def tell(moved: Moved) -> None:
    """Say how many bytes really moved and how many did not have to."""
    from modelpack.config.units import format_size

    counts = moved.counts
    parts = []
    if counts.sent_bytes:
        parts.append(f"{format_size(counts.sent_bytes)} sent")
    if counts.received_bytes and not counts.sent_bytes:
        parts.append(f"{format_size(counts.received_bytes)} received")
    if counts.saved_bytes:
        mounted = f", {format_size(counts.mounted_bytes)} mounted" * bool(counts.mounted_bytes)
        parts.append(f"{format_size(counts.saved_bytes)} saved{mounted}")
    if moved.statements:
        parts.append(f"{moved.statements} statement{'s' * (moved.statements != 1)} with it")
    console.note(", ".join(parts) or "nothing had to move")
    console.note(f"digest {moved.digest}")


def as_json(moved: Moved) -> dict[str, object]:
    """Return what moved as plain values."""
    counts = moved.counts
    return {
        "reference": str(moved.reference),
        "digest": moved.digest,
        "size_bytes": moved.size_bytes,
        "sent_bytes": counts.sent_bytes,
        "received_bytes": counts.received_bytes,
        "saved_bytes": counts.saved_bytes,
        "mounted_bytes": counts.mounted_bytes,
        "statements": moved.statements,
    }


def _bar(verb: str, counts: Counts, seconds: float) -> str:
    from modelpack.config.units import format_size

    total = counts.total_bytes or 1
    share = counts.done_bytes / total
    drawn = "█" * int(share * _WIDTH)
    moved = max(counts.sent_bytes, counts.received_bytes)
    speed = f", {format_size(int(moved / seconds))}/s" if seconds > 1 and moved else ""
    saved = f", {format_size(counts.saved_bytes)} saved" if counts.saved_bytes else ""
    return (
        f"{verb} {drawn:░<{_WIDTH}} {share:4.0%} of {format_size(counts.total_bytes)}{saved}{speed}"
    )
