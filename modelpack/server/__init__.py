"""The server that travels in the image: HTTP in, batches through the model, answers out.

    socket ─► protocol ─► endpoint (decode) ─► batcher ─► runner ─► endpoint (encode) ─► socket
                 │ anything but a plain inference call
                 └──────► app (Starlette): docs, health, metrics, forms, streams

``run`` serves a service until it is told to stop; ``python -I -m modelpack.server`` does the same
for the bundle in ``$MODELPACK_BUNDLE``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.config.settings import ServerSettings
    from modelpack.frameworks.source import Source
    from modelpack.sdk.service import ServiceSpec
    from modelpack.server.life.alone import Companion
    from modelpack.server.life.record import RunRecord

__all__ = ["run"]


def run(
    spec: ServiceSpec | None,
    settings: ServerSettings,
    *,
    tag: str = "",
    on_ready: Callable[[str], None] | None = None,
    source: Source | None = None,
    record: RunRecord | None = None,
    companion: Companion | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    It is 0 when every request was answered, 1 when some had to be cut off at the end of the grace
    period, and 130 when a second SIGINT asked not to wait.

    ``tag`` is shown in logs and documents.  ``on_ready`` gets the URL once the service is warm and
    listening.  ``source`` is how other processes open the service: without it there are none, and no
    version can be swapped in; with it ``spec`` may be None, and is opened where it is needed.
    ``record`` is where the server notes itself while it runs, and ``companion`` is awaited beside it.

    Raises PortInUseError, UsageError (not an address of this machine, or settings that cannot be
    together) and UserCodeError (the service could not be made) before it is ready.
    """
    from modelpack.server.life.starting import serve

    return serve(
        spec,
        settings,
        tag=tag,
        on_ready=on_ready,
        source=source,
        record=record,
        companion=companion,
    )
