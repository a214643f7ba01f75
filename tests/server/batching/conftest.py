"""A batcher on a loop and a clock that only move when told to.

world(runners=1, **settings)   a ``World``: ``.call(rows)``, ``.submit(...)``, ``.run()``, ``.wait(s)``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from modelpack.config.serving import BatchConfig
from modelpack.server.batching.batcher import Batcher
from modelpack.server.batching.call import Call


class Timer:
    """What ``call_later`` returns."""

    def __init__(self, at: float, callback: Callable[[], Any]) -> None:
        self.at, self.callback = at, callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Takes callbacks and runs them, one turn at a time; time passes when it is told to wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.timers: list[Timer] = []

    def clock(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        self.due.append((callback, args))

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Timer:
        timer = Timer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback, args in due:
            callback(*args)

    def run(self) -> None:
        """Turn until nothing is due at this moment."""
        for _ in range(100_000):
            if not self.due:
                return
            self.turn()
        raise AssertionError("the batcher never comes to rest")

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        end = self.now + seconds
        self.run()
        while ready := [t for t in self.timers if not t.is_cancelled and t.at <= end]:
            timer = min(ready, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
            self.run()
        self.timers = [t for t in self.timers if not t.is_cancelled]
        self.now = end

    @property
    def is_waiting(self) -> bool:
        """True while a timer is set."""
        return any(not timer.is_cancelled for timer in self.timers)


def doubled(x: Any) -> Any:
    return x * 2


class Runner:
    """Answers with ``answer(x)``: at once, when told to (``is_held``), or after ``cost_s(rows)``."""

    def __init__(self, world: World) -> None:
        self.loop = world.loop
        self.answer: Callable[[Any], Any] = doubled
        self.batches: list[list[float]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.is_held = False
        self.cost_s: Callable[[int], float] | None = None
        self.held: list[Callable[[BaseException | None], None]] = []
        self.given_up = 0

    def run(self, values: Mapping[str, Any], done: Callable[[Any, Any], None]) -> None:
        x = values["x"]
        self.batches.append([float(v) for v in np.ravel(x)])
        self.shapes.append(np.shape(x))

        def finish(error: BaseException | None = None) -> None:
            if error is not None:
                done(None, error)
                return
            try:
                answer = self.answer(x)
            except Exception as raised:
                done(None, raised)
            else:
                done(answer, None)

        if self.cost_s is not None:
            self.loop.call_later(self.cost_s(len(x)), finish)
        elif self.is_held:
            self.held.append(finish)
        else:
            finish()

    def give_up(self) -> None:
        self.given_up += 1

    def release(self, error: BaseException | None = None) -> None:
        """End the batch that is held, well or with an error."""
        self.held.pop(0)(error)

    @property
    def sizes(self) -> list[int]:
        """Rows of the batches so far."""
        return [shape[0] for shape in self.shapes]


class Recorded(Call):
    """A call that remembers how it was answered, each time."""

    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.values = {"x": rows if isinstance(rows, list) else np.asarray(rows)}
        self.rows = len(rows)
        self.answers: list[Any] = []
        self.answered_at = 0.0

    def resolve(self, answer: Any) -> None:
        self.answers.append(answer)

    def reject(self, error: BaseException) -> None:
        self.answers.append(error)

    @property
    def answer(self) -> Any:
        """How it was answered, exactly once."""
        assert len(self.answers) == 1
        return self.answers[0]


class World:
    """A batcher with runners, its loop and its clock."""

    def __init__(self, runners: int = 1, **settings: Any) -> None:
        self.loop = Loop()
        names = {"max_batch_size", "latency_ms", "max_wait_ms", "preferred_batch_sizes", "buckets",
                 "pad_value"}  # fmt: skip
        config = {"max_batch_size": 4, **{k: v for k, v in settings.items() if k in names}}
        others = {k: v for k, v in settings.items() if k not in names}
        self.batcher = Batcher(
            loop=self.loop,  # type: ignore[arg-type]
            clock=self.loop.clock,
            config=BatchConfig(**config),
            **{"batched": ("x",), **others},
        )
        self.runners: list[Runner] = []
        for _ in range(runners):
            self.add_runner()

    def add_runner(self) -> Runner:
        runner = Runner(self)
        self.runners.append(runner)
        self.batcher.add_runner(runner)
        return runner

    @property
    def runner(self) -> Runner:
        """The only runner."""
        assert len(self.runners) == 1
        return self.runners[0]

    def call(self, x: Any, /, *, timeout_s: float | None = None, **fields: Any) -> Recorded:
        """Make a call that starts now; more are its fields: ``key``, ``priority`` ..."""
        call = Recorded(x)
        call.started = self.loop.now
        if timeout_s is not None:
            call.deadline = call.started + timeout_s
        for name, value in fields.items():
            setattr(call, name, value)
        return call

    def submit(self, x: Any, /, **fields: Any) -> Recorded:
        """Make a call and queue it; nothing has happened yet."""
        call = self.call(x, **fields)
        self.batcher.submit(call)
        return call

    def submit_all(self, numbers: Iterable[float], **fields: Any) -> list[Recorded]:
        """Queue calls of one row each."""
        return [self.submit(np.array([number]), **fields) for number in numbers]

    def run(self) -> None:
        """Let everything happen that needs no time."""
        self.loop.run()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.wait(seconds)


MakeWorld = Callable[..., World]


@pytest.fixture(scope="session")
def world() -> MakeWorld:
    """Make a world; one that is made for a whole session, so that properties can be tested too."""
    return World
