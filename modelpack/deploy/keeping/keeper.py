"""The keeper itself: who may accept, how many there should be, and the lines to all of them.

    lines ──_read──► members, sleepers, orders ──► tick: order_all, look, watch, save ──► lines

The messages are in ``modelpack.deploy.port_keeper``.
"""

from __future__ import annotations

import json
import math
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.keeping.members import Member, Members
from modelpack.deploy.keeping.parked import Parked
from modelpack.deploy.keeping.scaling import SAMPLE_S, Pool, Scaling
from modelpack.deploy.keeping.sleepers import Sleepers

BACKLOG = 2048
"""How many connections and lines may wait to be taken."""

_MOST_BYTES = 4096
_AGAIN_S = 0.1


class Switch:
    """An order to give the port to another group, until enough of it accept."""

    def __init__(self, line: socket.socket, group: str, count: int, until: float) -> None:
        self.line = line
        self.group = group
        self.count = count
        self.until = until


def say(event: dict[str, Any]) -> None:
    """Write a line about what happened, as the servers do."""
    now = time.time()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
    with suppress(OSError):  # nobody reads it any more
        sys.stdout.write(json.dumps({"time": at, "level": "info"} | event) + "\n")
        sys.stdout.flush()


class Keeper:
    """Knows who may accept and how many there should be, and tells them.

    One thread: ``turn`` does what came and what is due.  A program with a selector of its own calls
    ``tick`` before each wait, waits no longer than that says, and calls the ``data`` of every key.
    """

    def __init__(
        self,
        listener: socket.socket,
        file: Path,
        *,
        pool: Pool | None = None,
        selector: selectors.BaseSelector | None = None,
        say: Callable[[dict[str, Any]], None] = say,
    ) -> None:
        """``file`` keeps what was ordered, for the case that this program is started again.

        ``pool`` starts and ends servers; None: process 1 of containers does, where they sleep.
        """
        self.listener = listener
        self.selector = selector or selectors.DefaultSelector()
        self.members = Members()
        self.sleepers = Sleepers(say)
        self.scaling = Scaling(pool or self.sleepers, say)
        self.parked = Parked(listener, self.selector, self._knock)
        self.switch: Switch | None = None
        self.retiring: set[tuple[str, str]] = set()
        """Servers, by group and host, that a pool of another kind wants to end: they accept nobody.

        Once ``members.is_quiet`` says so of one, it loses nothing by its end.
        """
        self._also: list[socket.socket] = []
        self._file = file
        self._saved = ""
        self.allowed: set[str] | None = None
        self._recall()

    def open(self, path: Path) -> None:
        """Let servers and those who order find the keeper there."""
        path.unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.bind(str(path))
        door.listen(BACKLOG)
        door.setblocking(False)
        self.selector.register(door, selectors.EVENT_READ, lambda: self._welcome(door))

    def listen_also(self, listeners: Sequence[socket.socket]) -> None:
        """Have the same servers accept at these sockets too, and at no others but the first one.

        Whoever accepts lets go for a moment, in which who connects waits.
        """
        self._also = list(listeners)
        self.parked.set_listeners([self.listener, *listeners])
        for member in self.members:
            if member.is_told:
                member.is_told = False
                with suppress(OSError):  # its end is read next
                    member.line.send(b"pause")

    def turn(self) -> None:
        """Wait for what comes or is due next, and do it."""
        for key, _ in self.selector.select(self.tick()):
            key.data()

    def tick(self) -> float | None:
        """Do what is due; returns in how many seconds something is again, None: nothing will be."""
        settling_s = self.sleepers.settle()
        live = [] if self.switch is not None else self._live()
        if any(not self.scaling.is_asleep(group) for group in live):
            self._look(live)
        self.order_all()
        is_retiring = self.sleepers.end_retired(self.members.is_quiet)
        takers = self.members.takers
        sleeps = bool(live) and not takers and all(map(self.scaling.is_asleep, live))
        self.parked.watch(sleeps)
        self._save()
        waits = [settling_s] if settling_s is not None else []
        if self.switch is not None or (len(self.parked) and takers):
            waits.append(_AGAIN_S)
        if is_retiring or any(not self.scaling.is_asleep(group) for group in live):
            waits.append(SAMPLE_S)
        return min(waits, default=None)

    def order_all(self) -> None:
        """Tell everybody whose turn has changed, and end a switch that is complete."""
        for member in self.members:
            self._order(member)
        self.parked.pass_on(self.members.takers)
        switch = self.switch
        if switch is None:
            return
        is_done = len(self.members.hosts(switch.group, is_accepting=True)) >= switch.count
        if is_done or time.monotonic() >= switch.until:
            self.switch = None
            if is_done:
                self.allow({switch.group})
            self._answer(switch.line, is_done=is_done)
            self.order_all()

    def allow(self, groups: set[str]) -> None:
        """Let these groups have the port, and no others."""
        before = self._live()
        self.allowed = groups
        for group in groups:
            former = before[0] if before and group not in before else None
            self.scaling.admit(group, after=former)

    def wake(self, group: str, count: int) -> bool:
        """Have so many servers of a group for a trial, or as many as whoever has the port.

        Returns False for a group that nobody knows.
        """
        live = (one for name, one in self.scaling.groups.items() if self._is_allowed(name))
        self.scaling.wake(group, max([count, *(one.wanted for one in live)]))
        return group in self.scaling.groups

    def set_policy(self, group: str, policy: Policy, serial: float) -> None:
        """Scale a group so; one that is new has what its policy has at least, once it may accept."""
        is_allowed = self._is_allowed(group)
        self.scaling.set_policy(group, policy, serial, policy.min_replicas if is_allowed else 0)
        if is_allowed:
            self.scaling.admit(group)

    def status(self, *, is_done: bool = True) -> dict[str, Any]:
        """Return how everything stands, as plain JSON values."""
        members = self.members
        return {
            "done": is_done,
            "allowed": None if self.allowed is None else sorted(self.allowed),
            "joined": {group: len(members.hosts(group)) for group in members.groups},
            "accepting": {
                group: len(members.hosts(group, is_accepting=True)) for group in members.groups
            },
            "scaling": self.scaling.status(),
            "queue": self.parked.asking,
        }

    def _hear(self, line: socket.socket, words: list[str], descriptors: list[int]) -> None:
        """Take one message; raises ValueError and IndexError for what makes no sense."""
        word, rest = words[0], words[1:]
        for one in descriptors:
            self.parked.add(one)
        if (member := self.members.of(line)) is not None:
            if member.hear(word, rest):
                self.scaling.note(member.group)
        elif (sleeper := self.sleepers.of(line)) is not None:
            self.sleepers.hear(sleeper, word, rest)
        elif word == "join":
            group, host = rest[0], rest[1]
            self.members.join(line, group, host, takes_also="also" in rest[2:])
            self.sleepers.joined(group, host)
        elif word == "sleeps":
            self._take_sleeper(line, rest)
        else:
            self._obey(line, word, rest)

    def _obey(self, line: socket.socket, word: str, rest: list[str]) -> None:
        if word == "switch":
            self._begin_switch(line, rest[0], int(rest[1]), _finite(rest[2]))
            return
        is_done = word in ("hold", "scale", "status")
        if word == "hold" and self.allowed is None:
            self.allow(set(rest))
        elif word == "wake":
            is_done = self.wake(rest[0], int(rest[1]))
        elif word == "scale":
            policy = Policy.from_json(json.loads(rest[2]))
            self.set_policy(rest[0], policy, _finite(rest[1]))
        self.order_all()
        self._answer(line, is_done=is_done)

    def _take_sleeper(self, line: socket.socket, rest: list[str]) -> None:
        group, name, state, serial, policy = rest
        parsed, number = Policy.from_json(json.loads(policy)), _finite(serial)
        self.sleepers.add(line, group, name, state)
        self.set_policy(group, parsed, number)
        if name in self.members.hosts(group):
            self.sleepers.joined(group, name)
        if state == "awake" and self.sleepers.is_settling:
            self.scaling.at_least(group, self.sleepers.awake(group))

    def _begin_switch(self, line: socket.socket, group: str, count: int, seconds: float) -> None:
        if self.switch is not None:
            self._answer(line, is_done=False)
            return
        scaled = self.scaling.groups.get(group)
        count = count if scaled is None else scaled.wanted  # one that sleeps wakes when it has to
        self.switch = Switch(line, group, count, time.monotonic() + seconds)
        self.order_all()

    def _lose(self, line: socket.socket) -> None:
        """Forget whoever was behind a line that has ended."""
        self.selector.unregister(line)
        line.close()
        self.members.lose(line)
        if (group := self.sleepers.lose(line)) is not None and not self._is_allowed(group):
            self.scaling.forget(group)
        if self.switch is not None and self.switch.line is line:
            self.switch = None

    def _order(self, member: Member) -> None:
        wants = self.members.may_accept(member, self._may_come)
        if wants == member.is_told:
            return
        member.is_told = wants
        try:
            if wants:
                descriptors = [self.listener.fileno(), self.members.counts]
                socket.send_fds(member.line, [b"accept %d" % member.slot], descriptors)
                for one in self._also if member.takes_also else ():
                    socket.send_fds(member.line, [b"also"], [one.fileno()])
            else:
                member.line.send(b"pause")
        except OSError:  # its end is read next
            member.is_told = not wants

    def _is_allowed(self, group: str) -> bool:
        is_next = self.switch is not None and self.switch.group == group
        return self.allowed is None or group in self.allowed or is_next

    def _may_come(self, member: Member) -> bool:
        its = member.group, member.host
        is_retiring = its in self.retiring or self.sleepers.is_retiring(*its)
        return self._is_allowed(member.group) and not is_retiring

    def _live(self) -> list[str]:
        """Return the groups that have the port and are scaled."""
        return [group for group in self.scaling.groups if self._is_allowed(group)]

    def _look(self, live: list[str]) -> None:
        asking = self.parked.asking
        for group in live:
            self.scaling.look(group, self.members.load(group) + asking)

    def _knock(self) -> None:
        """Wake who sleeps: somebody asks, and nobody is there."""
        self.parked.watch(False)
        for group in self._live():
            self.scaling.knock(group, self.parked.asking)

    def _answer(self, line: socket.socket, *, is_done: bool) -> None:
        self._save()
        with suppress(OSError):
            line.send(json.dumps(self.status(is_done=is_done)).encode())

    def _welcome(self, door: socket.socket) -> None:
        with suppress(OSError):
            line, _ = door.accept()
            line.setblocking(False)
            self.selector.register(line, selectors.EVENT_READ, lambda: self._read(line))

    def _read(self, line: socket.socket) -> None:
        """Read one message; whoever is gone or makes no sense is let go."""
        try:
            data, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, 1)
            if words := data.decode().split():
                self._hear(line, words, descriptors)
                return
        except BlockingIOError:
            return
        except Exception:  # noqa: S110 - whatever was said there, the port stays open
            pass
        self._lose(line)

    def _save(self) -> None:
        """Write down what has to be known after a restart, when it has changed."""
        if self.allowed is None and not self.scaling.groups:
            return
        allowed = None if self.allowed is None else sorted(self.allowed)
        text = json.dumps({"allowed": allowed, "scaling": self.scaling.to_json()})
        if text != self._saved:
            staged = self._file.with_suffix(".next")
            with suppress(OSError):  # no room: at the next turn again; who has the port goes on
                staged.write_text(text)
                staged.replace(self._file)
                self._saved = text

    def _recall(self) -> None:
        try:
            said = json.loads(self._file.read_bytes())
            if isinstance(said, list):  # by an older modelpack
                said = {"allowed": said, "scaling": {}}
            self.allowed = None if said["allowed"] is None else set(said["allowed"])
            self.scaling.recall(said["scaling"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return


def _finite(text: str) -> float:
    """Return a number; raises ValueError for what is none, or has no end."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
