"""A keeper of a port in a process of its own, and what stands at it.

Keeper     the real program; ``ask`` gives it an order, ``events`` is what it wrote
Place      process 1 of a container that sleeps, with the real server below it while there is one
Member     a replica that is only a line to the keeper
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.deploy.autoscale.asked import policy_words
from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.keeping.program import program
from tests.server.life.conftest import PROGRAM as SERVER
from tests.server.life.conftest import wait_until

PROGRAM = [sys.executable, "-I", "-S", "-c", program()]

SLEEPER = f"from modelpack.server.life.init import stand_by\nstand_by()\n{SERVER}"

QUICK = {"every_s": 0.5, "window_s": 1.0, "up_s": 0.0, "down_s": 1.0, "idle_s": 0.6}
"""Knobs of a policy for a test: what takes minutes takes seconds."""


@dataclass
class Keeper:
    """The keeper in a process of its own."""

    path: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            "MODELPACK_PORT_KEEPER": str(self.path),
            "MODELPACK_HOST": "127.0.0.1",
            "MODELPACK_PORT": str(self.port),
        }

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def log(self) -> Path:
        return self.path.with_suffix(".log")

    def start(self) -> None:
        before = len(self.events("keeping-port"))
        with self.log.open("a") as stream:
            self.process = subprocess.Popen([*PROGRAM, "serve"], env=self.env, stdout=stream)
        wait_until(lambda: len(self.events("keeping-port")) > before)
        self.port = self.events("keeping-port")[-1]["port"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def ask(self, *words: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(30)
            line.connect(str(self.path))
            line.send(" ".join(map(str, words)).encode())
            answer: dict[str, Any] = json.loads(line.recv(65536))
            return answer

    def scaled(self, group: str) -> dict[str, Any]:
        """Return how a group is scaled; {} while it is not known."""
        found: dict[str, Any] = self.ask("status")["scaling"].get(group, {})
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if one["event"] == name]


@dataclass
class Place:
    """Process 1 of a container that sleeps."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def server(self) -> int | None:
        """The process of the server, while there is one."""
        return child_of(self.process.pid)

    def kill_server(self) -> int:
        pid = self.server
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def end(self) -> None:
        server = self.server
        self.process.kill()
        self.process.wait()
        with suppress(ProcessLookupError):
            if server is not None:
                os.killpg(server, signal.SIGKILL)


def child_of(pid: int) -> int | None:
    """Return the first child of a process, if it has one."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return None
    return int(found[0]) if found else None


def begin_place(
    keeper: Keeper,
    group: str,
    folder: Path,
    log: Path,
    policy: Policy,
    *,
    around: Sequence[str] = (),
    grace_s: float = 10.0,
) -> Place:
    """Start process 1 of a container for a group such as ``a/1``, ``around`` it another program."""
    given = {
        "settings": {"port": 0, "grace_s": grace_s},
        "tag": "doubler:1",
        "source": ("code", "", str(folder)),
    }
    env = {
        "MODELPACK_PORT_KEEPER": str(keeper.path),
        "MODELPACK_PORT_GROUP": group,
        "MODELPACK_SLEEPS": policy_words(policy, 1.0),
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*around, sys.executable, "-P", "-c", SLEEPER, json.dumps(given)],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, **env},
        )
    return Place(process, log)


class Member:
    """A replica that is only a line to the keeper."""

    def __init__(self, keeper: Keeper, group: str) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line.settimeout(10)
        self.line.connect(str(keeper.path))
        self.say(f"join {group}")

    def say(self, words: str, *descriptors: int) -> None:
        socket.send_fds(self.line, [words.encode()], descriptors)

    def hear(self) -> str:
        """Return the first word of the next message; do what it says, but for accepting."""
        return self.hear_all().partition(" ")[0]

    def hear_all(self) -> str:
        data, descriptors, _, _ = socket.recv_fds(self.line, 4096, 2)
        for one in descriptors:
            os.close(one)
        said = data.decode()
        self.say({"accept": "accepting", "pause": "paused"}.get(said.partition(" ")[0], "ready"))
        return said
