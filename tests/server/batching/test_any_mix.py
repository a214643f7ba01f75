"""Whatever comes, leaves, fails, is late or loses its runner: each call has its own rows, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import modelpack
from modelpack.sdk.service import spec_of
from modelpack.server.batching.padding import Padding
from modelpack.server.batching.release import REASONS
from modelpack.server.problems import Overloaded, RunnerCrashed, RunnerLost, TimedOut, Unavailable

Make = Callable[..., Any]
POISON, DEADLY = -1.0, -2.0

CALL = st.tuples(
    st.just("call"),
    st.integers(1, 11),  # rows
    st.integers(0, 2),  # key
    st.integers(0, 2),  # priority
    st.sampled_from([None, None, 0.5, 5.0]),  # timeout
    st.sampled_from([None, None, None, POISON, DEADLY]),
)
EVENT = st.one_of(
    CALL,
    CALL,
    st.tuples(st.just("drop"), st.integers(0, 40)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.01, 0.3, 1.0, 40.0])),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("lose"), st.integers(0, 3)),
    st.tuples(st.just("lose before"), st.integers(0, 3)),
    st.tuples(st.just("add"), st.just(0)),
    st.tuples(st.just("remove"), st.integers(0, 3)),
)
RULES: list[dict[str, Any]] = [
    {},
    {"latency_ms": 50},
    {"max_wait_ms": 20},
    {"preferred_batch_sizes": (2,), "max_wait_ms": 20},
    {"preferred_batch_sizes": (1, 2)},
]


def answer_of(form: str) -> Callable[[Any], Any]:
    def answer(rows: Any) -> Any:
        numbers = np.asarray(rows, dtype=float)
        if (numbers == POISON).any():
            raise ValueError("poison")
        if form == "dict":
            return {"a": numbers * 2, "b": (list(numbers), numbers + 1)}
        return (numbers * 2).tolist() if form == "list" else numbers * 2

    return answer


class Mix:
    """A world in which the events happen, and what was asked of it."""

    def __init__(self, one: Any, form: str) -> None:
        self.one, self.form = one, form
        self.calls: list[tuple[Any, list[float]]] = []
        self.dropped: set[int] = set()
        self.hung: set[int] = set()
        """Calls that came while no runner came back."""
        self.gone: list[Any] = []
        self.number = 0.0
        for runner in one.runners:
            self.prepare(runner)

    def prepare(self, runner: Any) -> None:
        runner.is_held, runner.answer = True, answer_of(self.form)

    def happen(self, event: tuple[Any, ...]) -> None:
        name, what = event[0], event[1]
        if name == "call":
            self.call(*event[1:])
        elif name == "drop" and what < len(self.calls):
            if not self.calls[what][0].answers:
                self.dropped.add(what)
            self.one.batcher.drop(self.calls[what][0])
        elif name == "wait":
            self.one.wait(what)
            self.one.batcher.expire(self.one.loop.now)
        elif name == "turn":
            self.one.loop.turn()
        elif name == "add":
            self.prepare(self.one.add_runner())
        else:
            self.to_runner(name, what)

    def call(self, *facts: Any) -> None:
        rows, key, priority, timeout_s, bad = facts
        sent = [self.number + n for n in range(rows)]
        self.number += rows
        if bad is not None:
            sent[rows // 2] = bad
        x = sent if self.form == "list" else np.array(sent)
        call = self.one.call(x, timeout_s=timeout_s, key=key, priority=priority, size_bytes=rows)
        self.calls.append((call, sent))
        if self.one.batcher.is_stuck:
            self.hung.add(len(self.calls) - 1)
        self.one.batcher.submit(call)

    def to_runner(self, name: str, index: int) -> None:
        runners = [*self.one.runners, *self.gone]
        if not runners:
            return
        runner = runners[index % len(runners)]
        if name == "remove":
            self.one.batcher.remove_runner(runner)
            if runner in self.one.runners:
                self.one.runners.remove(runner)
                self.gone.append(runner)
        elif runner.held:
            self.end(runner, {"lose": RunnerLost(True), "lose before": RunnerLost(False)}.get(name))

    def end(self, runner: Any, error: BaseException | None) -> None:
        is_deadly = error is None and DEADLY in runner.batches[-1]
        runner.release(RunnerLost(True) if is_deadly else error)

    def finish(self) -> None:
        """Let everything come to its end, with two runners that work."""
        for _ in range(2):
            self.prepare(self.one.add_runner())
        for _ in range(3000):
            self.one.wait(0.05)
            busy = [runner for runner in (*self.one.runners, *self.gone) if runner.held]
            if not busy:
                return
            for runner in busy:
                self.end(runner, None)
        raise AssertionError("it never ends")

    def check(self, index: int) -> None:
        call, sent = self.calls[index]
        if index in self.dropped:
            assert call.answers == []
            return
        got = call.answer
        assert isinstance(got, Unavailable) == (index in self.hung)
        if isinstance(got, Unavailable):
            return
        if isinstance(got, Overloaded | TimedOut):
            assert not isinstance(got, TimedOut) or call.deadline < np.inf
        elif POISON in sent or DEADLY in sent:
            assert isinstance(got, ValueError | RunnerCrashed)
        elif isinstance(got, RunnerCrashed):  # unlucky: a test may kill its runners twice
            assert call.losses >= 2
        elif self.form == "dict":
            assert got["a"].tolist() == [2 * r for r in sent]
            assert list(got["b"][0]) == sent
            assert got["b"][1].tolist() == [r + 1 for r in sent]
        else:
            assert list(got) == [2 * r for r in sent]


@settings(max_examples=300)
@given(
    events=st.lists(EVENT, max_size=50),
    size=st.integers(2, 7),
    form=st.sampled_from(["array", "list", "dict"]),
    runners=st.integers(0, 3),
    rules=st.sampled_from(RULES),
)
def test_each_call_gets_its_own_rows_exactly_once(  # noqa: PLR0917 (what varies)
    world: Make, events: list[Any], size: int, form: str, runners: int, rules: dict[str, Any]
) -> None:
    one = world(
        runners=runners, max_batch_size=size, max_queue_rows=40, max_queue_bytes=60, **rules
    )
    mix = Mix(one, form)
    for event in events:
        mix.happen(event)
    mix.finish()

    for index in range(len(mix.calls)):
        mix.check(index)
    assert (one.batcher.waiting_rows, one.batcher.waiting_bytes) == (0, 0)
    assert one.batcher.is_idle
    assert set(one.batcher.stats.reasons) <= set(REASONS)
    assert all(max(r.sizes, default=0) <= size for r in (*one.runners, *mix.gone))


@given(events=st.lists(EVENT, max_size=40), size=st.integers(1, 7), runners=st.integers(1, 3))
def test_nothing_waits_while_a_runner_is_free(
    world: Make, events: list[Any], size: int, runners: int
) -> None:
    one = world(runners=runners, max_batch_size=size)
    mix = Mix(one, "array")
    for event in events:
        mix.happen(event)
        one.run()
        has_free = any(not runner.held for runner in one.runners)
        assert not (has_free and one.batcher.waiting_rows)


@given(events=st.lists(EVENT, max_size=40), size=st.integers(1, 7))
def test_closing_and_refusing_leave_nobody_without_an_answer(
    world: Make, events: list[Any], size: int
) -> None:
    one = world(max_batch_size=size)
    mix = Mix(one, "array")
    for event in events:
        mix.happen(event)
    one.batcher.refuse_all(Unavailable("no runner"))
    one.batcher.close()
    mix.finish()

    for index, (call, _) in enumerate(mix.calls):
        assert len(call.answers) == (index not in mix.dropped)


def of_length(count: int, length: int, first: int) -> Any:
    return np.arange(first, first + count * length).reshape(count, length)


@modelpack.service
class Padded:
    @modelpack.api(batch=True, buckets=(4, 8), pad_value=-7)
    def same(
        self, x: modelpack.Tensor["int64", "batch", "n"]
    ) -> modelpack.Tensor["int64", "batch", "n"]: ...


PADDING = Padding.of(spec_of(Padded).apis[0])


@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 10)), max_size=20),
    size=st.integers(1, 7),
    poison=st.integers(0, 400),
)
def test_padded_calls_get_their_own_rows_too(
    world: Make, shapes: list[tuple[int, int]], size: int, poison: int
) -> None:
    assert PADDING is not None
    one = world(max_batch_size=size, padding=PADDING)

    def answer(x: Any) -> Any:
        if (x == poison).any():
            raise ValueError("poison")
        return x * 2

    one.runner.answer = answer
    calls, first = [], 0
    for count, length in shapes:
        x = of_length(count, length, first)
        first += count * length
        calls.append((one.submit(x, key=PADDING.shape("x", x)), x))
    one.run()

    assume(calls)
    for call, x in calls:
        if (x == poison).any():
            assert isinstance(call.answer, ValueError)
        else:
            assert call.answer.tolist() == (2 * x).tolist()
    stats = one.batcher.stats
    if not any((x == poison).any() for _, x in calls):
        assert stats.real_elements == sum(x.size for _, x in calls)
