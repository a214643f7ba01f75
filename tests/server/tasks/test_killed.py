"""A server that is killed again and again, at no particular moment, while tasks come in.

``test_survival`` has a sample of it: one kill, at a moment that is known.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

Spawn = Callable[..., Any]

SERVICE = """
import asyncio, os
import modelpack

@modelpack.service
class Adder:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [2 * n for n in x]

    @modelpack.api
    async def slow(self, x: int) -> int:
        await asyncio.sleep(x % 7 / 20)
        return 2 * x

    @modelpack.api
    def kill(self) -> int:
        os.kill(os.getpid(), 9)
        return 0
"""


class Clients(threading.Thread):
    """Submits numbers one after the other, each until it is taken in."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.url = ""
        self.is_over = threading.Event()
        self.taken: dict[int, str] = {}

    def run(self) -> None:
        with httpx.Client(timeout=5) as client:
            self.submit(client)

    def submit(self, client: httpx.Client) -> None:
        number = 0
        while not self.is_over.is_set():
            with suppress(httpx.TransportError):
                answer = client.post(
                    f"{self.url}/tasks/{'slow' if number % 3 else 'double'}",
                    json={"x": number if number % 3 else [number]},
                    headers={"idempotency-key": f"number-{number}"},
                )
                if answer.status_code == 202:
                    self.taken[number] = answer.json()["result_url"]
                    number += 1
            time.sleep(0.002)

    def wait_for(self, more: int) -> None:
        """Return when so many more were taken in."""
        goal, end = len(self.taken) + more, time.monotonic() + 30
        while len(self.taken) < goal:
            assert time.monotonic() < end
            time.sleep(0.001)


pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("workers", "kills"), [(1, 40), (2, 40)])
def test_every_task_that_was_taken_in_has_one_result(
    spawn: Spawn, tmp_path: Path, workers: int, kills: int
) -> None:
    chance = random.Random(kills)
    clients = Clients()
    for n in range(kills):
        server = spawn(SERVICE, "--workers", str(workers))
        clients.url = str(server.client.http.base_url).rstrip("/")
        if n == 0:
            clients.start()
        clients.wait_for(chance.randrange(1, 40))
        time.sleep(chance.uniform(0, 0.05))
        server.kill()
    server = spawn(SERVICE, "--workers", str(workers))
    clients.url = str(server.client.http.base_url).rstrip("/")
    clients.wait_for(5)
    clients.is_over.set()
    clients.join()

    for number, place in clients.taken.items():
        answer = server.client.get(place, headers={"prefer": "wait=20"})
        assert (answer.status_code, answer.json()) == (
            200,
            2 * number if number % 3 else [2 * number],
        )
    store = sqlite3.connect(tmp_path / "tasks.sqlite")
    count = store.execute("SELECT count(*), count(DISTINCT key) FROM tasks").fetchone()
    results = store.execute("SELECT count(*) FROM results").fetchone()
    store.close()
    # One more may have been taken in whose answer did not arrive any more.
    assert count[0] == count[1] == results[0]
    assert count[0] - len(clients.taken) in (0, 1)


def test_a_task_that_kills_its_process_every_time_fails_and_takes_nobody_along(
    spawn: Spawn,
) -> None:
    client = spawn(SERVICE, "--workers", "2").client
    tasks = [client.submit("slow", {"x": 6 + 7 * n}) for n in range(40)]
    poison = client.submit("kill", {})

    assert [client.result(one).json() for one in tasks] == [12 + 14 * n for n in range(40)]
    assert client.over(poison)["error"] == {"status": 0, "code": "task-lost"}
    lost = client.result(poison)
    assert (lost.status_code, lost.json()["code"]) == (500, "task-lost")
