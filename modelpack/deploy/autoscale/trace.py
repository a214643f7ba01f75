"""Requests as they came, from a file.

    time,requests      rows of a rate: so many requests from this time to the next row's
    time               rows of arrivals: one request each
            └──read_trace──► Trace: arrival times in seconds from the first row, sorted

``time`` is in seconds, or an RFC 3339 moment.  Within a row of a rate the requests come as those of
independent clients do, with the same seed at the same moments.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from modelpack.errors import UsageError

MAX_REQUESTS = 5_000_000
"""A replay of more would take minutes and say the same."""


class TraceError(UsageError):
    """A trace cannot be read."""

    code = "trace-unreadable"


@dataclass(frozen=True, slots=True)
class Trace:
    """When requests came."""

    arrivals: Sequence[float]
    """Seconds from the begin, sorted."""
    length_s: float
    """Seconds from the begin to the end of the last row."""


def read_trace(file: Path, *, seed: int = 1) -> Trace:
    """Read a CSV file with a header; raises TraceError that names the line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return _read(csv.reader(stream), file.name, seed)
    except FileNotFoundError as cause:
        raise TraceError(f"there is no file '{file}'", hint="give the path of a trace") from cause
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise TraceError(
            f"'{file}' cannot be read: {cause}", hint="a trace is CSV with 'time,requests'"
        ) from cause


def _read(lines: Iterator[list[str]], name: str, seed: int) -> Trace:
    header = [word.strip().lower() for word in next(lines, [])]
    if header not in (["time"], ["time", "requests"]):
        raise TraceError(
            f"the first line of '{name}' is '{','.join(header)[:60]}'",
            hint="it must be 'time,requests' (a rate) or 'time' (a request a line)",
        )
    rows: list[tuple[float, float]] = []
    for number, words in enumerate(lines, start=2):
        if not words:
            continue
        try:
            rows.append(_row(words, len(header)))
        except ValueError as cause:
            raise TraceError(f"line {number} of '{name}': {cause}") from cause
        if len(rows) > 1 and rows[-1][0] < rows[-2][0]:
            raise TraceError(f"line {number} of '{name}': its time is before the line above")
    if len(rows) < len(header):
        raise TraceError(
            f"'{name}' has {len(rows)} rows", hint="a rate needs two rows, arrivals need one"
        )
    if sum(count for _, count in rows) > MAX_REQUESTS:
        raise TraceError(
            f"'{name}' has more than {MAX_REQUESTS:,} requests", hint="replay a part of it"
        )
    return _arrivals(rows) if len(header) == 1 else _rates(rows, Random(seed))  # noqa: S311


def _row(words: list[str], length: int) -> tuple[float, float]:
    if len(words) != length:
        raise ValueError(f"has {len(words)} cells instead of {length}")
    count = float(words[1]) if length > 1 else 1.0
    if not (math.isfinite(count) and count >= 0):
        raise ValueError(f"'{words[1][:40]}' is no number of requests")
    return _seconds(words[0].strip()), count


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise ValueError(f"'{text[:40]}' is neither seconds nor a moment") from None
    if not math.isfinite(seconds):
        raise ValueError(f"'{text[:40]}' is no time")
    return seconds


def _arrivals(rows: Sequence[tuple[float, float]]) -> Trace:
    begin = rows[0][0]
    return Trace(array("d", (at - begin for at, _ in rows)), rows[-1][0] - begin)


def _rates(rows: Sequence[tuple[float, float]], random: Random) -> Trace:
    """Spread the requests of each row to the next; the last row lasts as long as the one before."""
    begin = rows[0][0]
    ends = [at for at, _ in rows[1:]] + [2 * rows[-1][0] - rows[-2][0]]
    times = array("d")
    for (at, count), end in zip(rows, ends, strict=True):
        here = sorted(random.uniform(at, end) - begin for _ in range(round(count)))
        times.extend(here)
    return Trace(times, ends[-1] - begin)
