"""Makes the service's instance and gets it ready for its first request.

    ServiceSpec ──create, in a thread──► instance ──start-up hooks──► warm calls ──► ready

Loading runs off the event loop, so that probes are answered meanwhile.  Warm calls are made only of
apis whose parameters are all arrays: what such a method does is compute, while a call with made-up
text might send a letter.  Their times tell the runner where to run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from modelpack.errors import ModelpackError, UserCodeError
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorValue
from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.logs import event
from modelpack.server.runners.threads import Worker

_MEASURED_CALLS = 5


async def make_ready(spec: ServiceSpec, endpoints: list[Endpoint]) -> Any:
    """Return the service's instance with every endpoint bound to it; raises UserCodeError."""
    loop = asyncio.get_running_loop()
    worker = Worker("modelpack-start", loop)
    try:
        instance = await worker.run(spec.create)
        await run_hooks(instance, spec.startup_hooks, worker)
        for endpoint in endpoints:
            endpoint.bind(instance, loop)
            await _warm(endpoint)
    finally:
        worker.close()
    return instance


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


def is_safe_to_try(api: ApiSpec) -> bool:
    """Say whether a call with made-up values does nothing but compute."""
    return (
        bool(api.parameters)
        and not api.is_stream
        and not api.is_async
        and all(isinstance(p.value, TensorValue) for p in api.parameters)
    )


async def _warm(endpoint: Endpoint) -> None:
    """Call the method a few times with its sample; the first call pays for what is made once."""
    api, worker = endpoint.api, endpoint.worker
    if worker is None or not is_safe_to_try(api):
        return
    seconds: list[float] = []
    try:
        for _ in range(1 + _MEASURED_CALLS):
            values = api.decode(api.sample()).values
            seconds.append(await worker.run(partial(_timed, endpoint.method, values)))
    except Exception as error:
        # A made-up input may be one that the service refuses: it is not a reason not to start.
        text = f"{type(error).__name__}: {error}"
        event("warm-up-skipped", api=api.name, error=text)
        return
    endpoint.measured(seconds[1:])


def _timed(method: Callable[..., Any], values: dict[str, Any]) -> float:
    began = perf_counter()
    method(**values)
    return perf_counter() - began
