"""Runs the load's coroutines on the fastest event loop that this machine has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_on_fast_loop(what: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop; on the loop of Python where that is not to be had."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(what)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
