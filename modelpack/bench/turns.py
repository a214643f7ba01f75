"""Two servers measured in turns, A B A B, so that what changes meanwhile meets both.

    aims of A and B ──one short load each, again and again──► Turns ──compare──► differences

It is the fair way to compare two builds: a saved run was made at another time, perhaps beside another
neighbour.  Both servers stand ready all the while; the one whose turn it is not has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modelpack.bench.aim import Aim
from modelpack.bench.compare import Difference, compare_blocks
from modelpack.bench.load import Load
from modelpack.bench.result import Result
from modelpack.bench.session import Watch, measure
from modelpack.bench.slices import Slice, merged

LEAST_TURN_S = 0.5
_LATER_WARMUP_S = 0.3


@dataclass(frozen=True, slots=True)
class Turns:
    """What both sides measured; one block of slices for each turn."""

    a: Result
    b: Result
    blocks_a: tuple[tuple[Slice, ...], ...]
    blocks_b: tuple[tuple[Slice, ...], ...]

    @property
    def differences(self) -> list[Difference]:
        """How B differs from A."""
        return compare_blocks(self.blocks_a, self.blocks_b, is_paired=True)


def measure_in_turns(
    a: Aim,
    b: Aim,
    load: Load,
    *,
    rounds: int,
    watch: Watch | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Turns:
    """Measure each for ``load.duration_s`` in all, in turns; raises BenchError as ``measure`` does."""
    turn_s = load.duration_s / rounds
    if turn_s < LEAST_TURN_S:
        raise ValueError(
            f"rounds: each turn would be {turn_s:.2g} s, give at most "
            f"{int(load.duration_s / LEAST_TURN_S)} or a longer --duration"
        )
    seen: tuple[list[Result], list[Result]] = ([], [])
    for number in range(rounds):
        warmup_s = load.warmup_s if number == 0 else min(load.warmup_s, _LATER_WARMUP_S)
        turn = replace(load, duration_s=turn_s, warmup_s=warmup_s)
        note(f"round {number + 1} of {rounds}")
        for aim, results in zip((a, b), seen, strict=True):
            results.extend(measure([aim], turn, watch=watch))
        if any(results[-1].is_cut for results in seen):
            break
    return Turns(_joined(seen[0], load), _joined(seen[1], load), _blocks(seen[0]), _blocks(seen[1]))


def _joined(turns: Sequence[Result], load: Load) -> Result:
    first = turns[0]
    tail = merged(one.tail for one in turns)
    return replace(
        first,
        load=load,
        slices=tuple(slice_ for one in turns for slice_ in one.slices),
        tail=tail,
        server=None,
        is_cut=any(one.is_cut for one in turns),
        failure=next((one.failure for one in turns if one.failure), ""),
    )


def _blocks(turns: Sequence[Result]) -> tuple[tuple[Slice, ...], ...]:
    return tuple(one.slices for one in turns if one.slices)
