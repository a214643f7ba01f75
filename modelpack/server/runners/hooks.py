"""Makes an instance of the service and calls its hooks, off the event loop where they are sync.

ServiceSpec ──create──► instance ──start-up hooks──► …requests… ──shut-down hooks──►
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from modelpack.errors import ModelpackError, UserCodeError
from modelpack.sdk.service import ServiceSpec
from modelpack.server.observe.logs import event, trace_of
from modelpack.server.runners.threads import Worker


async def make_instance(spec: ServiceSpec, worker: Worker) -> Any:
    """Return a new instance whose start-up hooks have run; raises UserCodeError and the like.

    The class is called in ``worker``: probes are answered while a model loads.
    """
    instance = await worker.run(spec.create)
    await run_hooks(instance, spec.startup_hooks, worker)
    return instance


async def end_instance(spec: ServiceSpec, instance: Any, worker: Worker) -> bool:
    """Run the shut-down hooks; returns False, and logs why, when one failed."""
    try:
        await run_hooks(instance, spec.shutdown_hooks, worker)
    except Exception as error:
        event("shutdown-failed", level=logging.ERROR, error=str(error), trace=trace_of(error))
        return False
    return True


async def run_hooks(instance: Any, names: tuple[str, ...], worker: Worker) -> None:
    """Call the named methods one after the other; raises UserCodeError."""
    for name in names:
        hook: Callable[[], Any] = getattr(instance, name)
        try:
            if inspect.iscoroutinefunction(hook):
                await hook()
            else:
                await worker.run(hook)
        except ModelpackError:
            raise
        except Exception as cause:
            raise UserCodeError(
                f"the hook '{name}' failed: {type(cause).__name__}: {cause}",
                hint="run again with -v to see where",
            ) from cause
