"""Cloud Run: probes under names that reach the container from outside.

GET  /health/live      the process answers
GET  /health/ready     200 when requests are taken

Cloud Run prescribes a port (``$PORT``) and no paths; the service is asked on its own ones.  But some
paths that end in ``z`` are kept by the platform and never reach a container, so that ``/livez`` and
``/readyz`` answer to its probes, which come from inside, and not to a client.  Source: Cloud Run
documentation, "Known issues", "Reserved URL paths".
"""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.routing import Route

from modelpack.server.faces import openapi_parts as parts
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.face import Face
from modelpack.server.faces.invocations import Ping, described_ping
from modelpack.server.web.replies import json_reply

LIVE, READY = "/health/live", "/health/ready"


class CloudrunFace(Face):
    """What Cloud Run needs beside the port."""

    name: ClassVar[str] = "cloudrun"
    prefixes = (LIVE, READY)

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self.routes = [
            Route(LIVE, json_reply({"status": "alive"}), methods=["GET"]),
            Route(READY, Ping(catalog, self.write_problem), methods=["GET"]),
        ]

    def openapi(self) -> dict[str, Any]:
        """Return its path items."""
        alive = parts.said("The process answers.", parts.record({"status": parts.TEXT}))
        return {
            LIVE: {"get": parts.operation("Liveness", answers={"200": alive})},
            READY: described_ping(parts.ERROR),
        }
