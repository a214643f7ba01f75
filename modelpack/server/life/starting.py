"""Puts a server together: one process, or a supervisor with several.

    ServerSettings ──fitted─┬─ workers = 1 ──► Alone ──► Server, in this process
                            └─ workers > 1 ──► Supervisor ──► a Server in each worker

What both have: the ports, taken before anything is loaded; the log; the signals; the outside.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import uvloop

from modelpack.config.settings import ServerSettings
from modelpack.errors import PortInUseError, UsageError
from modelpack.frameworks.source import Source
from modelpack.sdk.service import ServiceSpec
from modelpack.server.http.descriptors import raise_limit
from modelpack.server.http.listening import listen_on
from modelpack.server.life.driver import check_driver
from modelpack.server.life.fitting import Room, differences, ensure_temporary_folder, fitted
from modelpack.server.life.outside import Outside
from modelpack.server.life.record import RunRecord
from modelpack.server.life.stopping import StopSignals
from modelpack.server.observe.logs import configured, event

if TYPE_CHECKING:
    from modelpack.server.life.alone import Companion
    from modelpack.server.life.lifecycle import OnReady


def serve(
    spec: ServiceSpec | None,
    settings: ServerSettings,
    *,
    tag: str = "",
    on_ready: OnReady | None = None,
    source: Source | None = None,
    record: RunRecord | None = None,
    companion: Companion | None = None,
) -> int:
    """Serve until told to stop; see ``modelpack.server.run``."""
    # Its Linux wheel sends telemetry unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    asked = settings
    is_alone = source is None or companion is not None
    settings = fitted(asked, Room.here(source), is_alone=is_alone)
    if settings.workers > 1 and source is None:
        raise UsageError("several workers need a service that other processes can load", hint=_BY)
    raise_limit()
    ensure_temporary_folder()
    with ExitStack() as stack:
        listener = stack.enter_context(listen_on(settings.host, settings.port))
        if settings.grpc_port is not None:
            holder = stack.enter_context(_grpc_holder(settings))
            settings = replace(settings, grpc_port=holder.getsockname()[1])
        metrics = _metrics_listener(settings)
        if metrics is not None:
            stack.enter_context(metrics)
        stack.enter_context(configured(settings.log_format, settings.log_level))
        if changed := differences(asked, settings):
            event("fitted", **changed)
        check_driver(settings)
        outside = stack.enter_context(Outside(settings, record))
        signals = stack.enter_context(StopSignals(settings.grace_s))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        if settings.workers > 1 and source is not None:
            from modelpack.server.life.supervisor import Supervisor

            supervisor = Supervisor(
                settings, listener, metrics=metrics, source=source, tag=tag, outside=outside
            )
            signals.call(runner.get_loop(), supervisor.stop)
            return runner.run(supervisor.run(on_ready))
        # What a supervisor does without: most of the server.
        from modelpack.server.life.alone import Alone
        from modelpack.server.life.lifecycle import Server, Surroundings

        around = Surroundings(metrics_listener=metrics)
        opened = spec or _open(source)
        server = Server(opened, settings, listener, tag=tag, source=source, around=around)
        alone = Alone(server, outside, companion)
        signals.call(runner.get_loop(), alone.stop)
        return runner.run(alone.run(on_ready))


def _metrics_listener(settings: ServerSettings) -> socket.socket | None:
    """Return where metrics are asked for, if that is a port of its own; raises as ``listen_on``."""
    if settings.metrics_port is None:
        return None
    try:
        return listen_on(settings.host, settings.metrics_port)
    except PortInUseError as error:
        hint = "stop what listens there, or choose another with --metrics-port"
        raise PortInUseError(error.message, hint=hint) from error


def _grpc_holder(settings: ServerSettings) -> socket.socket:
    """Return what keeps the port for gRPC; raises as ``reserve``."""
    from modelpack.server.grpc.listener import reserve

    return reserve(settings.host, settings.grpc_port or 0)


_BY = "serve it by its import string, its bundle or its model file"


def _open(source: Source | None) -> ServiceSpec:
    if source is None:
        raise UsageError("there is no service to serve", hint=_BY)
    return source.open()
