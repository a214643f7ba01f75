"""What the methods of gRPC know of the server that they are part of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from modelpack.config.settings import ServerSettings
from modelpack.server.faces.catalog import Catalog
from modelpack.server.http.heads import RequestIds


@dataclass(frozen=True, slots=True)
class Serving:
    """One process's server, as its gRPC methods see it."""

    settings: ServerSettings
    catalog: Callable[[], Catalog]
    """Returns what is served at this moment."""
    ids: RequestIds
    ending: asyncio.Event
    """Set when calls that nothing is under way on are to end."""
