"""Gathering rows and handing answers back, on a loop that only moves when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.call import Call
from modelpack.server.problems import BadOutput, Overloaded, TimedOut, Unavailable


class Loop:
    """Takes callbacks and runs them, one turn at a time."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        self.callbacks.append((callback, args))

    def turn(self) -> None:
        due, self.callbacks = self.callbacks, []
        for callback, args in due:
            callback(*args)

    def run(self) -> None:
        for _ in range(10_000):
            if not self.callbacks:
                return
            self.turn()
        raise AssertionError("the batcher never comes to rest")


class Runner:
    """Doubles every row and remembers the batches; ``is_held`` answers only when told to."""

    def __init__(self, answer: Callable[[Any], Any] = lambda x: x * 2) -> None:
        self.answer = answer
        self.batches: list[list[float]] = []
        self.is_held = False
        self.held: list[Callable[[], None]] = []
        self.given_up = 0

    def run(self, values: Mapping[str, Any], done: Callable[[Any, Any], None]) -> None:
        self.batches.append([float(v) for v in np.ravel(values["x"])])

        def finish() -> None:
            try:
                answer = self.answer(values["x"])
            except Exception as error:
                done(None, error)
            else:
                done(answer, None)

        if self.is_held:
            self.held.append(finish)
        else:
            finish()

    def give_up(self) -> None:
        self.given_up += 1

    def release(self) -> None:
        self.held.pop(0)()


class Recorded(Call):
    """A call that remembers how it was answered, each time."""

    def __init__(self, rows: Any, *, key: Any = None, started: float = 0.0) -> None:
        super().__init__()
        self.values = {"x": rows if isinstance(rows, list) else np.asarray(rows)}
        self.rows = len(rows)
        self.key = key
        self.started = started
        self.answers: list[Any] = []

    def resolve(self, answer: Any) -> None:
        self.answers.append(answer)

    def reject(self, error: BaseException) -> None:
        self.answers.append(error)

    @property
    def answer(self) -> Any:
        assert len(self.answers) == 1
        return self.answers[0]


def make(runner: Runner, **options: Any) -> tuple[Batcher, Loop]:
    loop = Loop()
    settings: dict[str, Any] = {"batched": ("x",), "max_batch_size": 4, **options}
    return Batcher(runner, loop=loop, **settings), loop  # type: ignore[arg-type]


def test_what_arrives_in_one_turn_runs_together() -> None:
    runner = Runner()
    batcher, loop = make(runner)
    calls = [Recorded(np.array([n])) for n in (1, 2, 3)]

    for call in calls:
        batcher.submit(call)
    loop.turn()

    assert runner.batches == [[1, 2, 3]]
    assert [call.answer.tolist() for call in calls] == [[2], [4], [6]]


def test_a_lone_request_runs_at_once_and_is_not_copied() -> None:
    runner = Runner(lambda x: x)
    batcher, loop = make(runner)
    call = Recorded(np.array([1.0]))
    rows = call.values["x"]

    batcher.submit(call)
    loop.turn()

    assert np.shares_memory(call.answer, rows)


def test_while_the_runner_is_busy_requests_gather() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    calls = [Recorded(np.array([n])) for n in range(6)]

    batcher.submit(calls[0])
    loop.run()
    for call in calls[1:]:
        batcher.submit(call)
        loop.run()
    for _ in range(3):
        runner.release()
        loop.run()

    assert runner.batches == [[0], [1, 2, 3, 4], [5]]
    assert [call.answer.tolist() for call in calls] == [[2 * n] for n in range(6)]


def test_a_request_that_does_not_fit_any_more_stays_whole() -> None:
    runner = Runner()
    batcher, loop = make(runner)
    calls = [Recorded(np.array(rows)) for rows in ([1, 2, 3], [4, 5])]

    for call in calls:
        batcher.submit(call)
    loop.run()

    assert runner.batches == [[1, 2, 3], [4, 5]]


def test_small_requests_go_between_the_slices_of_a_large_one() -> None:
    runner = Runner()
    batcher, loop = make(runner)
    large, small = Recorded(np.arange(10)), Recorded(np.array([100]))

    batcher.submit(large)
    batcher.submit(small)
    loop.run()

    assert runner.batches == [[0, 1, 2, 3], [100, 4, 5, 6], [7, 8, 9]]
    assert large.answer.tolist() == [2 * n for n in range(10)]
    assert small.answer.tolist() == [200]


@pytest.mark.parametrize(
    ("latency_s", "row_s", "batches"),
    [
        (None, 0.001, [1, 20]),
        (0.010, 0.001, [1, 5, 5, 5, 5]),  # half of the goal for one batch
        (0.010, 0.0001, [1, 20]),
        (0.010, 0.1, [1] * 21),  # the goal cannot be met: as short as can be
    ],
)
def test_a_batch_grows_no_longer_than_the_goal_allows(
    monkeypatch: pytest.MonkeyPatch, latency_s: float | None, row_s: float, batches: list[int]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("modelpack.server.batching.batcher.perf_counter", lambda: clock[0])

    def answer(x: Any) -> Any:
        clock[0] += row_s * len(x)
        return x

    runner = Runner(answer)
    batcher, loop = make(runner, max_batch_size=32, latency_s=latency_s)
    calls = [Recorded([[float(n)]]) for n in range(21)]
    batcher.submit(calls[0])  # teaches what a row costs
    loop.run()
    for call in calls[1:]:
        batcher.submit(call)
    loop.run()

    assert [len(batch) for batch in runner.batches] == batches
    assert [call.answer for call in calls] == [[[float(n)]] for n in range(21)]


def test_requests_with_different_keys_never_share_a_batch() -> None:
    runner = Runner()
    batcher, loop = make(runner)
    calls = [Recorded(np.array([n]), key=n % 2) for n in range(6)]

    for call in calls:
        batcher.submit(call)
    loop.run()

    assert runner.batches == [[0, 2, 4], [1, 3, 5]]
    assert [call.answer.tolist() for call in calls] == [[2 * n] for n in range(6)]


def test_no_group_waits_for_ever_behind_another() -> None:
    runner = Runner()
    batcher, loop = make(runner, max_batch_size=1)
    for n in range(5):
        batcher.submit(Recorded(np.array([n]), key="many"))
    batcher.submit(Recorded(np.array([100]), key="one"))
    loop.run()

    assert runner.batches.index([100]) == 1


def fails_on(poison: float) -> Callable[[Any], Any]:
    def answer(x: Any) -> Any:
        if poison in x:
            raise ValueError("poison")
        return x * 2

    return answer


@pytest.mark.parametrize("position", range(4))
def test_only_the_poison_request_fails(position: int) -> None:
    batcher, loop = make(Runner(fails_on(666)))
    calls = [Recorded(np.array([666 if n == position else n])) for n in range(4)]

    for call in calls:
        batcher.submit(call)
    loop.run()

    assert isinstance(calls[position].answer, ValueError)
    mates = [call for n, call in enumerate(calls) if n != position]
    assert [call.answer.tolist() for call in mates] == [[2 * c.values["x"][0]] for c in mates]


def test_a_poison_slice_fails_the_whole_request_and_nobody_else() -> None:
    batcher, loop = make(Runner(fails_on(9)))
    large, small = Recorded(np.arange(30)), Recorded(np.array([100]))

    batcher.submit(large)
    batcher.submit(small)
    loop.run()

    assert isinstance(large.answer, ValueError)
    assert small.answer.tolist() == [200]
    assert batcher.is_idle


@pytest.mark.parametrize("change", [lambda x: x[1:], lambda x: np.append(x, 0), lambda _: 5])
def test_a_wrong_number_of_rows_fails_the_batch_and_shifts_nobody(change: Any) -> None:
    runner = Runner(change)
    batcher, loop = make(runner)
    calls = [Recorded(np.array([n])) for n in range(3)]

    for call in calls:
        batcher.submit(call)
    loop.run()

    assert all(isinstance(call.answer, BadOutput) for call in calls)
    assert runner.batches == [[0, 1, 2]]


def test_a_dropped_request_never_reaches_the_runner() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    running, dropped, kept = (Recorded(np.array([n])) for n in range(3))

    batcher.submit(running)
    loop.run()
    batcher.submit(dropped)
    batcher.submit(kept)
    batcher.drop(dropped)
    runner.release()
    loop.run()
    runner.release()

    assert runner.batches == [[0], [2]]
    assert dropped.answers == []
    assert batcher.waiting_rows == 0


def test_a_request_dropped_while_it_runs_is_not_answered_and_harms_nobody() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    dropped, kept = Recorded(np.array([1])), Recorded(np.array([2]))

    batcher.submit(dropped)
    batcher.submit(kept)
    loop.run()
    batcher.drop(dropped)
    runner.release()

    assert dropped.answers == []
    assert kept.answer.tolist() == [4]


def test_a_full_queue_refuses_and_what_waits_is_still_answered() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner, max_queue_rows=4)
    first = Recorded(np.array([0]))
    batcher.submit(first)
    loop.run()
    waiting = Recorded(np.array([1, 2, 3]))
    batcher.submit(waiting)
    refused = Recorded(np.array([4, 5]))
    batcher.submit(refused)
    runner.is_held = False
    runner.release()
    loop.run()

    assert isinstance(refused.answer, Overloaded)
    assert refused.answer.retry_after_s >= 1
    assert waiting.answer.tolist() == [2, 4, 6]


def test_a_request_larger_than_the_queue_is_taken_when_the_queue_is_empty() -> None:
    batcher, loop = make(Runner(), max_queue_rows=4)
    call = Recorded(np.arange(9))

    batcher.submit(call)
    loop.run()

    assert call.answer.tolist() == [2 * n for n in range(9)]


def test_late_requests_are_rejected_without_computing() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    running, late, fresh = (Recorded(np.array([n]), started=n) for n in range(3))
    batcher.submit(running)
    loop.run()
    batcher.submit(late)
    batcher.submit(fresh)

    batcher.expire(before=1.5)
    runner.release()
    loop.run()
    runner.release()

    assert isinstance(running.answer, TimedOut)
    assert isinstance(late.answer, TimedOut)
    assert fresh.answer.tolist() == [4]
    assert runner.batches == [[0], [2]]


def test_a_large_request_that_is_late_between_its_slices_is_answered_once() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    call = Recorded(np.arange(10))
    batcher.submit(call)
    loop.run()

    batcher.expire(before=1.0)
    runner.release()
    loop.run()

    assert isinstance(call.answer, TimedOut)
    assert runner.batches == [[0, 1, 2, 3]]
    assert batcher.is_idle


def test_a_call_that_does_not_come_back_is_given_up_and_others_are_refused_at_once() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    batcher.submit(Recorded(np.array([1])))
    loop.run()

    batcher.expire(before=float("inf"))
    refused = Recorded(np.array([2]))
    batcher.submit(refused)
    was_stuck = batcher.is_stuck
    runner.release()
    loop.run()
    runner.is_held = False
    taken = Recorded(np.array([3]))
    batcher.submit(taken)
    loop.run()

    assert (was_stuck, batcher.is_stuck, runner.given_up) == (True, False, 1)
    assert isinstance(refused.answer, Unavailable)
    assert taken.answer.tolist() == [6]


def test_rows_that_cannot_be_joined_fail_and_stop_nobody_else() -> None:
    batcher, loop = make(Runner())
    calls = [Recorded(np.zeros((1, 2))), Recorded(np.zeros((1, 3)))]
    for call in calls:
        batcher.submit(call)
    loop.run()

    assert [call.answer.shape for call in calls] == [(1, 2), (1, 3)]


def test_closing_answers_everything_that_is_left() -> None:
    runner = Runner()
    runner.is_held = True
    batcher, loop = make(runner)
    calls = [Recorded(np.array([n])) for n in range(3)]
    batcher.submit(calls[0])
    loop.run()
    batcher.submit(calls[1])

    batcher.close()
    batcher.submit(calls[2])
    runner.release()
    loop.run()

    assert all(isinstance(call.answer, Unavailable) for call in calls)
    assert batcher.is_idle


def test_without_batching_every_call_runs_alone_with_its_own_values() -> None:
    runner = Runner(lambda x: list(x))
    batcher, loop = make(runner, batched=(), max_batch_size=1)
    calls = [Recorded([n, n + 1]) for n in range(3)]
    for call in calls:
        call.rows = 1
        batcher.submit(call)
    loop.run()

    assert [call.answer for call in calls] == [[0, 1], [1, 2], [2, 3]]


def test_the_counts_tell_the_mean_batch() -> None:
    batcher, loop = make(Runner())
    for rows in (1, 2, 1):
        batcher.submit(Recorded(np.zeros(rows)))
    loop.run()

    assert (batcher.stats.batches, batcher.stats.rows) == (1, 4)
    assert sum(batcher.stats.buckets) == 1


Event = tuple[str, int, int]
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 11), st.integers(0, 2)),
        st.tuples(st.just("poison"), st.integers(1, 11), st.integers(0, 2)),
        st.tuples(st.just("drop"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("expire"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("turn"), st.just(0), st.just(0)),
        st.tuples(st.just("release"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(events=EVENTS, size=st.integers(1, 7), form=st.sampled_from(["array", "list", "dict"]))
def test_any_mix_gives_each_request_its_own_rows_exactly_once(
    events: list[Event], size: int, form: str
) -> None:
    """Whatever comes, leaves, fails or is late, in whatever order the runner answers."""

    def answer(rows: Any) -> Any:
        numbers = np.asarray(rows, dtype=float)
        if (numbers < 0).any():
            raise ValueError("poison")
        if form == "dict":
            return {"a": numbers * 2, "b": (list(numbers), numbers + 1)}
        return (numbers * 2).tolist() if form == "list" else numbers * 2

    runner = Runner(answer)
    runner.is_held = True
    batcher, loop = make(runner, max_batch_size=size, max_queue_rows=25)
    calls: list[tuple[Recorded, list[float], bool]] = []
    dropped: set[int] = set()
    number = 0.0
    for name, count, key in events:
        if name in ("submit", "poison"):
            rows = [number + n for n in range(count)]
            number += count
            sent = [-1.0 if name == "poison" and n == count // 2 else r for n, r in enumerate(rows)]
            call = Recorded(sent if form == "list" else np.array(sent), key=key, started=len(calls))
            calls.append((call, sent, name == "poison"))
            batcher.submit(call)
        elif name == "drop" and count < len(calls):
            if not calls[count][0].answers:
                dropped.add(count)
            batcher.drop(calls[count][0])
        elif name == "expire":
            batcher.expire(before=count)
        elif name == "turn":
            loop.turn()
        elif name == "release" and runner.held:
            runner.release()
    for _ in range(1000):
        loop.run()
        if not runner.held:
            break
        runner.release()

    for index, (call, sent, is_poison) in enumerate(calls):
        if index in dropped:
            assert call.answers == []
            continue
        got = call.answer
        if isinstance(got, Overloaded | TimedOut):
            continue
        if is_poison:
            assert isinstance(got, ValueError)
        elif form == "dict":
            assert got["a"].tolist() == [2 * r for r in sent]
            assert list(got["b"][0]) == sent
            assert got["b"][1].tolist() == [r + 1 for r in sent]
        else:
            assert list(got) == [2 * r for r in sent]
    assert batcher.waiting_rows == 0
    assert batcher.is_idle
    assert all(len(batch) <= size for batch in runner.batches)
