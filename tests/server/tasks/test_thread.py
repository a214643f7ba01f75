"""One thread asks the store: what waits at the same time shares a commit, and fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import TaskStoreError
from modelpack.server.tasks.record import Limits, NewTask
from modelpack.server.tasks.sqlite import SqliteStore
from modelpack.server.tasks.store import StoreFailed, TaskStore
from modelpack.server.tasks.thread import StoreThread


class Counted(SqliteStore):
    """Counts its commits, and lets the first one wait."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, "digits", Limits(1000, 10**6, 60))
        self.commits: list[bool] = []
        self.gate = threading.Event()

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        with super().together(writes=writes):
            yield
        self.commits.append(writes)
        assert self.gate.wait(20)


def submit(name: str) -> Any:
    task = NewTask(
        id=name, api="predict", fields={}, body=b"", request_id="", priority=1, timeout_s=1
    )
    return lambda store: store.submit(task)[0].id


def run(file: Path, what: Any) -> Any:
    async def inside() -> Any:
        made: list[Counted] = []

        def open_store() -> TaskStore:
            made.append(Counted(file))
            return made[0]

        thread = StoreThread(open_store)
        await thread.open()
        try:
            return await what(thread, made[0])
        finally:
            made[0].gate.set()
            await thread.close()

    return asyncio.run(inside())


def test_what_waits_shares_one_commit(tmp_path: Path) -> None:
    async def many(thread: StoreThread, store: Counted) -> list[str]:
        first = asyncio.ensure_future(thread.write(submit("first")))
        while not store.commits:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(thread.write(submit(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        store.gate.set()
        found = await asyncio.gather(first, *others)
        assert len(store.commits) == 2
        return found

    assert run(tmp_path / "t", many) == ["first", *map(str, range(20))]


def test_of_many_the_one_that_fails_fails_alone(tmp_path: Path) -> None:
    async def many(thread: StoreThread, store: Counted) -> list[Any]:
        store.gate.set()
        names = ["one", "two", "one", "three"]  # an id twice: the database refuses that
        calls = [thread.write(submit(name)) for name in names]
        found = await asyncio.gather(*calls, return_exceptions=True)
        there = await thread.read(lambda one: one.find(api=None, status=None, before=None, limit=9))
        assert [task.id for task in there] == ["three", "two", "one"]
        return found

    found = run(tmp_path / "t", many)

    assert [found[0], found[1], found[3]] == ["one", "two", "three"]
    assert isinstance(found[2], StoreFailed)


def test_a_store_that_cannot_be_opened_says_so_and_one_that_is_closed_too(tmp_path: Path) -> None:
    async def inside() -> None:
        bad = StoreThread(lambda: Counted(tmp_path))
        with pytest.raises(TaskStoreError):
            await bad.open()
        with pytest.raises(StoreFailed):
            await bad.read(lambda store: store.get("one"))
        await bad.close()

    asyncio.run(inside())
