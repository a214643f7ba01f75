"""A real supervisor, started as the local target does, over small programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from modelpack.deploy import command as files
from modelpack.deploy import orders, records
from modelpack.deploy.command import Command, Group, Wanted
from modelpack.deploy.launch import launch
from modelpack.deploy.ports import free_port
from modelpack.deploy.process import ProcessId
from modelpack.deploy.report import GroupReport, ReplicaReport, Report, read_report

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); " + SLEEP
POLITE = (
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('bye', flush=True))); "
    "print('up', flush=True); time.sleep(600)"
)
FAMILY = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(child.pid, flush=True); time.sleep(600)"
)


def wait_for(claim: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


class Run:
    """A supervisor over one program, or several replicas of it."""

    def __init__(self, program: str, grace_s: float = 1.0, **more) -> None:
        self.folder = records.make_private(files.folder_of("digits"))
        self.port = free_port("127.0.0.1")
        self.want(self.group("1", program, grace_s, **more), serving="1")
        self.supervisor = launch("digits", self.folder)

    def group(self, name: str, program: str, grace_s: float = 1.0, **more) -> Group:
        command = Command(
            argv=(sys.executable, "-c", program),
            env={"PATH": os.environ["PATH"]},
            cwd=str(self.folder),
            grace_s=grace_s,
        )
        return Group(
            **{"id": name, "command": command, "host": "127.0.0.1", "port": self.port, **more}
        )

    def want(self, *groups: Group, serving: str | None, is_in_turns: bool = False) -> None:
        wanted = Wanted(groups=groups, serving=serving, is_in_turns=is_in_turns)
        files.write_wanted(self.folder, wanted)

    def order(self, order: str, **more) -> dict:
        return orders.ask(self.folder, timeout_s=30, order=order, **more)

    @property
    def report(self) -> Report | None:
        return read_report(self.folder)

    def of(self, name: str) -> GroupReport | None:
        return None if self.report is None else self.report.group(name)

    @property
    def state(self) -> ReplicaReport | None:
        """The first replica of the first group."""
        group = self.of("1")
        return None if group is None or not group.replicas else group.replicas[0]

    def children(self, name: str = "1") -> list[int]:
        group = self.of(name)
        return [] if group is None else [one.child for one in group.replicas if one.child]

    @property
    def log(self) -> str:
        file = self.folder / files.LOG_FILE
        return file.read_text() if file.exists() else ""

    def child(self) -> ProcessId:
        wait_for(lambda: self.state is not None and self.state.child is not None)
        return ProcessId.of(self.state.child)
