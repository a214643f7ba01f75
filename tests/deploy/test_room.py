"""How much memory there is, and how much a service takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from modelpack.deploy.room import free_memory, memory_of


def test_what_a_process_starts_counts_as_its_own() -> None:
    """Two processes of one group, each with 20 MB that it has written to."""
    say = "import os; os.write(1, b'up\\n')"  # in one piece: both write to the same pipe
    hoard = f"data = bytearray(b'x') * 20_000_000; {say}; input()"
    child = f"subprocess.Popen([sys.executable, '-c', {hoard!r}], stdin=0)"
    program = f"import subprocess, sys; {child}; {hoard}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"up\n", b"up\n"]
        assert 40_000_000 < memory_of([process.pid]) < 200_000_000
        process.communicate(b"\n\n")
    assert memory_of([process.pid]) == 0


def test_free_is_what_the_machine_has_or_the_container_may_take(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    for folder in (proc, cgroup):
        folder.mkdir()
    assert free_memory(proc, cgroup) is None

    (proc / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  2000 kB\n")
    assert free_memory(proc, cgroup) == 2_048_000
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text("1000\n")
    assert free_memory(proc, cgroup) == 2_048_000
    (cgroup / "memory.max").write_text("5000\n")
    assert free_memory(proc, cgroup) == 4000
    (cgroup / "memory.max").write_text("500\n")
    assert free_memory(proc, cgroup) == 0


def test_a_process_that_is_gone_takes_nothing() -> None:
    assert memory_of([]) == 0
    assert memory_of([os.getpid() + 10**7]) == 0
