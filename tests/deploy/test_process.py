"""A process is named by its id and its start, and is gone when it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

from modelpack.deploy.process import ProcessId

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)",
]


def test_the_own_process_is_alive() -> None:
    assert ProcessId.of(os.getpid()).is_alive


def test_another_start_is_another_process() -> None:
    me = ProcessId.of(os.getpid())

    assert not replace(me, started=me.started + 1).is_alive
    assert not replace(me, boot="another boot").is_alive
    assert not replace(me, boot="another boot").is_of_this_boot


def test_json_gives_an_equal_identity() -> None:
    me = ProcessId.of(os.getpid())

    assert ProcessId.from_json(me.to_json()) == me
    assert ProcessId.from_json(None) is None
    assert ProcessId.from_json({"pid": "x"}) is None


def test_a_zombie_has_ended() -> None:
    with subprocess.Popen(SLEEPER) as child:
        identity = ProcessId.of(child.pid)
        assert identity.is_alive
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.is_alive


def test_stop_asks_first() -> None:
    with subprocess.Popen(SLEEPER) as child:
        ProcessId.of(child.pid).stop(10)
        assert child.wait() == -signal.SIGTERM


def test_stop_uses_force_after_the_grace() -> None:
    with subprocess.Popen(STUBBORN, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        began = time.monotonic()
        ProcessId.of(child.pid).stop(0.2)
        assert child.wait() == -signal.SIGKILL
        assert time.monotonic() - began >= 0.2


def test_stop_of_what_is_gone_does_nothing() -> None:
    with subprocess.Popen(SLEEPER) as child:
        identity = ProcessId.of(child.pid)
        child.kill()
        child.wait()
    identity.stop(1)
    assert not identity.is_alive
