"""What every place for tasks does; a clock that is set, or for Redis its own."""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import TaskStoreError
from modelpack.server.tasks.record import Limits, NewTask, Result, Task
from modelpack.server.tasks.sqlite import SqliteStore
from modelpack.server.tasks.store import KeyReused, StoreFailed, StoreFull, TaskStore

LEASE_S = 0.2
RETENTION_S = 0.6
ROOM = {"predict": 10}
DONE = Result(200, "application/json", (("x-odd", "yes"),), b"[1]")


class Bench:
    """A store, another process's view of it, and a way to let time pass."""

    def __init__(self, make: Callable[..., TaskStore], let_pass: Callable[[float], None]) -> None:
        self._make = make
        self.let_pass = let_pass
        self.opened: list[TaskStore] = []
        self.store = self.open()

    def open(self, **limits: Any) -> TaskStore:
        chosen = {"tasks": 100, "size_bytes": 10_000, "retention_s": RETENTION_S, **limits}
        self.opened.append(self._make(Limits(**chosen)))
        return self.opened[-1]


@pytest.fixture(params=["sqlite", "redis"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Iterator[Bench]:
    if request.param == "sqlite":
        now = [1000.0]

        def make(limits: Limits) -> TaskStore:
            return SqliteStore(tmp_path / "tasks.sqlite", "digits", limits, clock=lambda: now[0])

        def let_pass(seconds: float) -> None:
            now[0] += seconds

        made = Bench(make, let_pass)
    else:
        from modelpack.server.tasks.redis_store import open_redis

        url = request.getfixturevalue("redis_url")
        monkeypatch.setenv("MODELPACK_TASKS_PASSWORD", "of-tests")
        service = f"digits-{uuid.uuid4().hex}"
        made = Bench(lambda limits: open_redis(url, service, limits), time.sleep)
    yield made
    for one in made.opened:
        one.close()


def new(body: bytes = b"{}", **more: Any) -> NewTask:
    given: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "api": "predict",
        "fields": {"content-type": "application/json"},
        "body": body,
        "request_id": "r-1",
        "priority": 1,
        "timeout_s": 9.5,
        **more,
    }
    return NewTask(**given)


def submit(store: TaskStore, body: bytes = b"{}", **more: Any) -> Task:
    with store.together(writes=True):
        return store.submit(new(body, **more))[0]


def known(store: TaskStore, task: Task) -> Task:
    found = store.get(task.id)
    assert found is not None
    return found


def test_what_is_submitted_is_what_is_claimed(bench: Bench) -> None:
    task = submit(bench.store, b"\0 any bytes \xff", webhook="https://example.com/")

    (claim,) = bench.open().claim(ROOM, 10, LEASE_S)

    assert (claim.id, claim.api, claim.body) == (task.id, "predict", b"\0 any bytes \xff")
    assert claim.fields == {"content-type": "application/json"}
    assert (claim.request_id, claim.timeout_s) == ("r-1", 9.5)
    running = known(bench.store, task)
    assert (running.status, running.runs, running.started is not None) == ("running", 1, True)
    assert bench.store.claim(ROOM, 10, LEASE_S) == []


def test_only_what_there_is_room_for_is_claimed_the_important_and_the_old_first(
    bench: Bench,
) -> None:
    low, old, young = (submit(bench.store, priority=p) for p in (2, 1, 1))
    high = submit(bench.store, priority=0)
    other = submit(bench.store, api="explain")

    first = bench.store.claim({"predict": 2, "explain": 5}, 10, LEASE_S)
    second = bench.store.claim({"predict": 2}, 1, LEASE_S)

    assert [one.id for one in first] == [high.id, old.id, other.id]
    assert [one.id for one in second] == [young.id]
    assert bench.store.waiting() == {"predict": 1}
    assert known(bench.store, low).status == "queued"


def test_a_result_is_kept_whole_and_taken_once(bench: Bench) -> None:
    task = submit(bench.store)
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)

    taken = [bench.store.finish(task.id, claim.run, "succeeded", DONE) for _ in range(2)]

    assert taken == [True, False]
    assert bench.store.result(task.id) == DONE
    over = known(bench.store, task)
    assert (over.status, over.result_status, over.code) == ("succeeded", 200, "")
    assert over.finished is not None
    assert over.expires == pytest.approx(over.finished + RETENTION_S, abs=0.01)


def test_a_task_that_is_not_renewed_goes_to_somebody_else_whose_result_counts(
    bench: Bench,
) -> None:
    task, kept = submit(bench.store), submit(bench.store)
    silent, alive = bench.store.claim(ROOM, 10, LEASE_S)
    bench.let_pass(LEASE_S * 0.6)
    assert bench.store.renew([(alive.id, alive.run), ("none", 1)], LEASE_S) == {
        (alive.id, alive.run)
    }
    bench.let_pass(LEASE_S * 0.6)

    (again,) = bench.open().claim(ROOM, 10, LEASE_S)

    assert (again.id, again.run) == (task.id, silent.run + 1)
    assert bench.store.renew([(silent.id, silent.run)], LEASE_S) == set()
    assert not bench.store.finish(task.id, silent.run, "succeeded", Result(200, "", (), b"late"))
    assert bench.store.finish(task.id, again.run, "succeeded", DONE)
    assert bench.store.result(task.id) == DONE
    assert known(bench.store, kept).status == "running"


def test_a_task_whose_process_is_lost_every_time_fails(bench: Bench) -> None:
    task = submit(bench.store)
    for _ in range(5):
        assert len(bench.store.claim(ROOM, 10, LEASE_S)) == 1
        bench.let_pass(LEASE_S * 1.2)

    assert bench.store.claim(ROOM, 10, LEASE_S) == []

    over = known(bench.store, task)
    assert (over.status, over.code, over.runs) == ("failed", "task-lost", 5)
    assert bench.store.result(task.id) is None


def test_of_tasks_whose_process_was_lost_a_process_has_one_at_a_time(bench: Bench) -> None:
    lost = [submit(bench.store) for _ in range(3)]
    bench.store.claim(ROOM, 10, LEASE_S)
    bench.let_pass(LEASE_S * 1.2)
    fresh = submit(bench.store)

    first = bench.store.claim(ROOM, 10, 60)
    second = bench.store.claim(ROOM, 10, 60)
    elsewhere = bench.open().claim(ROOM, 10, 60)

    assert [one.id for one in first] == [lost[0].id, fresh.id]
    assert second == []
    assert [one.id for one in elsewhere] == [lost[1].id]
    assert bench.store.waiting() == {"predict": 1}
    assert bench.store.finish(lost[0].id, first[0].run, "succeeded", DONE)
    assert [one.id for one in bench.store.claim(ROOM, 10, 60)] == [lost[2].id]


def test_what_is_put_back_is_run_again_later_and_does_not_count(bench: Bench) -> None:
    task = submit(bench.store)
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)

    bench.store.put_back(task.id, claim.run, 0.3)

    assert bench.store.claim(ROOM, 10, LEASE_S) == []
    bench.let_pass(0.35)
    (again,) = bench.store.claim(ROOM, 10, LEASE_S)
    assert (again.run, known(bench.store, task).runs) == (claim.run + 1, 1)
    bench.store.put_back(task.id, claim.run, 0.0)  # of the run before: too late
    assert known(bench.store, task).status == "running"


def test_a_cancelled_task_takes_no_result_and_can_be_queued_again(bench: Bench) -> None:
    task = submit(bench.store)
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)

    cancelled = bench.store.cancel(task.id)

    assert cancelled is not None
    assert cancelled.status == "cancelled"
    assert not bench.store.finish(task.id, claim.run, "succeeded", DONE)
    again = bench.store.again(task.id)
    assert again is not None
    assert (again.status, again.finished) == ("queued", None)
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)
    assert bench.store.finish(task.id, claim.run, "succeeded", DONE)
    for word in (bench.store.cancel, bench.store.again):
        after = word(task.id)
        assert after is not None
        assert after.status == "succeeded"
        assert word("none") is None


def test_one_key_is_one_task_until_it_is_thrown_away(bench: Bench) -> None:
    first = new(key="mine", fingerprint="a")
    task, is_new = bench.store.submit(first)
    assert is_new

    again, is_new = bench.store.submit(new(key="mine", fingerprint="a"))

    assert (again.id, is_new) == (task.id, False)
    with pytest.raises(KeyReused):
        bench.store.submit(new(key="mine", fingerprint="b"))
    assert bench.store.submit(new(key="mine", fingerprint="b", api="explain"))[1]
    assert bench.store.forget(task.id)
    assert bench.store.submit(new(key="mine", fingerprint="b"))[1]


def test_what_is_old_goes_in_two_steps(bench: Bench) -> None:
    done, waiting = submit(bench.store, key="k"), submit(bench.store, api="explain")
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)
    bench.store.finish(done.id, claim.run, "succeeded", DONE)
    bench.store.sweep()
    assert known(bench.store, done).status == "succeeded"
    bench.let_pass(RETENTION_S * 1.1)

    bench.store.sweep()

    assert known(bench.store, done).status == "gone"
    assert bench.store.result(done.id) is None
    expired = known(bench.store, waiting)
    assert (expired.status, expired.code) == ("failed", "task-expired")
    assert [one.id for one in bench.store.find(api=None, status=None, before=None, limit=9)] == [
        waiting.id
    ]
    bench.let_pass(max(RETENTION_S * 1.1, 1.1))
    bench.store.sweep()
    assert bench.store.get(done.id) is None


def test_no_more_is_kept_than_the_limits_say(bench: Bench) -> None:
    small = bench.open(tasks=2, size_bytes=100)
    first = submit(small, b"x" * 90)
    with pytest.raises(StoreFull):
        submit(small, b"x" * 20)
    submit(small, b"x" * 10)
    with pytest.raises(StoreFull) as full:
        submit(small, b"")
    assert 1 <= full.value.retry_after_s <= 60

    (claim, _) = small.claim(ROOM, 10, LEASE_S)
    small.finish(first.id, claim.run, "succeeded", Result(200, "", (), b"y" * 5))
    with pytest.raises(StoreFull):
        submit(small, b"")
    small.forget(first.id)

    assert submit(small, b"x" * 85)
    with pytest.raises(StoreFull):
        submit(bench.open(tasks=9, size_bytes=100), b"x" * 20)


def test_who_is_to_be_told_is_told_by_one_at_a_time_until_it_is_done(bench: Bench) -> None:
    task = submit(bench.store, webhook="https://example.com/done")
    assert bench.store.notices(5, LEASE_S) == []
    (claim,) = bench.store.claim(ROOM, 10, LEASE_S)
    bench.store.finish(task.id, claim.run, "succeeded", DONE)

    (notice,) = bench.store.notices(5, LEASE_S)

    assert (notice.url, notice.tries, notice.result) == ("https://example.com/done", 1, DONE)
    assert notice.task.status == "succeeded"
    assert bench.open().notices(5, LEASE_S) == []
    bench.let_pass(LEASE_S * 1.2)
    (second,) = bench.store.notices(5, LEASE_S)  # whoever had it did not come back
    bench.store.told(task.id, notice.tries, None)  # too late
    bench.store.told(task.id, second.tries, 0.3)
    assert bench.store.notices(5, LEASE_S) == []
    bench.let_pass(0.35)
    (third,) = bench.store.notices(5, LEASE_S)
    assert third.tries == 3
    bench.store.told(task.id, third.tries, None)
    bench.let_pass(LEASE_S * 2)
    assert bench.store.notices(5, LEASE_S) == []


def test_tasks_are_found_by_api_and_status_the_newest_first(bench: Bench) -> None:
    tasks = [submit(bench.store, api="predict" if n % 2 else "explain") for n in range(6)]
    bench.store.cancel(tasks[1].id)

    def find(**asked: Any) -> list[int]:
        given: dict[str, Any] = {"api": None, "status": None, "before": None, "limit": 10, **asked}
        found = bench.store.find(**given)
        return [[one.id for one in tasks].index(task.id) for task in found]

    assert find() == [5, 4, 3, 2, 1, 0]
    assert find(api="predict") == [5, 3, 1]
    assert find(status="cancelled") == [1]
    assert find(limit=2) == [5, 4]
    assert find(before=tasks[2].number) == [1, 0]


def test_services_in_one_store_do_not_see_each_other(tmp_path: Path) -> None:
    limits = Limits(10, 1000, 60)
    ours, theirs = (SqliteStore(tmp_path / "t", name, limits) for name in ("ours", "theirs"))
    task = submit(ours)

    assert theirs.get(task.id) is None
    assert theirs.claim(ROOM, 10, LEASE_S) == []
    assert not theirs.forget(task.id)
    assert len(ours.claim(ROOM, 10, LEASE_S)) == 1
    ours.close()
    theirs.close()


# --- SQLite alone -------------------------------------------------------------------------------


def test_nobody_else_may_read_the_file_of_tasks(tmp_path: Path) -> None:
    file = tmp_path / "new" / "tasks.sqlite"
    store = SqliteStore(file, "digits", Limits(10, 1000, 60))
    submit(store)

    files = [one for one in file.parent.rglob("*") if one.is_file()]
    modes = {stat.S_IMODE(one.stat().st_mode) for one in files}

    assert len(files) >= 3
    assert modes == {0o600}
    assert stat.S_IMODE((file.parent / "tasks.sqlite-owners").stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    store.close()


def test_processes_that_open_a_new_file_at_once_find_one_store(tmp_path: Path) -> None:
    stores: list[SqliteStore] = []

    def open_it() -> None:
        stores.append(SqliteStore(tmp_path / "t", "digits", Limits(1000, 10**6, 60)))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    tasks = [submit(store) for store in stores]
    assert len(stores) == 8
    assert {claim.id for claim in stores[0].claim({"predict": 99}, 99, 60)} == {
        task.id for task in tasks
    }
    for store in stores:
        store.close()


@pytest.mark.parametrize("what", ["text", "other", "newer", "folder"])
def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path, what: str) -> None:
    file = tmp_path / "tasks.sqlite"
    if what == "text":
        file.write_text("not a database" * 100)
    elif what == "folder":
        file.mkdir()
    else:
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE mine (x)")
            db.execute(f"PRAGMA user_version = {7 if what == 'newer' else 0}")
        db.close()
    before = file.read_bytes() if file.is_file() else b""

    with pytest.raises(TaskStoreError) as caught:
        SqliteStore(file, "digits", Limits(10, 1000, 60))

    assert str(file) in caught.value.message
    assert caught.value.hint
    if what == "text":
        assert file.read_bytes() == before


def test_a_call_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "t", "digits", Limits(10, 1000, 60))
    task = new()

    def half() -> None:
        with store.together(writes=True):
            store.submit(task)
            store.submit(task)  # the same id

    with pytest.raises(StoreFailed):
        half()

    assert store.get(task.id) is None
    assert submit(store).number == 1
    store.close()


def test_the_tasks_of_a_process_that_is_gone_are_taken_at_once(tmp_path: Path) -> None:
    limits = Limits(10, 1000, 60)
    ours, theirs, third = (SqliteStore(tmp_path / "t", "digits", limits) for _ in range(3))
    task, held = submit(ours), submit(ours)
    (claim,) = theirs.claim({"predict": 1}, 1, 60)
    third.claim({"predict": 1}, 1, 60)
    assert ours.claim(ROOM, 10, 60) == []
    theirs.close()  # as the kernel does when a process ends

    (again,) = ours.claim(ROOM, 10, 60)

    assert (again.id, again.run) == (task.id, claim.run + 1)
    assert known(ours, held).status == "running"
    ours.close()
    third.close()
    assert list((tmp_path / "t-owners").iterdir()) == []
