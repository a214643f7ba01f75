"""What a request asks for in its header besides its answer: how soon, and before whom.

    X-Request-Timeout-Ms: 250         ──timeout_of──► 0.25 s, never more than the server allows
    Modelpack-Priority: high          ──priority_of──► 0; normal 1, low 2

A value that is none of these is refused: a client that is not understood would wait for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.server.problems import RefusedRequest, bad_header

TIMEOUT = b"x-request-timeout-ms"
PRIORITY = b"modelpack-priority"

_PRIORITIES = {b"high": 0, b"normal": 1, b"low": 2}
_NORMAL = 1
_LONGEST_NUMBER = 18

Fields = Mapping[bytes, bytes]


def timeout_of(fields: Fields, limit_s: float) -> float:
    """Return how long the request may take, in seconds; raises RefusedRequest (400)."""
    wish = fields.get(TIMEOUT)
    if wish is None:
        return limit_s
    if not wish.isdigit() or len(wish) > _LONGEST_NUMBER or not int(wish):
        raise RefusedRequest(bad_header("X-Request-Timeout-Ms", "whole milliseconds from 1", wish))
    return min(int(wish) / 1000, limit_s)


def priority_of(fields: Fields) -> int:
    """Return who goes first, 0 before 1 before 2; raises RefusedRequest (400)."""
    wish = fields.get(PRIORITY)
    if wish is None:
        return _NORMAL
    priority = _PRIORITIES.get(wish.lower())
    if priority is None:
        raise RefusedRequest(bad_header("Modelpack-Priority", "high, normal or low", wish))
    return priority
