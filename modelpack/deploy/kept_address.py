"""One address of a local deployment: its socket, the keeper of it, and who has it.

    listen ─► Keeper (``port_keeper``) ─► servers that ask at the door get the socket
    offer({old, new}) ─► new accepts, too ─► give_to(new) ─► old is paused, gives its connections away

The keeper has a selector of its own, which can be waited for like a socket: it does its work when
something came for it, or when it said that it wants to.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.command import Group
from modelpack.deploy.keeping.scaling import Pool
from modelpack.deploy.port_keeper import Keeper
from modelpack.deploy.ports import listen
from modelpack.deploy.replicas import FOREVER
from modelpack.deploy.watching import Watch

_LONGEST_PATH = 100
"""Bytes of a path that the address of a socket has room for (unix(7)), and a margin."""


class KeptAddress:
    """A listening socket that servers take turns at.  Raises PortInUseError."""

    def __init__(
        self,
        address: tuple[str, int],
        folder: Path,
        *,
        pool: Pool,
        watch: Watch,
        say: Callable[[dict[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        """``changed`` is called whenever somebody may have asked for the port, or left it."""
        self._listener = listen(*address)
        self._host = address[0]
        self._also: dict[int, socket.socket] = {}
        self._watch = watch
        self._changed = changed
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        name = f"port-{address[1]}"
        self._memory = folder / f"{name}.json"
        self._memory.unlink(missing_ok=True)  # what it has to know it is told anew
        self._keeper = Keeper(self._listener, self._memory, pool=pool, say=say)
        self._keeper.allow(set())
        self.door = str(folder / name)
        """Path of the socket where servers ask for this one."""
        if len(os.fsencode(self.door)) > _LONGEST_PATH:
            self.door = f"/proc/{os.getpid()}/fd/{self._folder}/{name}"
        self._keeper.open(Path(self.door))
        self._due = 0.0
        watch.add(self._keeper.selector, self._hear)

    def listen_also(self, ports: Set[int]) -> None:
        """Have the same servers answer at these ports too, and at no others; raises PortInUseError."""
        if ports == set(self._also):
            return
        fresh = {port: listen(self._host, port) for port in ports - set(self._also)}
        gone = [self._also.pop(port) for port in set(self._also) - ports]
        self._also |= fresh
        self._keeper.listen_also(list(self._also.values()))
        for one in gone:
            one.close()
        self._due = 0.0

    def scale(self, group: Group, awake: int) -> None:
        """Let the load decide how many replicas a group has, or let it do so no more.

        ``awake`` is how many it has: none of them goes before the load says so.
        """
        if group.policy is None:
            self._keeper.scaling.forget(group.id)
        else:
            policy = Policy.from_json(dict(group.policy))
            self._keeper.set_policy(group.id, policy, time.time())
            if awake:
                self._keeper.wake(group.id, awake)
        self._due = 0.0

    def forget(self, group: str) -> None:
        """Take note that there is no such group any more."""
        self._keeper.scaling.forget(group)

    def wake(self, group: str) -> None:
        """Have as many servers of a scaled group as there are of the one that has the port."""
        self._keeper.wake(group, 1)
        self._due = 0.0

    def offer(self, groups: Set[str]) -> None:
        """Let these groups accept, and nobody else."""
        if self._keeper.allowed != groups:
            self._keeper.allow(set(groups))
            self._due = 0.0

    def joined(self, group: str) -> int:
        """Return how many servers of a group have asked for the port."""
        return len(self._keeper.members.hosts(group))

    def accepting(self, group: str) -> int:
        """Return how many servers of a group take connections here."""
        return len(self._keeper.members.hosts(group, is_accepting=True))

    def scaled(self, group: str) -> dict[str, Any]:
        """Return how a group is scaled, as the keeper's ``status`` has it; {}: it is not."""
        found: dict[str, Any] = self._keeper.scaling.status().get(group, {})
        return found

    def retire(self, group: str, number: int, is_to_go: bool) -> None:
        """Let a server accept nobody any more, or again."""
        its = group, str(number)
        if is_to_go != (its in self._keeper.retiring):
            (self._keeper.retiring.add if is_to_go else self._keeper.retiring.discard)(its)
            self._due = 0.0

    def is_quiet(self, group: str, number: int) -> bool:
        """Return whether a server accepts nobody and has nothing to do."""
        return self._keeper.members.is_quiet(group, str(number))

    def tick(self) -> float:
        """Do what is due; return the moment, monotonic, at which something is due by the clock."""
        if time.monotonic() >= self._due:
            left_s = self._keeper.tick()
            self._due = FOREVER if left_s is None else time.monotonic() + left_s
        return self._due

    def close(self) -> None:
        """Let go of the port and of all who wait there."""
        self._watch.remove(self._keeper.selector)
        for key in list(self._keeper.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._keeper.selector.close()
        with suppress(OSError):
            Path(self.door).unlink(missing_ok=True)
            self._memory.unlink(missing_ok=True)
        for one in (self._listener, *self._also.values()):
            one.close()
        os.close(self._folder)

    def _hear(self) -> None:
        """Do what came for the keeper."""
        for key, _ in self._keeper.selector.select(0):
            key.data()
        self._due = 0.0
        self._changed()
