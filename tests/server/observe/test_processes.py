"""What the processes of a server use together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from modelpack.server.observe.processes import Processes, tree

# Works until it has used some processor time, says so, and waits to be told to end.
BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


@contextmanager
def busy_child() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", BUSY]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.communicate("\n")


def test_processes_are_added_up() -> None:
    alone = Processes().read([os.getpid()])
    with busy_child() as child:
        together = Processes().read([os.getpid(), child.pid, child.pid])

    assert (alone.count, together.count) == (1, 2)
    assert together.cpu_s >= alone.cpu_s + 0.25
    assert together.resident_bytes > alone.resident_bytes
    assert together.virtual_bytes > alone.virtual_bytes
    assert together.open_fds > alone.open_fds > 0
    assert together.max_fds > alone.max_fds > 0
    assert together.started == alone.started > 0


def test_processor_time_of_a_process_that_has_gone_still_counts() -> None:
    processes = Processes()
    with busy_child() as child:
        before = processes.read([os.getpid(), child.pid])

    after = processes.read([os.getpid(), child.pid])

    assert after.count == 1
    assert after.cpu_s >= before.cpu_s
    assert processes.read([os.getpid()]).cpu_s >= after.cpu_s


def test_a_process_that_is_not_there_is_left_out() -> None:
    assert Processes().read([2**22 + 1]).count == 0


def test_descendants_of_a_process_are_found() -> None:
    with busy_child() as child:
        found = tree(os.getpid())

    assert found[0] == os.getpid()
    assert child.pid in found
