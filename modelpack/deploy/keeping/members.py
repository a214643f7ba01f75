"""The servers at a kept port: who they are, what they have to do, who of them may accept.

line of a server ──join, ready, load …──► Member
Members ──may_accept(member)──► the keeper tells it
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

SLOTS = 64
"""Most processes of servers that keep their connections even among them."""

_TOLD_S = 0.6
"""Within which a server says what it has to do, and a little more."""

_NOBODY = b"\xff\xff\xff\xff"


class Member:
    """One process of a server, by its line."""

    def __init__(
        self, line: socket.socket, group: str, host: str, slot: int, *, takes_also: bool = False
    ) -> None:
        """``takes_also``: it accepts at other ports as well, when it is given their sockets."""
        self.line = line
        self.takes_also = takes_also
        self.group = group
        self.host = host
        self.slot = slot
        self.is_ready = True
        self.is_told = False
        self.is_accepting = False
        self.is_leaving = False
        self.paused_at: float | None = None
        """When it let go of the socket; None: it has not."""
        self.load = 0
        """Requests that run and wait there."""
        self.asked: int | None = None
        """Requests that were ever answered there; None: it has not said."""

    def hear(self, word: str, rest: list[str]) -> bool:
        """Take one message; returns whether requests were answered since the last one.

        Raises ValueError and IndexError for what makes no sense.
        """
        if word in ("ready", "unready"):
            self.is_ready = word == "ready"
        elif word in ("accepting", "paused"):
            self.is_accepting = word == "accepting"
            self.paused_at = None if self.is_accepting else time.monotonic()
        elif word == "leaving":
            self.is_leaving, self.is_accepting = True, False
        elif word == "load":
            load, asked = int(rest[0]), int(rest[1])
            if load < 0 or asked < 0:
                raise ValueError(word)
            before, self.load, self.asked = self.asked, load, asked
            return asked != (before or 0)
        return False


class Members:
    """All of them, and the counts that they share."""

    def __init__(self) -> None:
        self._by_line: dict[socket.socket, Member] = {}
        self.counts = os.memfd_create("modelpack-share")
        """Descriptor of the numbers of connections, for ``modelpack.server.http.sharing``."""
        os.write(self.counts, _NOBODY * SLOTS)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._by_line.values()))

    def of(self, line: socket.socket) -> Member | None:
        """Return the member behind a line."""
        return self._by_line.get(line)

    def join(
        self, line: socket.socket, group: str, host: str, *, takes_also: bool = False
    ) -> Member:
        """Take a new one."""
        taken = {member.slot for member in self}
        slot = next((slot for slot in range(SLOTS) if slot not in taken), -1)
        member = self._by_line[line] = Member(line, group, host, slot, takes_also=takes_also)
        return member

    def lose(self, line: socket.socket) -> None:
        """Forget whoever was behind a line."""
        member = self._by_line.pop(line, None)
        if member is not None and member.slot >= 0:
            os.pwrite(self.counts, _NOBODY, member.slot * 4)

    @property
    def takers(self) -> list[Member]:
        """Those who take connections at this moment."""
        return [one for one in self if one.is_told and one.is_accepting]

    @property
    def groups(self) -> list[str]:
        """The groups that have members, by name."""
        return sorted({member.group for member in self})

    def hosts(self, group: str, *, is_accepting: bool = False) -> set[str]:
        """Return the servers of a group; each may have several processes."""
        of_group = (member for member in self if member.group == group)
        return {one.host for one in of_group if one.is_accepting or not is_accepting}

    def load(self, group: str) -> int:
        """Return the requests that run and wait in a group, those of who leaves included."""
        return sum(member.load for member in self if member.group == group)

    def is_quiet(self, group: str, host: str) -> bool:
        """Say whether a server has let go of the socket, and has nothing to do.

        What it accepted last is in its load only a moment after that.
        """
        paused_until = time.monotonic() - _TOLD_S
        its = (one for one in self if (one.group, one.host) == (group, host))
        return all(
            one.is_leaving
            or (not one.load and one.paused_at is not None and one.paused_at <= paused_until)
            for one in its
        )

    def may_accept(self, member: Member, is_allowed: Callable[[Member], bool]) -> bool:
        """One that is not ready gives way to those that are, and answers where there is no other."""
        if member.is_leaving or not is_allowed(member):
            return False
        others = (one for one in self if is_allowed(one) and not one.is_leaving)
        return member.is_ready or not any(one.is_ready for one in others)
