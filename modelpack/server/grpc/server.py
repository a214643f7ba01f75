"""One process's gRPC server.

    GrpcServer(settings, catalog) ──open──► it answers ──close(grace)──► GOAWAY, calls end ──► gone
    connections of the port for HTTP that speak HTTP/2 ──take──► Relay ──► the same

Methods get the bytes of a message and give bytes: what does not parse is then refused like any other
bad input, and in the benchmark (``bench_grpc``) it costs the same as letting gRPC call the parser.
Compressed messages are taken when compressed HTTP bodies are (``accept_encoding``).  What always
holds: a call is answered by the version that was served when its message was read; at the end no new
calls come, those that run are answered, streams that wait for their client are ended.

At the end answers wait until the GOAWAY is on its way: gRPC's library cancels a call that crosses it,
and a client that waits for an answer begins none (docs/decisions/0083).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from grpc import aio

from modelpack.config.settings import ServerSettings
from modelpack.errors import PortInUseError
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.registry import chosen
from modelpack.server.grpc import health, oip, reflection, tfserving, torchserve
from modelpack.server.grpc.calls import Unary, answering, answering_in_pieces
from modelpack.server.grpc.classifying import Classifying
from modelpack.server.grpc.listener import target_of, turn_away
from modelpack.server.grpc.relay import Relay
from modelpack.server.grpc.repository import Repository
from modelpack.server.grpc.serving import STEP_S, Serving
from modelpack.server.grpc.streams import Streams
from modelpack.server.http.descriptors import FOR_RELAYED, room_for_connections
from modelpack.server.http.heads import RequestIds
from modelpack.server.observe.payloads.notes import kept

_AHEAD_S = 0.02
"""How long answers wait for the GOAWAY to be on its way before them."""

_EARLY_S = 0.005
"""How much sooner than asked for the library's clock may cut calls off."""

LINGER_S = 0.5
"""How long a stream that nothing is under way on may bring one more request."""

_SHARE = FOR_RELAYED + 1
"""The room of connections over how many may be relayed: the rest is left to HTTP."""

_SPARE_CALLS = 64
"""Streams, watches and probes beside the calls that full queues refuse, saying when to come again."""

_IDENTITY, _ALL = 0b001, 0b111
"""Compressions as gRPC counts them: none; none, deflate and gzip."""

Handlers = dict[str, Any]


class GrpcServer:
    """Answers gRPC beside the HTTP server of the same process."""

    def __init__(
        self, settings: ServerSettings, catalog: Callable[[], Catalog], ids: RequestIds
    ) -> None:
        """``catalog`` returns what is served at this moment."""
        self._settings = settings
        self._serving = Serving(settings, catalog, ids, asyncio.Event())
        self._server: Any = None
        self._starting: asyncio.Future[None] | None = None
        self._relay: Relay | None = None
        self.left: Callable[[], None] = lambda: None
        """Called when a connection that was taken has ended; set before it is opened."""

    @property
    def relayed(self) -> int:
        """How many connections of the port for HTTP it answers on."""
        return 0 if self._relay is None else len(self._relay)

    def take(self, transport: asyncio.Transport, first: bytes) -> None:
        """Answer on a connection of the port for HTTP, too, of which ``first`` has been read."""
        if self._relay is None:
            transport.abort()
        else:
            self._relay.take(transport, first)

    def open(self) -> None:
        """Answer from now on; called on the event loop.  Raises PortInUseError."""
        if self._server is not None:
            return
        settings = self._settings
        server = aio.server(
            options=list(_options(settings).items()),
            maximum_concurrent_rpcs=2 * settings.max_queue_rows + _SPARE_CALLS,
        )
        server.add_generic_rpc_handlers((_Methods(self._handlers()),))
        most = (settings.max_connections or room_for_connections()) // _SHARE
        relay = Relay(max(most, 1), self.left)
        target = target_of(settings.host, settings.grpc_port or 0)
        try:
            credentials = _credentials(settings)
            if credentials is None:
                server.add_insecure_port(target)
            else:
                server.add_secure_port(target, credentials)
            server.add_insecure_port(relay.address)
        except RuntimeError as cause:
            relay.remove()
            raise PortInUseError(
                f"gRPC cannot listen on {target}", hint="choose another with --grpc-port"
            ) from cause
        self._server, self._relay = server, relay
        self._starting = asyncio.ensure_future(server.start())

    def close(self, grace_s: float) -> Coroutine[Any, Any, bool]:
        """Return what ends the calls within ``grace_s``; that returns False when it cut some off.

        When it is cancelled they are cut off at once.  Without a grace period that is what becomes
        of all that run at this moment.
        """
        return self._close(grace_s, is_clean=bool(grace_s) or not self._serving.calls.running)

    async def _close(self, grace_s: float, *, is_clean: bool) -> bool:
        server, relay = self._server, self._relay
        if server is None or relay is None or self._starting is None:
            return True
        calls = self._serving.calls
        try:
            await self._starting
            calls.released = asyncio.Event()
            limit_s = min(LINGER_S, grace_s)
            await turn_away(self._settings.grpc_port or 0, limit_s)
            await calls.settle(limit_s / 2)
            calls.cut_from_s = monotonic() + grace_s - _EARLY_S
            ending = asyncio.ensure_future(server.stop(grace_s))
            await asyncio.sleep(min(_AHEAD_S, grace_s))
            calls.released.set()
            await asyncio.wait((ending,), timeout=limit_s)
            self._serving.ending.set()
            await ending
        except asyncio.CancelledError:
            self._serving.ending.set()
            if calls.released is not None:
                calls.released.set()
            await server.stop(None)
            await relay.close(0.0)
            return False
        await relay.close(LINGER_S)
        end = monotonic() + LINGER_S
        while calls.running and monotonic() < end:  # what was cut off hears of it a little later
            await asyncio.sleep(STEP_S)
        return is_clean and not calls.cut_off

    def _speaks(self, face: str) -> bool:
        return face in chosen(self._settings.faces, os.environ)

    def _handlers(self) -> Handlers:
        """Return what answers each method, by its path."""
        serving = self._serving
        streams = Streams(serving)
        inference = {**oip.Inference(serving).unary, **Repository(serving).unary}
        services: dict[str, dict[str, Unary]] = {oip.SERVICE: inference}
        if self._speaks("tfserving"):
            tensorflow = tfserving.TensorFlowServing(serving)
            services[tfserving.PREDICTION] = tensorflow.prediction | Classifying(serving).unary
            services[tfserving.MODEL] = tensorflow.model
        torch = torchserve.TorchServe(serving)
        if self._speaks("torchserve"):
            services[torchserve.SERVICE] = torch.unary
        checks = health.Health(serving, [*services, health.SERVICE])
        services[health.SERVICE] = checks.unary
        runs = {f"/{s}/{method}": run for s, one in services.items() for method, run in one.items()}
        if self._settings.payload_log_url is not None:
            runs = {path: kept(path, run) for path, run in runs.items()}
        handlers: Handlers = {
            path: grpc.unary_unary_rpc_method_handler(answering(run, serving.ids, serving.calls))
            for path, run in runs.items()
        }
        handlers[f"/{oip.SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            streams.infer
        )
        if torchserve.SERVICE in services:
            handlers[f"/{torchserve.SERVICE}/StreamPredictions"] = (
                grpc.unary_stream_rpc_method_handler(
                    answering_in_pieces(torch.pieces, serving.ids, serving.calls)
                )
            )
        handlers[f"/{health.SERVICE}/Watch"] = grpc.unary_stream_rpc_method_handler(checks.watch)
        names = [*services, *reflection.NAMES]
        for name in reflection.NAMES:
            handlers[f"/{name}/ServerReflectionInfo"] = grpc.stream_stream_rpc_method_handler(
                reflection.info_of(name, names)
            )
        return handlers


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds what answers a method."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return it; None: there is no such method."""
        return self._handlers.get(details.method)


def _options(settings: ServerSettings) -> dict[str, int]:
    """Return the channel arguments of gRPC (grpc/include/grpc/impl/channel_arg_names.h)."""
    return {
        "grpc.so_reuseport": 1,
        "grpc.max_receive_message_length": settings.max_body_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.compression_enabled_algorithms_bitset": (
            _ALL if settings.accept_encoding else _IDENTITY
        ),
        "grpc.max_connection_idle_ms": int(settings.keep_alive_s * 1000),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
    }


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Return what connections are secured with, as ``http.tls`` has checked it; None: they are not."""
    if settings.tls_cert is None:
        return None
    chain = Path(settings.tls_cert).read_bytes()
    key = Path(settings.tls_key or settings.tls_cert).read_bytes()
    authorities = None
    if settings.tls_client_ca is not None:
        authorities = Path(settings.tls_client_ca).read_bytes()
    return grpc.ssl_server_credentials(
        [(key, chain)], authorities, require_client_auth=authorities is not None
    )
