"""Calls an api's method a few times before the first request does.

    api ──warm_up──► one row, 2, 4 … max_batch_size rows, every bucket ──► Trial(rows, seconds, held)

The first call of each size pays for what is made only once.  The others say what batches cost, where
the method should run, and whether it holds the interpreter lock.

Warm calls are made only of apis whose parameters are all arrays: what such a method does is
compute, while a call with made-up text might send a letter.  They take a second or two at the most,
unless a single call takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.server.observe.logs import event
from modelpack.server.runners.lock import LockProbe, watching_lock
from modelpack.server.runners.threads import Worker

_MEASURED_CALLS = 5
_BUDGET_S = 1.0
"""How long the calls of one api may take beyond the first two of one row."""
_WATCH_S = 2e-3
"""After a shorter call the lock is not watched: it is not held for long enough to be felt."""
_LONGEST_CALL_S = 10.0
"""A size whose call should take longer is not tried."""


@dataclass(slots=True)
class Trial:
    """What the calls of one size showed."""

    values: Mapping[str, Any]
    """Arguments of the last call."""
    rows: int
    seconds: list[float] = field(default_factory=list)
    """How long the calls took, without the first."""
    held: list[float] = field(default_factory=list)
    """Share of each of these calls in which nobody else had the interpreter lock; 0 to 1."""

    @property
    def typical_s(self) -> float:
        """The middle one of the times."""
        return median(self.seconds)

    @property
    def typical_held(self) -> float:
        """The middle one of the shares; 0: not measured."""
        return median(self.held) if self.held else 0.0


def is_safe_to_try(api: ApiSpec) -> bool:
    """Say whether a call with made-up values does nothing but compute."""
    return (
        bool(api.parameters)
        and not api.is_stream
        and not api.is_async
        and all(isinstance(p.value, TensorValue) for p in api.parameters)
    )


async def warm_up(
    api: ApiSpec, method: Callable[..., Any], worker: Worker, *, watches_lock: bool = False
) -> list[Trial]:
    """Call the method with samples in ``worker``; returns a trial for each size, one row first.

    Empty: the api was not tried, or refused its sample, which is no reason not to start.
    """
    if not is_safe_to_try(api):
        return []
    tasting = _Tasting(api, method, worker, watches_lock=watches_lock)
    try:
        for make, rows in samples(api):
            await tasting.taste(make, rows)
    except Exception as error:
        event("warm-up-skipped", api=api.name, error=f"{type(error).__name__}: {error}")
    return tasting.trials


class _Tasting:
    """The warm calls of one api."""

    def __init__(
        self, api: ApiSpec, method: Callable[..., Any], worker: Worker, *, watches_lock: bool
    ) -> None:
        self._method = method
        self._worker = worker
        self._watches_lock = watches_lock
        self._left_s = _BUDGET_S
        self._most_rows = api.batch.max_batch_size if api.batch else 1
        self.trials: list[Trial] = []

    async def taste(self, make: Callable[[], dict[str, Any]], rows: int) -> None:
        """Try a size, if what is known of smaller ones says that there is time for it."""
        row_s = self.trials[-1].typical_s / self.trials[-1].rows if self.trials else 0.0
        if row_s * rows > _LONGEST_CALL_S:
            return
        # The largest size is what load will bring: it is tried whatever it takes.
        if self.trials and rows < self._most_rows and row_s * rows * 3 > self._left_s:
            return
        trial = Trial(make(), rows)
        took, _ = await self._call(trial.values, watches_lock=False)
        if self.trials and took > self._left_s:  # too long to try again: the first one counts
            trial.seconds.append(took)
        while not trial.seconds or (len(trial.seconds) < _MEASURED_CALLS and took < self._left_s):
            trial.values = make()
            watches_lock = self._watches_lock and took > _WATCH_S
            took, held = await self._call(trial.values, watches_lock=watches_lock)
            trial.seconds.append(took)
            trial.held.extend(held)
            self._left_s -= took
        self.trials.append(trial)

    async def _call(
        self, values: Mapping[str, Any], *, watches_lock: bool
    ) -> tuple[float, list[float]]:
        watching = watching_lock() if watches_lock else nullcontext()
        with watching as probe:
            took: float = await self._worker.run(partial(_timed, self._method, values))
        return took, [probe.share] if isinstance(probe, LockProbe) else []


def samples(api: ApiSpec) -> Iterator[tuple[Callable[[], dict[str, Any]], int]]:
    """Yield what makes the arguments for each size to try, and its rows; one row first.

    Every call gets arrays of its own, since a method may write into them.
    """
    if api.batch is None:
        yield partial(_sample, api), 1
        return
    most = api.batch.max_batch_size
    sizes = [1 << power for power in range(most.bit_length()) if 1 << power < most] + [most]
    for rows in sizes:
        yield partial(_sample, api, rows), rows
    for length in api.batch.buckets if api.variable_axes else ():
        for rows in sorted({1, most}):
            yield partial(_sample, api, rows, length), rows


def _sample(api: ApiSpec, rows: int = 1, length: int | None = None) -> dict[str, Any]:
    """Return the arguments of the api's example with so many rows, and axes of that length."""
    values = api.decode(api.sample()).values
    for name in api.batched:
        one = values[name]
        if length is not None:
            one = _stretched(one, api.variable_axes.get(name, ()), length)
        values[name] = np.concatenate([one] * -(-rows // len(one)))[:rows]
    return values


def _stretched(array: Any, axes: tuple[int, ...], length: int) -> Any:
    """Return the array with these axes of that length: cut, or its content again and again."""
    for axis in axes:
        if array.shape[axis]:
            indices = np.arange(length) % array.shape[axis]
            array = np.take(array, indices, axis=axis)
        else:
            shape = list(array.shape)
            shape[axis] = length
            array = np.zeros(shape, array.dtype)
    return np.ascontiguousarray(array)


def _timed(method: Callable[..., Any], values: Mapping[str, Any]) -> float:
    began = perf_counter()
    method(**values)
    return perf_counter() - began
