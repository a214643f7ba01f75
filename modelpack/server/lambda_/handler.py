"""The service as a handler, for ``awslambdaric`` and the base images of AWS.

    CMD ["modelpack.server.lambda_.handler.handler"]        MODELPACK_BUNDLE names the bundle

    handler(event, context) ──► the function, on an event loop in a thread of its own ──► result

The service is loaded when ``handler`` is asked for, which ``awslambdaric`` does while the function is
being made ready.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import orjson

from modelpack.server.lambda_.events import InvocationFailedError

Handler = Callable[[Any, Any], Any]


def make_handler() -> Handler:
    """Load the service of ``$MODELPACK_BUNDLE`` and return what answers events.

    Raises UsageError (no bundle is named, a setting cannot be) and what kept the service from being
    made.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from modelpack.server.__main__ import chosen
    from modelpack.server.lambda_.function import Function
    from modelpack.server.lambda_.loop import lambda_settings

    source, settings = chosen(())[1:]
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="modelpack-lambda", daemon=True).start()
    tag = os.environ.get("MODELPACK_TAG", "")
    function = Function(source, lambda_settings(settings, source), tag=tag)
    asyncio.run_coroutine_threadsafe(function.open(), loop).result()

    def handle(event: Any, context: Any) -> Any:
        left_ms = context.get_remaining_time_in_millis()
        asking = function.ask(
            orjson.dumps(event),
            request_id=context.aws_request_id,
            deadline_ms=_now_ms() + left_ms,
        )

        async def answer() -> bytes:
            try:
                return await asking
            finally:
                await function.flush()

        try:
            return orjson.loads(asyncio.run_coroutine_threadsafe(answer(), loop).result())
        except InvocationFailedError as failed:
            # awslambdaric says the name of the class and the message.
            raise type(failed.kind, (Exception,), {})(failed.message) from None

    return handle


def __getattr__(name: str) -> Handler:
    if name != "handler":
        raise AttributeError(name)
    made = globals()["handler"] = make_handler()
    return made


def _now_ms() -> int:
    from time import time

    return int(time() * 1000)
