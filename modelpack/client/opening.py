"""Chooses how a server is spoken to: by the scheme of its URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from modelpack.client.calls import Caller, Dialect, Options
from modelpack.client.http import HttpDialect
from modelpack.client.place import Place, Tls, place_of, proxy_for
from modelpack.errors import UsageError

if TYPE_CHECKING:
    from modelpack.client.reply import Reply, Request

FORMS = ("auto", "json")


class SyncWire(Protocol):
    """Sends requests and waits."""

    place: Place

    def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; raises CallLostError and CallTimeoutError."""

    def close(self) -> None:
        """Close what is kept."""


class AwaitedWire(Protocol):
    """Sends requests and awaits the answers."""

    place: Place

    async def send(self, request: Request, deadline: float) -> Reply:
        """Return the answer; raises CallLostError and CallTimeoutError."""

    async def close(self) -> None:
        """Close what is kept."""


def open_sync(url: str, tls: Tls, form: str) -> tuple[SyncWire, Caller]:
    """Return what speaks to a server; nothing is sent yet.  Raises UsageError."""
    place = place_of(url)
    if place.is_grpc:
        from modelpack.client.rpc_wire import GrpcWire

        wire = GrpcWire(place, tls)  # says so when its packages are missing
        from modelpack.client.rpc import RpcDialect

        return wire, Caller(RpcDialect())
    from modelpack.client.wire import Wire

    return Wire(place, tls, proxy_for(place)), Caller(_http(form))


def open_async(url: str, tls: Tls, form: str) -> tuple[AwaitedWire, Caller]:
    """Return what speaks to a server from an event loop; see ``open_sync``."""
    place = place_of(url)
    if place.is_grpc:
        from modelpack.client.rpc_wire import AsyncGrpcWire

        wire = AsyncGrpcWire(place, tls)
        from modelpack.client.rpc import RpcDialect

        return wire, Caller(RpcDialect())
    from modelpack.client.wire_aio import AsyncWire

    return AsyncWire(place, tls, proxy_for(place)), Caller(_http(form))


def _http(form: str) -> Dialect:
    if form not in FORMS:
        raise UsageError(f"form: must be {' or '.join(FORMS)}, got '{form}'")
    return HttpDialect(only_json=form == "json")


def changed(options: Options, given: Mapping[str, Any]) -> Options:
    """Return options with those that are given in their place; headers are added to."""
    from dataclasses import replace

    told = {name: value for name, value in given.items() if value is not UNSET}
    if "headers" in told:
        told["headers"] = {**options.headers, **(told["headers"] or {})}
    return replace(options, **told) if told else options


class _Unset:
    """Stands where nothing was given, where None means something."""

    def __repr__(self) -> str:
        return "..."


UNSET: Any = _Unset()
