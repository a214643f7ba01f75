"""The manager starts runners, says why one does not start, and gives it time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from modelpack.config.settings import ServerSettings
from modelpack.errors import ModelpackError
from modelpack.server.runners.process.link import RunnerInfo
from modelpack.server.runners.process.manager import RunnerManager, pause_s
from modelpack.server.runners.process.places import listen_at, private_folder

Write = Callable[[str], Any]
WAIT_S = 20.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())  # type: ignore[arg-type]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.005)


FINE = """
@modelpack.service
class Fine:
    @modelpack.api
    def ask(self) -> int:
        return 1
"""


def test_the_first_restart_is_at_once_and_later_ones_take_their_time() -> None:
    pauses = [pause_s(failures) for failures in range(12)]

    assert pauses[:5] == [0.0, 0.0, 0.1, 0.2, 0.4]
    assert pauses[-1] == 10.0
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('no weights')", "no weights"),
        (FINE.replace("    @", "    def __init__(self): open('/no/weights')\n    @", 1), "/no/wei"),
        (FINE.replace("    @", "    def __init__(self): os.abort()\n    @", 1), "SIGABRT"),
        (
            FINE + "\n    @modelpack.on_startup\n    def begin(self): raise OSError('no line')",
            "the hook 'begin' failed: OSError: no line",
        ),
    ],
    ids=["import", "init", "crash", "hook"],
)
def test_a_service_that_does_not_load_says_why_and_nothing_is_left(
    write: Write, tmp_path: Path, text: str, said: str
) -> None:
    source = write(text)

    async def test() -> None:
        ups: list[RunnerInfo] = []
        manager = RunnerManager(source, ServerSettings(), tmp_path, ups.append)
        with pytest.raises(ModelpackError) as failure:
            await manager.start(2)
        assert said in failure.value.message
        assert ups == []
        assert list(tmp_path.iterdir()) == []

    run(test)


def test_everybody_who_watches_hears_of_every_change(write: Write, tmp_path: Path) -> None:
    source = write(FINE)

    async def test() -> None:
        ups: list[RunnerInfo] = []
        gone: list[RunnerInfo] = []
        manager = RunnerManager(source, ServerSettings(), tmp_path, ups.append, gone.append)
        await manager.start(1)
        late: list[RunnerInfo] = []
        manager.watch(late.append, lambda _: None, lambda _: None)
        assert late == ups == manager.running

        os.kill(ups[0].pid, signal.SIGKILL)
        await until(lambda: len(ups) == 2)
        assert gone == [late[0]]
        assert late == ups
        assert ups[0].id != ups[1].id
        assert await manager.close()
        assert gone == ups

    run(test)


def test_a_runner_that_dies_before_it_answers_anything_is_given_time(
    write: Write, tmp_path: Path
) -> None:
    source = write(FINE)

    async def test() -> None:
        ups: list[RunnerInfo] = []

        def kill(info: RunnerInfo) -> None:
            ups.append(info)
            os.kill(info.pid, signal.SIGKILL)

        manager = RunnerManager(source, ServerSettings(), tmp_path, kill)
        await manager.start(1)
        await until(lambda: len(ups) == 3)
        assert manager._slots[0].failures >= 2
        await manager.close()

    run(test)


def test_hope_is_lost_and_found(write: Write, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    folder = tmp_path / "run"
    folder.mkdir()
    check = f"    def __init__(self): assert not os.path.exists({str(broken)!r})\n    @"
    source = write(FINE.replace("    @", check, 1))

    async def test() -> None:
        ups: list[RunnerInfo] = []
        hopes: list[bool] = []
        manager = RunnerManager(source, ServerSettings(), folder, ups.append, on_hope=hopes.append)
        await manager.start(1)
        broken.touch()
        os.kill(ups[0].pid, signal.SIGKILL)
        await until(lambda: hopes == [False])
        broken.unlink()
        await until(lambda: hopes == [False, True])
        assert len(manager.running) == 1
        await manager.close()

    run(test)


def test_a_new_runner_that_fails_leaves_the_others(write: Write, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    folder = tmp_path / "run"
    folder.mkdir()
    check = f"    def __init__(self): assert not os.path.exists({str(broken)!r})\n    @"
    source = write(FINE.replace("    @", check, 1))

    async def test() -> None:
        manager = RunnerManager(source, ServerSettings(), folder)
        await manager.start(1)
        before = manager.running
        broken.touch()
        with pytest.raises(ModelpackError):
            await manager.scale(3)
        assert manager.running == before
        await manager.close()

    run(test)


def test_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    dead = tmp_path / "modelpack-runners-4194304-x1"  # above the largest pid
    other = tmp_path / "modelpack-runners-notes"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "1.sock").touch()

    mine = private_folder()

    assert not dead.exists()
    assert other.exists()
    assert mine.parent == tmp_path
    assert mine.stat().st_mode & 0o777 == 0o700
    again = private_folder()
    assert again != mine
    assert mine.exists()


def test_a_socket_may_have_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()

    listener = listen_at(folder / "1.sock")

    assert (folder / "1.sock").stat().st_mode & 0o777 == 0o600
    listener.close()
