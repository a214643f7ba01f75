"""What of a run is done, so that the next one goes on there: after Ctrl-C, after kill -9, elsewhere.

    part-000000.csv ─┐ written, synced
    part-000000.bad ─┤ written, synced          (when rows have no answer)
    part-000000.done ┘ written last: where the next part begins, how many rows, the digest of each file

    job.json     what the run is of: another input, api or format is another run

What always holds: a part counts when its ``.done`` is there, and then all of it is; the parts that
count follow each other without a gap, so every row of the input is in one of them or behind the last.
A part that was not finished is written again from its first row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelpack.errors import BatchError, ConflictError
from modelpack.offline.block import BadRow, Position
from modelpack.offline.outputs import Layout, Part
from modelpack.offline.places import Place

JOB = "job.json"
FINISHED = "finished.json"

_FORM = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One part that is done."""

    part: int
    file: str
    first: int
    """Number of its first row."""
    count: int
    """Rows of the input in it, with and without an answer."""
    rows: int
    """Rows with an answer."""
    bad: int
    end: Position
    """Where the next part begins in the input."""
    sha256: str
    bad_sha256: str | None = None
    """None: every row has an answer."""
    columns: tuple[str, ...] | None = None
    """Of the output; None: not known yet."""


class Journal:
    """The parts of one run, in two places that may be one: the parts, and what is known of them."""

    def __init__(self, parts: Place, state: Place, suffix: str) -> None:
        self._parts = parts
        self._state = state
        self._suffix = suffix
        self.records: list[Record] = []

    def open(self, job: Mapping[str, Any], *, restart: bool) -> None:
        """Begin a run, or read how far it came; raises ConflictError when it is of something else."""
        names = self._state.names()
        self.records = []
        if restart or JOB not in names:
            if not restart and (foreign := self._part_files()):
                raise ConflictError(
                    f"'{self._parts.name}' has parts of something else, such as '{foreign[0]}'",
                    hint="give --restart to replace them, or another --output",
                )
            self._forget(names)
            self._state.write(JOB, _json({"form": _FORM, **job}))
            return
        there = _parsed(self._state.read(JOB), JOB)
        others = sorted(
            key
            for key in {*there, *job}
            if key != "form" and there.get(key) != _plain(job.get(key))
        )
        if others or there.get("form") != _FORM:
            what = " and ".join(others) or "form"
            raise ConflictError(
                f"'{self._state.name}' is of another run: {what} differ" + "s" * (len(others) == 1),
                hint="give --restart to begin anew, or another --output",
            )
        done = sorted(name for name in names if name.endswith(".done"))
        for number, name in enumerate(done):
            record = _record(self._state.read(name), name)
            if record.part != number:
                raise BatchError(
                    f"'{self._state.name}' lacks part {number}", hint="give --restart to begin anew"
                )
            self.records.append(record)
        self._remove_unfinished(names)

    def _remove_unfinished(self, names: Sequence[str]) -> None:
        """Remove parts that were written but not recorded: the next ones take their place."""
        known = {record.file for record in self.records}
        known |= {_name(record.part, ".bad") for record in self.records if record.bad}
        left = [n for n in names if n.startswith("part-") and n.endswith(".bad") and n not in known]
        self._state.remove(left)
        ours = [
            n for n in self._parts.names() if n.startswith("part-") and n.endswith(self._suffix)
        ]
        self._parts.remove([name for name in ours if name not in known])

    def _forget(self, names: Sequence[str]) -> None:
        # The records first: without them nothing counts.
        self._state.remove([name for name in names if name.endswith(".done")])
        self._state.remove([name for name in names if name.startswith("part-")])
        self._parts.remove(self._part_files())
        self._state.remove([JOB, FINISHED])  # that it is over, last of all

    def _part_files(self) -> list[str]:
        """Return the parts that are there; in a folder of the user's nothing else is ever touched."""
        form = re.compile(rf"part-\d{{6}}{re.escape(self._suffix)}")
        return [name for name in self._parts.names() if form.fullmatch(name)]

    @property
    def position(self) -> Position | None:
        """Where the input goes on; None: at its start."""
        return self.records[-1].end if self.records else None

    @property
    def count(self) -> int:
        """Rows of the input that are done."""
        return sum(record.count for record in self.records)

    @property
    def bad(self) -> int:
        """Rows of these without an answer."""
        return sum(record.bad for record in self.records)

    @property
    def layout(self) -> Layout | None:
        """The columns of the output, once a part has rows."""
        found = [record.columns for record in self.records if record.columns is not None]
        return Layout(tuple(found[0])) if found else None

    def commit(
        self,
        data: bytes,
        bad: Sequence[BadRow],
        *,
        first: int,
        count: int,
        end: Position,
        columns: tuple[str, ...] | None,
    ) -> Record:
        """Write a part; from then on it counts."""
        number = len(self.records)
        lines = b"".join(row.to_line() for row in bad)
        record = Record(
            part=number,
            file=_name(number, self._suffix),
            first=first,
            count=count,
            rows=count - len(bad),
            bad=len(bad),
            end=end,
            sha256=hashlib.sha256(data).hexdigest(),
            bad_sha256=hashlib.sha256(lines).hexdigest() if bad else None,
            columns=columns,
        )
        self._parts.write(record.file, data, is_new=True)
        if bad:
            self._state.write(_name(number, ".bad"), lines, is_new=True)
        self._state.write(_name(number, ".done"), _json(asdict(record)), is_new=True)
        self.records.append(record)
        return record

    def parts(self) -> list[Part]:
        """Return the parts, each checked while it is read."""
        return [
            Part(record.rows, lambda r=record: _checked(self._parts, r.file, r.sha256))  # type: ignore[misc]
            for record in self.records
        ]

    def bad_lines(self) -> Iterator[bytes]:
        """Yield what is known of the rows without an answer."""
        for record in self.records:
            if record.bad_sha256 is not None:
                yield from _checked(self._state, _name(record.part, ".bad"), record.bad_sha256)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Note that the run is over."""
        self._state.write(FINISHED, _json(summary))

    def finished(self) -> dict[str, Any] | None:
        """Return what ``finish`` was given; None: it is not over."""
        if FINISHED not in self._state.names():
            return None
        return _parsed(self._state.read(FINISHED), FINISHED)

    def clear(self) -> None:
        """Remove parts and records: the whole is there, or nothing is."""
        self._forget(self._state.names())
        self._state.clear()


def _name(number: int, suffix: str) -> str:
    return f"part-{number:06d}{suffix}"


def _checked(place: Place, name: str, sha256: str) -> Iterator[bytes]:
    """Yield a file; raises BatchError at its end when it is not what was written."""
    digest = hashlib.sha256()
    for data in place.chunks(name):
        digest.update(data)
        yield data
    if digest.hexdigest() != sha256:
        raise BatchError(
            f"'{name}' in '{place.name}' is not what was written there",
            hint="give --restart to begin anew",
        )


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _parsed(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as cause:
        raise BatchError(f"'{name}' cannot be read", hint="give --restart to begin anew") from cause
    return value if isinstance(value, dict) else {}


def _record(data: bytes, name: str) -> Record:
    value = _parsed(data, name)
    try:
        record = Record(**value)
    except TypeError as cause:
        raise BatchError(f"'{name}' cannot be read", hint="give --restart to begin anew") from cause
    columns = record.columns
    return record if columns is None else Record(**{**value, "columns": tuple(columns)})
