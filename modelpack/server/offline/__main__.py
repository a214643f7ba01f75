"""``python -m modelpack.server.offline CHANNEL PARENT``: a service for the rows of ``modelpack batch``.

    CHANNEL   number of the inherited descriptor of the socket
    PARENT    pid of the process that started it, which it does not outlive

    order ──► open the service, load, warm up ──► hello ──► chunks … ──► the socket ends: hooks, 0
                                              └─► failed: code, message, hint

What the service prints goes to standard error.  Ctrl-C is the parent's to decide about.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelpack.server.life.orphans import tie_to

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.source import Source
    from modelpack.sdk.api import ApiSpec
    from modelpack.sdk.service import ServiceSpec

EXIT_FAILED = 1

_NO_LIMIT = 1 << 40


def main(descriptor: int, parent: int) -> int:
    """Serve until the parent hangs up; returns the exit status."""
    tie_to(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Before anything can import onnxruntime: its Linux wheel sends telemetry otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import uvloop

    from modelpack.config.settings import ServerSettings, settings_from
    from modelpack.server.observe.logs import configured
    from modelpack.server.offline.frames import read_message

    with socket.socket(fileno=descriptor) as channel:
        order = read_message(channel)
        if order is None:
            return EXIT_FAILED
        settings = settings_from(ServerSettings, order["settings"])
        channel.setblocking(False)
        with (
            configured(settings.log_format, settings.log_level),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_run(channel, order, _unlimited(settings, order)))


async def _run(channel: socket.socket, order: dict[str, Any], settings: ServerSettings) -> int:
    from modelpack.errors import ModelpackError
    from modelpack.frameworks.source import Source
    from modelpack.server.life.versions import settle
    from modelpack.server.offline.describe import check_constants, describe
    from modelpack.server.offline.frames import to_bytes
    from modelpack.server.offline.serving import OfflineEndpoint, Serving
    from modelpack.server.runners.place import open_place

    loop = asyncio.get_running_loop()
    source = Source.from_text(order["source"])
    try:
        spec = await asyncio.to_thread(source.open)
        api = _api_of(spec, order["api"], order["batch_size"])
        check_constants(api, order["constants"])
        endpoint = OfflineEndpoint(api, settings)
        place = await open_place(spec, [endpoint], settings, source=_for_others(source, settings))
    except Exception as error:
        failed: dict[str, Any] = {"code": "failed", "message": f"{type(error).__name__}: {error}"}
        if isinstance(error, ModelpackError):
            failed = {"code": error.code, "message": error.message, "hint": error.hint}
        await loop.sock_sendall(channel, to_bytes({"failed": failed}))
        return EXIT_FAILED
    settle()
    hello = describe(spec, endpoint.api, place.kind)
    await loop.sock_sendall(channel, to_bytes({"hello": hello}))
    try:
        await Serving(channel, endpoint, place, dict(order["constants"])).run()
    finally:
        endpoint.close()
        is_clean = await place.close()
    return 0 if is_clean else EXIT_FAILED


def _api_of(spec: ServiceSpec, name: str, batch_size: int | None) -> ApiSpec:
    """Return the api as it runs here: with no clock, and with the size of batches asked for.

    Raises NotFoundError.
    """
    from modelpack.errors import NotFoundError, did_you_mean

    names = [api.name for api in spec.apis]
    if name not in names:
        near = did_you_mean(name, names)
        raise NotFoundError(
            f"'{spec.name}' has no api '{name}'",
            hint=f"did you mean '{near}'?" if near else f"it has {', '.join(names)}",
        )
    api = spec.apis[names.index(name)]
    if api.batch is None:
        return api
    batch = replace(api.batch, latency_ms=None, max_wait_ms=None)
    if batch_size is not None:
        batch = replace(batch, max_batch_size=batch_size, preferred_batch_sizes=())
    return replace(api, batch=batch)


def _unlimited(settings: ServerSettings, order: dict[str, Any]) -> ServerSettings:
    """Return the settings without the limits that are there for many clients."""
    return replace(
        settings,
        workers=1,
        max_queue_rows=_NO_LIMIT,
        max_queue_bytes=_NO_LIMIT,
        request_timeout_s=float(order["timeout_s"]),
        tracing=False,
        exemplars=False,
        access_log=False,
    )


def _for_others(source: Source, settings: ServerSettings) -> Source | None:
    """Return how another process opens the service; None: it stays in this one, which serves nobody.

    A method that keeps the interpreter to itself is moved out of a server for the sake of its other
    requests.  Here there are none, unless several replicas are to run at once.
    """
    is_alone = settings.runner == "auto" and settings.replicas == 1
    return None if is_alone else source


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
