"""``grpc.health.v1.Health``: what orchestrators and gRPC clients ask.

    Check(service) ──► SERVING, NOT_SERVING, or NOT_FOUND for a service that there is not
    Watch(service) ──► the same now and whenever it changes; SERVICE_UNKNOWN instead of NOT_FOUND

The services are those of gRPC, and the models.  All of them are ready at the same moment, that of
``/readyz``.  https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from modelpack.server.grpc.calls import Asked, Context, Unary, abort
from modelpack.server.grpc.messages import enum, message, parsed
from modelpack.server.grpc.serving import Serving
from modelpack.server.problems import Problem, RefusedRequest

SERVICE = "grpc.health.v1.Health"
EVERY_S = 0.25
"""How often a watch looks."""

_Request = message("grpc.health.v1.HealthCheckRequest")
_Response = message("grpc.health.v1.HealthCheckResponse")
_STATUS = enum("grpc.health.v1.HealthCheckResponse.ServingStatus")


class Health:
    """The methods of the service."""

    def __init__(self, serving: Serving, services: Iterable[str]) -> None:
        self._serving = serving
        self._services = frozenset(("", *services))
        self.unary: dict[str, Unary] = {"Check": self.check}

    async def check(self, body: bytes, _asked: Asked) -> bytes:
        """Say whether a service takes requests at this moment."""
        service = parsed(_Request, body).service
        status = self._status(service)
        if status == "SERVICE_UNKNOWN":
            detail = f"no service '{service[:100]}'"
            raise RefusedRequest(Problem(404, "not-found", "not found", detail))
        return _encoded(status)

    async def watch(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        """Say it now and whenever it changes, until the server ends."""
        try:
            service = parsed(_Request, body).service
        except RefusedRequest as refused:
            await abort(context, refused.problem, self._serving.ids.new_id())
        ending, told = self._serving.ending, ""
        while not context.cancelled():
            status = self._status(service)
            if status != told:
                told = status
                yield _encoded(status)
            if ending.is_set():
                return
            try:
                await asyncio.wait_for(ending.wait(), EVERY_S)
            except TimeoutError:
                continue

    def _status(self, service: str) -> str:
        catalog = self._serving.catalog()
        if service not in self._services and service not in catalog.models:
            return "SERVICE_UNKNOWN"
        return "SERVING" if catalog.problem() is None else "NOT_SERVING"


def _encoded(status: str) -> bytes:
    encoded: bytes = _Response(status=_STATUS[status]).SerializeToString()
    return encoded
