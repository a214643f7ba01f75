"""The clients of the soak test: each a loop that sends one kind of request until time is over.

    kind(port, until, tally) ──request──► server ──answer──► tally.saw(kind, status), or .wrong(…)

They speak HTTP over plain streams, so that they can break off wherever they like.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import orjson

RAISES, KILLS, DAWDLES = 13, 66, 44
JSON = "application/json"


@dataclass
class Tally:
    """What came back, by kind of client and status."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    crashed_at: float = 0.0

    def saw(self, kind: str, status: int, allowed: tuple[int, ...], body: bytes = b"") -> None:
        self.statuses[kind, status] += 1
        if status not in allowed and len(self.wrong) < 200:
            self.wrong.append(f"{kind}: {status} {body[:200].decode('latin-1')}")


class Connection:
    """One connection; it opens itself again after the server or we have closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, data: bytes) -> None:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        assert self.reader is not None
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = await self.reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split()[1]), body

    async def call(self, data: bytes) -> tuple[int, bytes]:
        for _ in range(2):  # an idle connection may have been closed under our request
            is_old = self.writer is not None
            try:
                await self.send(data)
                return await self.answer()
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if not is_old:
                    raise
        raise ConnectionError

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def request(path: str, body: bytes, kind: str = JSON, *headers: str, length: int = -1) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-type: {kind}", *headers]
    lines.append(f"content-length: {len(body) if length < 0 else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def row(first: float) -> bytes:
    return orjson.dumps({"x": [[first, 1, 2, 3, 4, 5, 6, 7]]})


Client = Callable[[int, float, Tally], Awaitable[None]]


async def normal(port: int, until: float, tally: Tally) -> None:
    """JSON rows; every answer must be the right one."""
    connection = Connection(port)
    while monotonic() < until:
        first = random.randrange(1000, 100_000)
        status, body = await connection.call(request("/double", row(first)))
        is_right = body == orjson.dumps([[2.0 * n for n in (first, 1, 2, 3, 4, 5, 6, 7)]])
        tally.saw("normal", status if is_right or status != 200 else -1, (200,), body)
        await asyncio.sleep(random.random() * 0.004)
    connection.close()


async def binary(port: int, until: float, tally: Tally) -> None:
    """Several rows of raw bytes, in and out."""
    connection = Connection(port)
    while monotonic() < until:
        rows = random.randrange(1, 80)
        array = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32) + 1000
        headers = ("modelpack-dtype: float32", f"modelpack-shape: {rows},8",
                   "accept: application/octet-stream")  # fmt: skip
        data = request("/double", array.tobytes(), "application/octet-stream", *headers)
        status, body = await connection.call(data)
        is_right = body == (array * 2).tobytes()
        tally.saw("binary", status if is_right or status != 200 else -1, (200,), body)
        await asyncio.sleep(random.random() * 0.02)
    connection.close()


async def poison(port: int, until: float, tally: Tally) -> None:
    """Rows that make the model raise."""
    connection = Connection(port)
    while monotonic() < until:
        status, body = await connection.call(request("/double", row(RAISES)))
        tally.saw("poison", status, (500,), body)
        await asyncio.sleep(0.02)
    connection.close()


async def killer(port: int, until: float, tally: Tally) -> None:
    """Rows that kill the process that computes them."""
    connection = Connection(port)
    while monotonic() < until - 3:
        tally.crashed_at = monotonic()
        status, body = await connection.call(request("/double", row(KILLS)))
        tally.crashed_at = monotonic()
        tally.saw("killer", status, (500,), body)
        await asyncio.sleep(3)
    connection.close()


async def slow(port: int, until: float, tally: Tally) -> None:
    """Rows that take long."""
    connection = Connection(port)
    while monotonic() < until:
        status, body = await connection.call(request("/double", row(DAWDLES)))
        tally.saw("slow", status, (200,), body)
        await asyncio.sleep(0.2)
    connection.close()


async def hurried(port: int, until: float, tally: Tally) -> None:
    """Requests that nobody wants after a millisecond."""
    connection = Connection(port)
    while monotonic() < until:
        data = request("/double", row(2000), JSON, "x-request-timeout-ms: 1")
        status, body = await connection.call(data)
        tally.saw("hurried", status, (200, 429, 504), body)
        await asyncio.sleep(0.02)
    connection.close()


async def leaver(port: int, until: float, tally: Tally) -> None:
    """Clients that leave: in the head, in the body, before the answer."""
    data = request("/double", row(3000))
    while monotonic() < until:
        connection = Connection(port)
        await connection.send(data[: random.choice((10, len(data) - 5, len(data)))])
        connection.close()
        tally.saw("leaver", 0, (0,))
        await asyncio.sleep(0.01)


async def oversized(port: int, until: float, tally: Tally) -> None:
    """Bodies that are too long, announced or chunked."""
    while monotonic() < until:
        connection = Connection(port)
        await connection.send(request("/double", b"{", length=1 << 40))
        status, body = await connection.answer()
        tally.saw("oversized", status, (413,), body)
        connection.close()
        await asyncio.sleep(0.05)


async def malformed(port: int, until: float, tally: Tally) -> None:
    """Bytes that are no HTTP, and JSON that does not fit."""
    kit = [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", request("/double", b'{"x": [[1]]}'),
           request("/double", b"[" * 1000), request("/double", b'{"x": [[NaN]]}')]  # fmt: skip
    while monotonic() < until:
        connection = Connection(port)
        await connection.send(random.choice(kit))
        status, body = await connection.answer()
        tally.saw("malformed", status, (400,), body)
        connection.close()
        await asyncio.sleep(0.02)


async def stream(port: int, until: float, tally: Tally) -> None:
    """Streams, half of which are left in the middle."""
    while monotonic() < until:
        connection = Connection(port)
        await connection.send(request("/count", b'{"to": 20}', JSON, "connection: close"))
        assert connection.reader is not None
        stays = random.random() < 0.5
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            text = await (connection.reader.read() if stays else connection.reader.read(300))
            # A runner may be killed under a stream: it breaks off then, and cannot be replayed.
            is_whole = not stays or b"19\n" in text or monotonic() - tally.crashed_at < 5
            tally.saw("stream", 200 if is_whole else -1, (200,), text)
        connection.close()
        await asyncio.sleep(0.05)


async def probe(port: int, until: float, tally: Tally) -> None:
    """Asks whether the server is ready; it may be not only just after a crash."""
    connection = Connection(port)
    while monotonic() < until:
        status, body = await connection.call(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        is_excused = status == 503 and monotonic() - tally.crashed_at < 5
        tally.saw("probe", status, (200, 503) if is_excused else (200,), body)
        await asyncio.sleep(0.25)
    connection.close()


MIX: list[tuple[Client, int]] = [
    (normal, 12), (binary, 2), (poison, 1), (slow, 1), (hurried, 1), (leaver, 3), (oversized, 1),
    (malformed, 1), (stream, 2), (probe, 1),
]  # fmt: skip


async def run(port: int, seconds: float, tally: Tally, *, kills: bool) -> None:
    """Run the whole mix for a while."""
    until = monotonic() + seconds
    mix = [*MIX, (killer, 1)] if kills else MIX
    await asyncio.gather(*(one(port, until, tally) for one, count in mix for _ in range(count)))
