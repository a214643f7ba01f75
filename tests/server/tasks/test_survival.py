"""Servers end, in order and out of it: no task is lost, and none has two results."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpack.errors import TaskStoreError
from modelpack.server.tasks.opening import default_file

Spawn = Callable[..., Any]

SERVICE = """
import os, time
from pathlib import Path
import modelpack

@modelpack.service
class Worker:
    @modelpack.api
    def note(self, name: str, seconds: float = 0.0) -> str:
        with open({notes!r}, "a") as file:
            file.write(f"{{name}}\\n")
        time.sleep(seconds)
        return f"{{name}} {version}"

    @modelpack.api
    async def nap(self, seconds: float) -> int:
        import asyncio
        await asyncio.sleep(seconds)
        return os.getpid()

    @modelpack.api
    def die(self, name: str, times: int) -> str:
        for n in range(times):
            mark = Path(f"{{ {notes!r} }}-{{name}}-{{n}}")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), 9)
        return name
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def text(notes: Path) -> Callable[[int], str]:
    """Return the service; its notes are what it was asked to do."""
    return lambda version: SERVICE.format(notes=str(notes), version=version)


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def state(client: Any, task: dict[str, Any]) -> str:
    return str(client.http.get(task["url"]).json()["status"])


def test_a_server_that_is_killed_loses_no_task_and_answers_each_once(
    spawn: Spawn, text: Callable[[int], str], notes: Path, tmp_path: Path
) -> None:
    server = spawn(text(1))
    client = server.client
    before = [client.submit("note", {"name": f"before-{n}"}) for n in range(3)]
    for one in before:
        client.over(one)
    running = client.submit("note", {"name": "running", "seconds": 60})
    waiting = [client.submit("note", {"name": f"waiting-{n}"}) for n in range(5)]
    wait_until(lambda: "running" in notes.read_text())

    server.kill()
    client = spawn(text(2).replace("time.sleep(seconds)", "pass")).client

    assert [client.result(one).json() for one in waiting] == [f"waiting-{n} 2" for n in range(5)]
    assert client.result(running).json() == "running 2"
    assert client.over(running)["runs"] == 2
    assert [client.result(one).json() for one in before] == [f"before-{n} 1" for n in range(3)]
    assert sorted(notes.read_text().split()) == sorted(
        ["running", *(f"before-{n}" for n in range(3)), "running"]
        + [f"waiting-{n}" for n in range(5)]
    )
    with sqlite3.connect(tmp_path / "tasks.sqlite") as store:
        assert store.execute("SELECT count(*), count(DISTINCT id) FROM results").fetchone() == (
            9,
            9,
        )
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_a_server_that_is_stopped_finishes_what_it_can_and_puts_back_the_rest(
    spawn: Spawn, text: Callable[[int], str]
) -> None:
    server = spawn(text(1), grace_s=1)
    client = server.client
    short = client.submit("nap", {"seconds": 0.5})
    long = client.submit("nap", {"seconds": 30})
    wait_until(lambda: state(client, long) == "running")
    began = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(client.http.get, long["url"], headers={"prefer": "wait=20"})
        time.sleep(0.2)

        assert server.stop() == 0
        assert waiting.result().json()["status"] == "running"  # nobody is kept waiting
    assert time.monotonic() - began < 15
    server = spawn(text(1).replace("asyncio.sleep(seconds)", "asyncio.sleep(0)"))

    began = time.monotonic()
    assert server.client.over(short)["runs"] == 1
    assert server.client.over(long)["status"] == "succeeded"
    assert time.monotonic() - began < 5  # put back, not lost: no lease is waited for
    assert server.client.result(long).json() == server.process.pid


def test_several_workers_share_the_tasks_and_make_up_for_a_lost_one(
    spawn: Spawn, text: Callable[[int], str]
) -> None:
    server = spawn(text(1), "--workers", "2", tasks_at_once=2)
    client = server.client
    pids: set[int] = set()
    count, end = 0, time.monotonic() + 30
    while len(pids) < 2:  # one of them may be ready before the other
        assert time.monotonic() < end
        naps = [client.submit("nap", {"seconds": 0.1}) for _ in range(8)]
        pids |= {client.result(one).json() for one in naps}
        count += 8
    assert server.process.pid not in pids
    # A page says once what all of them see, and adds up what each of them did.
    wait_until(lambda: client.metric('modelpack_tasks_total{api="nap",event="succeeded"}') == count)
    assert client.metric('modelpack_tasks_queued{api="nap"}') == 0

    deadly = client.submit("die", {"name": "deadly", "times": 1})

    assert client.over(deadly)["runs"] == 2
    assert client.result(deadly).json() == "deadly"
    assert server.stop() == 0


def test_a_swap_lets_tasks_go_on_and_the_next_ones_are_of_the_new_version(
    spawn: Spawn, text: Callable[[int], str], notes: Path, tmp_path: Path
) -> None:
    admin = tmp_path / "admin.sock"
    server = spawn(text(1), "--admin-socket", str(admin))
    client = server.client
    running = client.submit("note", {"name": "running", "seconds": 1.5})
    queued = client.submit("note", {"name": "queued"})
    wait_until(lambda: notes.exists() and "running" in notes.read_text())

    service = tmp_path / "project" / "service.py"
    service.write_text(text(2))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin)), timeout=30) as orders:
        assert orders.post("http://localhost/swap", json={}).status_code == 200

    assert client.result(running).json() == "running 1"
    assert client.result(queued).json() == "queued 2"
    assert client.over(running)["runs"] == client.over(queued)["runs"] == 1


@pytest.mark.parametrize("place", ["runner", "redis"])
def test_runner_processes_and_redis_change_nothing_for_a_client(
    spawn: Spawn,
    text: Callable[[int], str],
    place: str,
    request: pytest.FixtureRequest,
) -> None:
    if place == "redis":
        url = request.getfixturevalue("redis_url")
        settings = {"tasks_store": url, "tasks_password": "of-tests"}
    else:
        settings = {"runner": "process", "request_timeout_s": 0.5}
    server = spawn(text(1), **settings)
    seconds = 2.0 if place == "runner" else 0.0  # longer than a request may take there
    body = {"name": "one", "seconds": seconds}
    task = server.client.submit("note", body, headers={"idempotency-key": place})

    assert server.client.result(task).json() == "one 1"
    assert server.stop() == 0
    server = spawn(text(2), **settings)
    again = server.client.submit("note", body, headers={"idempotency-key": place})
    assert again["id"] == task["id"]
    assert server.client.result(task).json() == "one 1"


def test_a_store_that_stops_working_is_said_and_is_used_again_when_it_works(
    spawn: Spawn, text: Callable[[int], str], tmp_path: Path
) -> None:
    server = spawn(text(1))
    client = server.client
    task = client.submit("note", {"name": "one"})
    client.over(task)
    file = tmp_path / "tasks.sqlite"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA busy_timeout = 10000")
    holder.execute("BEGIN IMMEDIATE")  # somebody writes, and does not come to an end

    answer = client.post("note", {"name": "two"})

    assert (answer.status_code, answer.json()["code"]) == (503, "tasks-unavailable")
    assert answer.headers["retry-after"] == "1"
    assert client.http.post("/note", json={"name": "as ever"}).status_code == 200
    holder.execute("ROLLBACK")
    holder.close()
    again = client.submit("note", {"name": "three"})
    assert client.result(again).json() == "three 1"
    said = [json.loads(one) for one in server.log.read_text().splitlines() if one[:1] == "{"]
    assert "tasks-unavailable" in {one["event"] for one in said}


@pytest.mark.parametrize(
    ("settings", "words", "workers"),
    [
        ({"tasks_store": "{tmp}/project/service.py"}, ["[task-store]", "service.py", "help:"], 1),
        ({"tasks_store": "{tmp}/project/service.py"}, ["[task-store]", "service.py", "help:"], 2),
        ({"tasks_webhook_hosts": "example.com"}, ["signed", "MODELPACK_WEBHOOK_SECRET"], 1),
        ({"tasks_store": "redis://127.0.0.1:1/0"}, ["[task-store]", "redis://127.0.0.1:1"], 1),
    ],
)
def test_a_server_that_cannot_keep_tasks_does_not_begin(
    spawn: Spawn, tmp_path: Path, settings: dict[str, str], words: list[str], workers: int
) -> None:
    text = SERVICE.format(notes="notes", version=1)
    chosen = {name: value.format(tmp=tmp_path) for name, value in settings.items()}

    with pytest.raises(pytest.fail.Exception) as caught:
        spawn(text, "--workers", str(workers), **chosen)

    said = str(caught.value)
    assert all(word in said for word in words), said
    assert "Traceback" not in said


def test_where_nothing_may_be_written_tasks_are_kept_aside_in_a_folder_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    usual = default_file("digits", 3000)
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "file" / "home"))
    aside = default_file("odd / name", 3000)

    assert usual == tmp_path / "home" / "tasks" / "digits-3000.sqlite"
    assert aside == tmp_path / f"modelpack-tasks-{os.getuid()}" / "odd---name-3000.sqlite"
    aside.parent.chmod(0o777)
    with pytest.raises(TaskStoreError, match="of this user alone"):
        default_file("digits", 3000)
