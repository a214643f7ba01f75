"""Reads something long over HTTP to its end, over as many connections as that takes.

    GET Range: bytes=AT- ──► chunks ──broken off──► back-off ──► GET Range: bytes=AT- …

A server that knows no ranges sends all of it again, and what is known already is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

from modelpack.errors import ModelpackError, UnreachableError
from modelpack.registry import problems
from modelpack.registry.backoff import RETRIED
from modelpack.registry.transport import Transport

LEAST_STEP_BYTES = 64 * 1024
"""An attempt that brings less counts as one that brought nothing."""


class _AgainError(Exception):
    def __init__(self, problem: ModelpackError) -> None:
        super().__init__(problem.message)
        self.problem = problem


def download(
    transport: Transport,
    url: str,
    *,
    offset: int,
    size: int | None,
    what: str,
    scopes: Sequence[str] = (),
) -> Iterator[bytes]:
    """Give the bytes of ``url`` from ``offset`` on.

    ``size`` is how many it has in all, None when only the server knows.  Raises NotFoundError and
    what else the server refuses with, UnreachableError when no attempt gets any further.
    """
    import httpx

    at, failures, goal = offset, 0, offset
    while size is None or at < size:
        problem: ModelpackError
        try:
            for data in _range(transport, url, at, scopes, what):
                at += len(data)
                yield data
            if size is None or at >= size:
                return
            problem = UnreachableError(f"'{transport.host}' ended too early to {what}")
        except httpx.TransportError as cause:
            problem = problems.unreachable(cause, transport.host)
            if problems.is_final(cause):
                raise problem from cause
        except _AgainError as again:
            problem = again.problem
        failures = 1 if at > goal else failures + 1
        goal = max(goal, at + LEAST_STEP_BYTES)
        if failures >= transport.backoff.tries:
            raise problem
        transport.backoff.wait(failures)


def _range(
    transport: Transport, url: str, at: int, scopes: Sequence[str], what: str
) -> Iterator[bytes]:
    headers = {"Range": f"bytes={at}-"} if at else {}
    with transport.stream(url, headers=headers, scopes=scopes) as response:
        if response.status_code == 416:
            return
        if response.status_code not in (200, 206):
            problem = transport.refused(response, what)
            raise _AgainError(problem) if response.status_code in RETRIED else problem
        skip = at if response.status_code == 200 else 0
        for data in response.iter_raw():
            transport.counts.received(len(data))
            fresh = data[min(skip, len(data)) :]
            skip -= len(data) - len(fresh)
            if fresh:
                yield fresh


class WebFiles:
    """The files of a layout on a web server."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._path = quote(urlsplit(url).path.rstrip("/"), safe="/%")

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of a file; raises NotFoundError."""
        url = f"{self._path}/{path}"
        return download(self._transport, url, offset=offset, size=None, what=f"read '{url}'")
