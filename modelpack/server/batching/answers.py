"""Hands the answer of a batch back to its calls, and tells what to do with a batch that failed.

    plain answer ──deliver──► each call its own rows         a cut call once all its slices are there
    error        ──after──►   two halves to run again        until one call is left, which it is due to
    lost runner  ──after──►   every call again, by itself    nobody is blamed for another

What always holds: a call is answered once; an answer with another number of rows than were asked for
reaches nobody.
"""

from __future__ import annotations

from typing import Any

from modelpack.server.batching.call import Batch, Call, Parts
from modelpack.server.batching.padding import Padding
from modelpack.server.batching.rows import WrongRows, merge, splitter
from modelpack.server.problems import RunnerCrashed, RunnerLost

MOST_LOSSES = 2
"""A call that has lost so many runners, the last one alone, is what they die of."""


def deliver(batch: Batch, plain: Any, began: float, took: float, padding: Padding | None) -> None:
    """Give each call its rows; raises WrongRows, before any call got some."""
    split = splitter(plain, batch.rows)
    at = 0
    for call, start, stop in batch.slices:
        end = at + stop - start
        if not call.is_done:
            call.queue_s = began - call.started
            call.run_s = took
            part = split(at, end)
            if padding is not None:
                part = padding.cut(part, call.values)
            if stop - start == call.rows:
                call.is_done = True
                call.resolve(part)
            else:
                _add_part(call, start, stop, part)
        at = end


def deliver_whole(batch: Batch, plain: Any, began: float, took: float) -> None:
    """Give the only call of a batch, of an api without rows, its answer."""
    call = batch.slices[0][0]
    if not call.is_done:
        call.queue_s = began - call.started
        call.run_s = took
        call.is_done = True
        call.resolve(plain)


def _add_part(call: Call, start: int, stop: int, part: Any) -> None:
    if call.parts is None:
        call.parts = Parts()
    call.parts.add(start, stop, part)
    if call.parts.rows == call.rows:
        answer = merge(call.parts.in_order())
        call.is_done = True
        call.resolve(answer)


Blame = tuple[Call, BaseException]


def after(batch: Batch, error: BaseException) -> tuple[list[Batch], list[Blame]]:
    """Return what to run again of a batch that failed, the first first, and whom its error is due to.

    Of a wrong number of rows it cannot be told whose are missing: it fails the whole batch.
    """
    if isinstance(error, RunnerLost):
        return _replays(batch, has_begun=error.has_begun)
    if len(batch.slices) > 1 and not isinstance(error, WrongRows):
        middle = len(batch.slices) // 2
        halves = batch.slices[:middle], batch.slices[middle:]
        return [Batch(half, 0, "retry") for half in halves], []
    return [], [(call, error) for call, _, _ in batch.slices]


def _replays(batch: Batch, *, has_begun: bool) -> tuple[list[Batch], list[Blame]]:
    """A batch that was not begun goes again as it was; of one that was, each call goes alone.

    A call that went alone for that reason already, and loses a runner once more, is the cause.
    """
    if not has_begun:
        return [Batch(batch.slices, 0, "replay")], []
    is_alone = len(batch.slices) == 1 and batch.reason == "replay"
    again: list[Batch] = []
    blamed: list[Blame] = []
    for one in batch.slices:
        call = one[0]
        call.losses += 1
        if is_alone and call.losses >= MOST_LOSSES:
            blamed.append((call, RunnerCrashed(f"{call.losses} runners died of it")))
        else:
            again.append(Batch([one], 0, "replay"))
    return again, blamed
