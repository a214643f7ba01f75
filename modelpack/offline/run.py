"""One run, from the first row to the whole output.

    Reader.take ──► Engine.send … up to its slots
                    Engine.receive ──► in the order of the input ──► Writer.add, bad rows
                                          a part is full ──► Journal.commit
    the end ──► parts put together ──► output, dead-letter file

Answers may come in any order and are taken in that of the rows, so a part is a run of rows without gaps,
and where it ends is where another run begins.  What is in memory: the chunks on their way, and one part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from modelpack.errors import BadRowsError, ConflictError, ModelpackError
from modelpack.offline import places
from modelpack.offline.block import BadRow, Block, answered
from modelpack.offline.engine import Engine
from modelpack.offline.inputs import Asked, Input, Reader, open_reader
from modelpack.offline.job import Job
from modelpack.offline.journal import Journal
from modelpack.offline.outputs import Writer, suffix_of, writer_for
from modelpack.offline.outputs.columns import table_of
from modelpack.offline.pace import MOST_BYTES, Clock, Progress, Sizes
from modelpack.offline.places import Place, place_at

PART_BYTES = 32 * 1024 * 1024
PART_S = 10.0
PART_BAD = 1000
"""What ends a part beside its rows: its bytes, its age, its rows without an answer."""

ALL_BAD = 1000
"""So many rows without an answer, and none with one: the run stops."""

_STATE = "_batch"

OnProgress = Callable[[Progress], None]
OpenEngine = Callable[[], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of a run."""

    output: str
    dead_letter: str | None
    """None: every row has an answer."""
    rows: int
    """Rows of the input."""
    bad: int
    """Of these, rows without an answer."""
    resumed_rows: int
    """Rows that earlier runs had done."""
    seconds: float
    parts: int
    first_bad: str | None = None
    """Which row is the first of this run without an answer, and why."""
    readings: list[Any] = field(default_factory=list)
    """What the service counted (``server.observe.snapshot.to_plain``)."""

    @property
    def rate(self) -> float:
        """Rows a second of this run."""
        return (self.rows - self.resumed_rows) / self.seconds if self.seconds else 0.0


def run_batch(
    job: Job,
    open_engine: OpenEngine,
    *,
    source: Mapping[str, Any],
    on_progress: OnProgress = lambda _: None,
) -> Summary:
    """Answer every row of the input, going on where an earlier run was ended.

    ``open_engine`` starts the service, ``source`` says which one it is.  Raises NotFoundError without
    the input, ConflictError when the output is there or belongs to something else, BatchError when
    it cannot go on, and BadRowsError for more bad rows than ``job.max_bad``; what is done is kept.
    """
    given = job.find_input()
    form = job.written_format(given)
    parts, state = _places(job)
    with state.hold() as check:
        _check_free(job, state)
        journal = Journal(parts, state, suffix_of(form))
        _check_unfinished(job, journal)
        journal.open(job.fingerprint(given, source, form), restart=job.restart)
        if job.restart:
            places.remove(job.dead_letter_at)
        run = _Run(job, form, given, journal, check)
        try:
            run.answer(open_engine, on_progress)
        finally:
            dead_letter = run.write_dead_letter()
            if not journal.records and not run.is_answered:
                journal.clear()  # nothing to go on with
        run.assemble()
        summary = Summary(
            output=job.output,
            dead_letter=dead_letter,
            rows=journal.count,
            bad=journal.bad,
            resumed_rows=run.resumed_rows,
            seconds=run.seconds,
            parts=len(journal.records),
            first_bad=run.first_bad,
            readings=run.readings,
        )
        journal.finish({"rows": summary.rows, "bad": summary.bad, "parts": summary.parts})
        if not job.is_folder:
            journal.clear()
        return summary


def _places(job: Job) -> tuple[Place, Place]:
    """Return where parts go, and where it is noted which of them are done."""
    if job.is_folder:
        parts = place_at(job.bare_output)
        return parts, parts.below(_STATE)
    both = place_at(f"{job.bare_output}.batch")
    return both, both


def _check_free(job: Job, state: Place) -> None:
    """Raise ConflictError when the output is there and no run is under way that writes it."""
    if job.is_folder or job.restart or "job.json" in state.names():
        return
    if places.exists(job.output):
        state.clear()
        raise ConflictError(
            f"'{job.output}' is there already",
            hint="give --restart to write it again, or another --output",
        )


def _check_unfinished(job: Job, journal: Journal) -> None:
    """Raise ConflictError when the run is over already, once what it may have left is tidied up."""
    if job.restart or (done := journal.finished()) is None:
        return
    if not job.is_folder:
        journal.clear()
    raise ConflictError(
        f"'{job.output}' is done, {done.get('rows')} rows",
        hint="give --restart to write it again, or another --output",
    )


class _Run:
    """The state between two answers."""

    def __init__(
        self, job: Job, form: str, given: Input, journal: Journal, check: Callable[[], None]
    ) -> None:
        self._job = job
        self._form = form
        self._given = given
        self._journal = journal
        self._check = check
        self._bad: list[BadRow] = []
        self._count = 0
        self._end: Any = None
        self._is_whole = True  # writer, rows, bad rows and end are of the same blocks
        self._began = 0.0
        self._writer: Writer | None = None
        self.resumed_rows = journal.count
        self.readings: list[Any] = []
        self.seconds = 0.0
        self.is_answered = False
        self.first_bad: str | None = None

    def answer(self, open_engine: OpenEngine, on_progress: OnProgress) -> None:
        """Answer the rows that no part has yet."""
        engine = open_engine()
        try:
            hello, job = engine.hello, self._job
            asked = Asked(hello, job.constants, job.keep)
            layout = self._journal.layout
            kept = (*job.keep, "file") if self._given.listing is not None else job.keep
            self._writer = writer_for(self._form, hello, kept, layout)
            reader = open_reader(self._given, asked, self._journal.position)
            try:
                self._pump(engine, reader, self._writer, on_progress)
            finally:
                reader.close()
            self.is_answered = True
            self.readings = engine.readings()
        finally:
            engine.close()

    def _pump(
        self, engine: Engine, reader: Reader, writer: Writer, on_progress: OnProgress
    ) -> None:
        sizes = Sizes(engine.hello.max_batch_size)
        position = self._journal.position
        clock = Clock(self.resumed_rows, reader.share(position) if position is not None else 0.0)
        blocks: dict[int, Block] = {}
        replies: dict[int, Any] = {}
        sent = settled = 0
        is_over = False
        self._began = monotonic()
        try:
            while not is_over or settled < sent:
                while not is_over and sent - settled < engine.slots:
                    block = reader.take(min(sizes.next, self._job.part_rows), MOST_BYTES)
                    if block is None:
                        is_over = True
                        break
                    blocks[sent] = block
                    if block.is_empty:
                        replies[sent] = _NOTHING
                    else:
                        engine.send(sent, block.message(sent))
                    sent += 1
                if settled < sent and settled not in replies:
                    reply = engine.receive()
                    replies[reply["chunk"]] = reply
                    sizes.learn(len(blocks[reply["chunk"]].numbers))
                while settled in replies:
                    self._settle(blocks.pop(settled), replies.pop(settled), engine, writer)
                    settled += 1
                    share = reader.share(self._end)
                    rows = self._journal.count + self._count
                    bad = self._journal.bad + len(self._bad)
                    on_progress(clock.progress(rows, bad, reader.total_rows, share))
                    self._cut(writer)
                    self._judge(rows, bad)
            self._commit(writer)
        except (ModelpackError, KeyboardInterrupt):
            # What has its answers is kept, unless this came between two halves of a change.
            if self._is_whole:
                self._commit(writer)
            raise
        finally:
            self.seconds = clock.seconds

    def _settle(self, block: Block, reply: Any, engine: Engine, writer: Writer) -> None:
        """Take the answers of a block into the part that is being written."""
        self._is_whole = False
        found = answered(block, reply)
        table = table_of(block, found, engine.hello)
        writer.add(table)
        bad = sorted([*block.bad, *found.bad], key=lambda bad: bad.number)
        if bad and self.first_bad is None:
            self.first_bad = f"row {bad[0].number}: {bad[0].detail}"
        self._bad += bad
        self._count += block.count
        self._end = block.end
        self._is_whole = True

    def _cut(self, writer: Writer) -> None:
        """End the part when it is large or old enough."""
        if (
            self._count >= self._job.part_rows
            or writer.size_bytes >= PART_BYTES
            or len(self._bad) >= PART_BAD
            or monotonic() - self._began >= PART_S
        ):
            self._commit(writer)

    def _commit(self, writer: Writer) -> None:
        if not self._count:
            return
        self._is_whole = False  # whatever keeps the part from being written, it is not tried twice
        self._check()
        data = writer.finish()
        layout = getattr(writer, "layout", None)
        count, self._count = self._count, 0
        bad, self._bad = self._bad, []
        self._journal.commit(
            data,
            bad,
            first=self._journal.count,
            count=count,
            end=self._end,
            columns=None if layout is None else layout.columns,
        )
        self._began = monotonic()
        self._is_whole = True

    def _judge(self, rows: int, bad: int) -> None:
        """Raise BadRowsError when too many rows have no answer."""
        most = self._job.max_bad
        if most is not None and bad > most:
            raise BadRowsError(
                f"{bad} of {rows} rows have no answer, and {most} may",
                hint=f"'{self._job.dead_letter_at}' says why; the same command goes on from here",
            )
        if most is None and bad >= ALL_BAD and bad == rows:
            raise BadRowsError(
                f"none of the first {rows} rows has an answer",
                hint=f"'{self._job.dead_letter_at}' says why; --max-bad N goes on until N are bad",
            )

    def write_dead_letter(self) -> str | None:
        """Write what is known of rows without an answer; None: there are none."""
        if not self._journal.bad:
            return None
        places.finish(self._job.dead_letter_at, self._journal.bad_lines())
        return self._job.dead_letter_at

    def assemble(self) -> None:
        """Put the whole output together, unless the parts are the output."""
        if self._job.is_folder or self._writer is None:
            return
        self._check()
        places.finish(self._job.output, self._writer.assembled(self._journal.parts()))


_NOTHING: dict[str, Any] = {"good": [], "answer": None, "bad": [], "run_s": 0.0}
