"""Whether requests are taken at this moment, as probes ask and as other contracts tell it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from modelpack.server.endpoint import Endpoint
from modelpack.server.http.front import Front
from modelpack.server.problems import (
    NO_RUNNER,
    NOT_READY,
    STUCK,
    UNAVAILABLE,
    Problem,
    Unavailable,
    problem_from,
)
from modelpack.server.web.replies import json_reply, problem_reply


class Ready:
    """Answers readiness probes."""

    def __init__(self, front: Front, endpoints: Sequence[Endpoint]) -> None:
        self._front = front
        self._endpoints = endpoints

    def problem(self) -> Problem | None:
        """Return why no request is taken at this moment; None: requests are taken."""
        if self._front.is_draining:
            return UNAVAILABLE
        if any(endpoint.is_stuck for endpoint in self._endpoints):
            return problem_from(Unavailable(STUCK))
        if not all(endpoint.is_served() for endpoint in self._endpoints):
            return problem_from(Unavailable(NO_RUNNER))
        return None if self._front.is_ready else NOT_READY

    async def reload(self) -> None:
        """Serve the service anew, from where it came; raises what keeps it from that."""
        await self._front.reload()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the truth at this moment."""
        problem = self.problem()
        reply = problem_reply(problem, scope) if problem else json_reply({"status": "ready"})
        await reply(scope, receive, send)
