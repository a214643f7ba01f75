"""Sends requests at given moments, whatever the server does, over connections that are kept.

    moments ──► a connection that is idle, or a new one ──► POST ──► Outcome

An answer is good when it is 200 within the time limit.  A connection that was closed although its
last answer did not say so is a failure of the request that met it: nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Outcome:
    """What came of the requests."""

    began: float = 0.0
    """Unix time of the first second."""
    seconds: list[float] = field(default_factory=list)
    """From the moment of each good answer's request to its end, in the order of the answers."""
    late_s: float = 0.0
    """Longest that a request left after its moment: the client's own fault."""
    errors: Counter[str] = field(default_factory=Counter)
    """What failed, by what was seen."""

    @property
    def answered(self) -> int:
        """Number of good answers."""
        return len(self.seconds)

    @property
    def failed(self) -> int:
        """Number of requests without a good answer."""
        return sum(self.errors.values())

    def quantile(self, share: float) -> float:
        """Return the time that so many of the good answers did not exceed; 0 without any."""
        found = sorted(self.seconds)
        return found[min(int(share * len(found)), len(found) - 1)] if found else 0.0


def play(
    moments: Sequence[float], url: str, body: bytes, *, length_s: float, timeout_s: float = 60.0
) -> Outcome:
    """Send a request at each moment, in seconds from now; return when all of them have an end.

    It lasts ``length_s`` at least.
    """
    return asyncio.run(_Player(url, body, timeout_s).play(moments, length_s))


class _Player:
    def __init__(self, url: str, body: bytes, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._request = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._outcome = Outcome()

    async def play(self, moments: Sequence[float], length_s: float) -> Outcome:
        begin = time.perf_counter()
        self._outcome.began = time.time()
        async with asyncio.TaskGroup() as tasks:
            for moment in moments:
                await asyncio.sleep(begin + moment - time.perf_counter())
                tasks.create_task(self._send(begin + moment))
        await asyncio.sleep(max(begin + length_s - time.perf_counter(), 0))
        for _, writer in self._idle:
            writer.close()
        return self._outcome

    async def _send(self, intended: float) -> None:
        outcome = self._outcome
        outcome.late_s = max(outcome.late_s, time.perf_counter() - intended)
        connection = self._idle.pop() if self._idle else None
        try:
            async with asyncio.timeout(self._timeout_s):
                if connection is None:
                    connection = await asyncio.open_connection(*self._address)
                status, is_kept = await self._ask(connection)
        except (OSError, EOFError, ValueError) as error:
            outcome.errors[type(error).__name__] += 1
            if connection is not None:
                connection[1].close()
            return
        if is_kept:
            self._idle.append(connection)
        else:
            connection[1].close()
        if status == 200:
            outcome.seconds.append(time.perf_counter() - intended)
        else:
            outcome.errors[f"HTTP {status}"] += 1

    async def _ask(self, connection: Connection) -> tuple[int, bool]:
        """Return the status, and whether the connection stays open.

        Raises OSError and EOFError when there is no whole answer.
        """
        reader, writer = connection
        writer.write(self._request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        first, *fields = head.splitlines()
        lengths = [one for one in fields if one.startswith("content-length:")]
        await reader.readexactly(int(lengths[0].partition(":")[2]))
        return int(first.split()[1]), "connection: close" not in fields
