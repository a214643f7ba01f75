"""Process 1: signals arrive, orphans are buried, nobody else's children are taken, the status is kept.

Programs run as real process 1 of a namespace of their own (``unshare``), as a container engine does it.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from modelpack.server.life import init

INIT = Path(init.__file__)
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
WAIT_S = 20.0


@cache
def missing_namespaces() -> str | None:
    if shutil.which("unshare") is None:
        return "'unshare' is not installed"
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "this user may not make process namespaces"


needs_namespaces = pytest.mark.skipif(
    missing_namespaces() is not None, reason=str(missing_namespaces())
)


def program(source: str) -> list[str]:
    """Return a command that runs Python source below process 1."""
    return [sys.executable, "-I", "-S", str(INIT), sys.executable, "-c", source]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NAMESPACE, *words], capture_output=True, text=True, timeout=WAIT_S, check=False
    )


Start = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command as process 1; returns the starter and the process's id out here."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen([*NAMESPACE, *words], stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process, child_of(process.pid)

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split())
    return int(children.read_text().split()[0])


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@needs_namespaces
@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_status_of_the_program_is_that_of_the_container(status: int) -> None:
    assert run(*program(f"raise SystemExit({status})")).returncode == status


@needs_namespaces
def test_an_end_by_a_signal_is_told_as_shells_tell_it() -> None:
    done = run(*program("import os, signal; os.kill(os.getpid(), signal.SIGABRT)"))
    assert done.returncode == 128 + signal.SIGABRT


@needs_namespaces
def test_a_program_without_a_handler_ends_when_it_is_told_to(start: Start) -> None:
    """As process 1 itself it would not even notice."""
    process, one = start(sys.executable, "-I", "-S", str(INIT), "sleep", "600")
    child_of(one)

    os.kill(one, signal.SIGTERM)

    assert process.wait(WAIT_S) == 128 + signal.SIGTERM


LISTENER = """
import signal, sys
heard = []
for name in ("HUP", "USR1", "USR2", "INT", "QUIT", "TERM"):
    number = getattr(signal, "SIG" + name)
    signal.signal(number, lambda number, _: print(signal.Signals(number).name, flush=True))
print("listening", flush=True)
while True:
    signal.pause()
"""


@needs_namespaces
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_a_signal_is_passed_on(start: Start, name: str) -> None:
    process, one = start(*program(LISTENER))
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"

    os.kill(one, signal.Signals[name])

    assert process.stdout.readline() == f"{name}\n"


ORPHANS = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        if os.fork():
            os._exit(0)  # the grandchild is an orphan, and ends a moment later
        time.sleep(0.05)
        os._exit(0)
    os.wait()
time.sleep(0.5)
states = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    with open("/proc/" + pid + "/stat") as stat:
        states.append(stat.read().rpartition(")")[2].split()[0])
print(states.count("Z"), len(states))
"""


@needs_namespaces
def test_orphans_that_end_are_no_zombies() -> None:
    """Process 1 and the program are all that is left of forty children and grandchildren."""
    assert run(*program(ORPHANS)).stdout.split() == ["0", "2"]


WAITER = """
import asyncio, multiprocessing, subprocess, sys, time

def work(end): end.put(3)

async def one():
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
    await asyncio.sleep(0.2)
    return await process.wait()

plain = subprocess.Popen(["sh", "-c", "exit 4"])
time.sleep(0.2)
context = multiprocessing.get_context("fork")
end = context.SimpleQueue()
worker = context.Process(target=work, args=(end,))
worker.start()
got = end.get()
worker.join()
print(plain.wait(), asyncio.run(one()), got, worker.exitcode)
"""


@needs_namespaces
def test_children_of_the_program_are_left_to_the_program() -> None:
    assert run(*program(WAITER)).stdout.split() == ["4", "5", "3", "0"]


COUNTER = """
import signal, sys, time
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print("listening", flush=True)
end = time.monotonic() + 10
while not heard and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
print("heard", len(heard), flush=True)
"""


@needs_namespaces
def test_ctrl_c_on_a_terminal_is_heard_once() -> None:
    """Twice would mean to a server: end now, whatever is under way."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *NAMESPACE, *program(COUNTER)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        _read_until(ours, b"listening")
        os.write(ours, b"\x03")
        assert b"heard 1\r\n" in _read_until(ours, b"heard 1\r\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, word: bytes) -> bytes:
    """Return what is said up to the word, or to the end."""
    said = b""
    with suppress(OSError):  # nobody has it open any more
        while word not in said:
            said += os.read(terminal, 1024)
    return said


@needs_namespaces
def test_a_program_that_is_not_there_is_said() -> None:
    done = run(sys.executable, "-I", "-S", str(INIT), "/nowhere/server")

    assert done.returncode == 127
    assert done.stderr.startswith("error[not-found]: '/nowhere/server' is not there")
    assert "  help: " in done.stderr


@needs_namespaces
def test_a_program_that_cannot_start_is_said(tmp_path: Path) -> None:
    file = tmp_path / "server"
    file.write_bytes(b"\x7fELF for something else")
    file.chmod(0o755)
    done = run(sys.executable, "-I", "-S", str(INIT), str(file))

    assert done.returncode == 126
    assert "does not start: Exec format error" in done.stderr


STANDING_BY = """
import os, signal, sys, time
from modelpack.server.life.init import stand_by
stand_by()
{handler}
print(os.getpid() != 1, os.getppid(), flush=True)
time.sleep(float(sys.argv[1]))
print("still here", flush=True)
"""


def server(handler: str, seconds: str) -> list[str]:
    return [sys.executable, "-c", STANDING_BY.format(handler=handler), seconds]


@needs_namespaces
def test_the_server_leaves_the_place_of_process_1(start: Start) -> None:
    process, one = start(*server("", "600"))
    assert process.stdout is not None
    assert process.stdout.readline().split() == ["True", "1"]

    os.kill(one, signal.SIGTERM)  # before the server has a handler: it has nobody to answer yet

    assert process.wait(WAIT_S) == 128 + signal.SIGTERM


@needs_namespaces
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"])
def test_what_the_server_does_not_listen_to_does_not_end_it(start: Start, name: str) -> None:
    """A process 1 without a handler would not notice either."""
    process, one = start(*server("", "0.3"))
    assert process.stdout is not None
    process.stdout.readline()

    os.kill(one, signal.Signals[name])

    assert process.stdout.readline() == "still here\n"
    assert process.wait(WAIT_S) == 0


@needs_namespaces
def test_what_the_service_listens_to_it_gets(start: Start) -> None:
    handler = "signal.signal(signal.SIGUSR1, lambda *_: print('heard', flush=True))"
    process, one = start(*server(handler, "0.5"))
    assert process.stdout is not None
    process.stdout.readline()

    os.kill(one, signal.SIGUSR1)

    assert process.stdout.readline() == "heard\n"


def test_no_other_process_has_these_duties() -> None:
    """Below the init of somebody else it becomes the program itself."""
    source = "import os, sys; print(os.getppid())"
    done = subprocess.run(program(source), capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.getpid()

    source = "import os\nfrom modelpack.server.life.init import stand_by\nstand_by()\nprint(os.getppid())"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == os.getpid()


def test_it_imports_nothing_that_a_base_has_not() -> None:
    """It is the entry point of images that hold nothing of modelpack."""
    source = "import runpy, sys; sys.argv = ['init.py']; runpy.run_path(sys.argv[0], run_name='x')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", source],
        cwd=INIT.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "modelpack" not in done.stderr
    assert "pathlib" not in done.stderr.partition("runpy")[2]


@pytest.mark.parametrize(
    ("files", "was_killed", "limit"),
    [
        ({"memory.events": "low 0\noom 3\noom_kill 1\n", "memory.max": "268435456\n"}, True, 2**28),
        ({"memory.events": "oom 0\noom_kill 0\n", "memory.max": "max\n"}, False, None),
        (
            {
                "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
                "memory/memory.limit_in_bytes": "134217728\n",
            },
            True,
            2**27,
        ),
        (
            {
                "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            False,
            None,
        ),
        # A machine that killed something once, since it was started.
        ({"memory/memory.oom_control": "oom_kill 5\n"}, True, None),
        ({}, False, None),
        ({"memory.events": "", "memory.max": ""}, False, None),
    ],
)
def test_both_kinds_of_control_groups_are_read(
    tmp_path: Path, files: dict[str, str], was_killed: bool, limit: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert init.was_out_of_memory(str(tmp_path)) == was_killed
    told = {2**28: "268 MB", 2**27: "134 MB", None: ""}[limit]
    why = f"the container's memory limit of {told} was reached" if was_killed and limit else None
    assert init.why_killed(signal.SIGKILL, str(tmp_path)) == why
    assert init.why_killed(signal.SIGSEGV, str(tmp_path)) is None
    assert init.memory_limit(str(tmp_path)) == limit
