"""Where the service's methods run: here, or in processes of their own.

    ServiceSpec ──open_place──► loads, start-up hooks, warm calls ──► Place, every endpoint bound
    Place.scale(n)      more or fewer replicas, while requests are answered
    Place.close()       shut-down hooks

``LocalPlace`` holds the replicas in this process, ``ProcessPlace`` knows those in others.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.observe.logs import event
from modelpack.server.observe.stats import RunnerStats
from modelpack.server.runners.choice import Verdict, describe, settled
from modelpack.server.runners.methods import PlainStream
from modelpack.server.runners.placing import check_devices

if TYPE_CHECKING:
    from modelpack.server.runners.process.place import Runners


class Place(Protocol):
    """Runs the methods of a service for its endpoints."""

    @property
    def kind(self) -> str:
        """``inline``, ``thread`` or ``process``: where calls run at this moment."""

    @property
    def is_serving(self) -> bool:
        """False while nothing here can run a call."""

    @property
    def stats(self) -> RunnerStats:
        """Counts for the metrics."""

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
    runners: Runners | None = None,
) -> Place:
    """Load the service, warm it up, decide where it runs, and bind every endpoint.

    ``source`` is how another process gets the service; None: everything runs here.  ``runners``
    are processes that somebody keeps already: the service runs in them.  Raises UserCodeError
    and ModelNotFoundError when the service cannot be made, DeviceMissingError, and UsageError when
    the settings ask for what cannot be.
    """
    check_devices(settings)
    if settings.runner == "process" or runners is not None:
        if source is None:
            raise UsageError(
                "runner=process needs a service that another process can load",
                hint="serve it by its import string, its bundle or its model file",
            )
        return await _open_processes(spec, endpoints, settings, source, runners)
    from modelpack.server.runners.local import LocalPlace

    local = LocalPlace(spec, endpoints, settings)
    try:
        verdicts = await local.load(watches_lock=settings.runner == "auto")
        verdicts = settled(verdicts, settings, has_source=source is not None)
        moves = any(one.kind == "process" for one in verdicts.values())
        if not moves or source is None:
            await local.bind()
            _say(local.kind, settings, verdicts)
            return local
    except BaseException:
        await local.close()
        raise
    _say("process", settings, verdicts)
    await local.close()
    del local
    for model in spec.models.values():
        model.forget()
    gc.collect()  # the model is not needed twice
    return await _open_processes(spec, endpoints, settings, source, runners)


def _say(kind: str, settings: ServerSettings, verdicts: Mapping[str, Verdict]) -> None:
    """Log where the service runs and why; louder when that may surprise."""
    is_plain = kind != "process" and not any(one.is_second_best for one in verdicts.values())
    level = logging.DEBUG if is_plain else logging.INFO
    event("placed", level=level, kind=kind, replicas=settings.replicas, apis=describe(verdicts))


async def _open_processes(
    spec: ServiceSpec,
    endpoints: Sequence[Endpoint],
    settings: ServerSettings,
    source: Source,
    runners: Runners | None,
) -> Place:
    from modelpack.server.runners.process.place import ProcessPlace

    return await ProcessPlace.open(spec, endpoints, settings, source, runners)
