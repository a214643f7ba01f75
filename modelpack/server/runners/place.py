"""Where the service's methods run: here, or in processes of their own.

    ServiceSpec ──open_place──► loads, start-up hooks, warm calls ──► Place, every endpoint bound
    Place.scale(n)      more or fewer replicas, while requests are answered
    Place.close()       shut-down hooks

``LocalPlace`` holds the replicas in this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.runners.methods import PlainStream


class Place(Protocol):
    """Runs the methods of a service for its endpoints."""

    @property
    def kind(self) -> str:
        """``inline``, ``thread`` or ``process``: where calls run at this moment."""

    @property
    def is_serving(self) -> bool:
        """False while nothing here can run a call."""

    async def scale(self, replicas: int) -> None:
        """Have that many replicas, 1 or more; no request is lost.  Raises UserCodeError."""

    async def close(self) -> bool:
        """Run the shut-down hooks; returns False when one failed."""

    def open_stream(self, api: ApiSpec, values: Mapping[str, Any]) -> PlainStream:
        """Begin a stream of plain pieces."""


async def open_place(
    spec: ServiceSpec,
    endpoints: Sequence[Endpoint],
    settings: ServerSettings,
    *,
    source: Source | None,
    runners: object | None = None,
) -> Place:
    """Load the service, warm it up, decide where it runs, and bind every endpoint.

    ``source`` is how another process gets the service; None: everything runs here.  ``runners`` is
    a RunnerManager that is there already.  Raises UserCodeError and ModelNotFoundError when the
    service cannot be made, and UsageError when settings ask for what cannot be.
    """
    if settings.runner == "process":
        if source is None:
            raise UsageError(
                "runner=process needs a service that another process can load",
                hint="serve it by its import string, its bundle or its model file",
            )
        return await _open_processes(spec, endpoints, settings, source, runners)
    from modelpack.server.runners.local import LocalPlace

    return await LocalPlace.open(spec, endpoints, settings)


async def _open_processes(
    spec: ServiceSpec,
    endpoints: Sequence[Endpoint],
    settings: ServerSettings,
    source: Source,
    runners: object | None,
) -> Place:
    try:
        module = import_module("modelpack.server.runners.process.place")
    except ModuleNotFoundError as cause:
        raise UsageError(
            "no runner processes in this version", hint="use 'runner: thread'"
        ) from cause
    place: Place = await module.ProcessPlace.open(spec, endpoints, settings, source, runners)
    return place
