"""Calls an api's method a few times before the first request does.

Warm calls are made only of apis whose parameters are all arrays: what such a method does is
compute, while a call with made-up text might send a letter.  Their times tell where to run it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.server.observe.logs import event
from modelpack.server.runners.threads import Worker

_MEASURED_CALLS = 5


def is_safe_to_try(api: ApiSpec) -> bool:
    """Say whether a call with made-up values does nothing but compute."""
    return (
        bool(api.parameters)
        and not api.is_stream
        and not api.is_async
        and all(isinstance(p.value, TensorValue) for p in api.parameters)
    )


async def warm_up(api: ApiSpec, method: Callable[..., Any], worker: Worker) -> list[float]:
    """Call the method with its sample in ``worker``; returns the seconds of the calls.

    The first call pays for what is made once and is not among them.  Empty: it was not tried, or
    it refused the sample.
    """
    if not is_safe_to_try(api):
        return []
    seconds: list[float] = []
    try:
        for _ in range(1 + _MEASURED_CALLS):
            values = api.decode(api.sample()).values
            seconds.append(await worker.run(partial(_timed, method, values)))
    except Exception as error:
        # A made-up input may be one that the service refuses: it is not a reason not to start.
        event("warm-up-skipped", api=api.name, error=f"{type(error).__name__}: {error}")
        return []
    return seconds[1:]


def _timed(method: Callable[..., Any], values: dict[str, Any]) -> float:
    began = perf_counter()
    method(**values)
    return perf_counter() - began
