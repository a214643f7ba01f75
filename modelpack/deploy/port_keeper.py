"""Holds the port of a deployment: the program of one small container, standard library only.

    clients ──► listening socket, its queue ◄──accept── replicas, each with a copy of the socket
    replica ──join──► keeper ──accept, with the socket──► replica takes connections by itself
    deploy ──switch──► keeper ──accept──► new group … all accepting ──pause──► every other group

    python -I -S -c SOURCE serve               keep MODELPACK_HOST:MODELPACK_PORT until SIGTERM
    python -I -S -c SOURCE ask WORD …          give one order and print the answer, JSON

No byte of a request passes through here: the keeper hands out its listening socket (SCM_RIGHTS,
unix(7)) and the kernel does the rest.  What always holds: the socket stays open whatever becomes of
the replicas, so who connects while nobody accepts waits and is not refused; the old group is paused
only when the new one accepts; a replica that is gone is forgotten as its line ends.

A replica that may not accept any more hands its open connections back (``adopt``), and who accepts
gets them; while nobody does they wait here, and what their clients send waits in the kernel.

Lines are SOCK_SEQPACKET on ``MODELPACK_PORT_KEEPER``, one packet a message.  Of a replica: ``join
GROUP HOST``, ``ready``, ``unready``, ``accepting``, ``paused``, ``leaving``, ``adopt`` with a
connection; to it: ``accept SLOT`` with two descriptors (the socket, the shared counts), ``pause``,
``adopt`` with a connection.  Orders: ``hold GROUP …``, ``switch GROUP
COUNT SECONDS``, ``status``.  Without an order ever, as after a restart of the machine, every group
accepts: what an engine starts again by itself was found healthy once.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

SLOTS = 64
"""Most processes of replicas that keep their connections even among them."""

BACKLOG = 2048

MOST_WAITING = 10_000
"""Most open connections that are kept while nobody accepts; more are closed."""

_MOST_BYTES = 4096
_NOBODY = b"\xff\xff\xff\xff"


class Member:
    """One process of a replica, by its line."""

    def __init__(self, line: socket.socket, group: str, host: str, slot: int) -> None:
        self.line = line
        self.group = group
        self.host = host
        self.slot = slot
        self.is_ready = True
        self.is_told = False
        self.is_accepting = False
        self.is_leaving = False


class Switch:
    """An order to give the port to another group, until all of it accept."""

    def __init__(self, line: socket.socket, group: str, count: int, until: float) -> None:
        self.line = line
        self.group = group
        self.count = count
        self.until = until


class Keeper:
    """Knows who may accept, and tells them."""

    def __init__(self, listener: socket.socket, file: Path) -> None:
        """``file`` keeps what was ordered, for the case that this program is started again."""
        self.listener = listener
        self.members: dict[socket.socket, Member] = {}
        self.switch: Switch | None = None
        self.waiting: deque[int] = deque()
        self._turn = 0
        self._file = file
        self.allowed = self._recall()
        self._counts = os.memfd_create("modelpack-share")
        os.write(self._counts, _NOBODY * SLOTS)

    def hear(self, line: socket.socket, words: list[str], descriptors: list[int]) -> None:
        """Take one message of a replica or of somebody who orders."""
        word, rest = words[0], words[1:]
        member = self.members.get(line)
        for one in descriptors:
            self._keep_waiting(one)
        if member is not None:
            self._hear_member(member, word)
        elif word == "join":
            self.members[line] = Member(line, rest[0], rest[1], self._free_slot())
        elif word == "hold" and self.allowed is None:
            self._allow(set(rest))
        elif word == "switch":
            self._begin_switch(line, rest[0], int(rest[1]), float(rest[2]))
            return
        self.order_all()
        if member is None and word != "join":
            self._answer(line, is_done=True)

    def lose(self, line: socket.socket) -> None:
        """Forget whoever was behind a line that has ended."""
        member = self.members.pop(line, None)
        if member is not None and member.slot >= 0:
            os.pwrite(self._counts, _NOBODY, member.slot * 4)
        if self.switch is not None and self.switch.line is line:
            self.switch = None
        self.order_all()

    def order_all(self) -> None:
        """Tell everybody whose turn has changed, and end a switch that is complete."""
        for member in list(self.members.values()):
            self._order(member)
        self.pass_on()
        switch = self.switch
        if switch is None:
            return
        if len(self._hosts(switch.group, is_accepting=True)) >= switch.count:
            self.switch = None
            self._allow({switch.group})
            self._answer(switch.line, is_done=True)
            self.order_all()
        elif time.monotonic() >= switch.until:
            self.switch = None
            self._answer(switch.line, is_done=False)
            self.order_all()

    @property
    def takers(self) -> list[Member]:
        """Those who take connections at this moment."""
        return [one for one in self.members.values() if one.is_told and one.is_accepting]

    def pass_on(self) -> None:
        """Give the connections that wait to those who accept, in turns."""
        takers = self.takers
        for _ in range(len(self.waiting) if takers else 0):
            self._turn += 1
            connection = self.waiting.popleft()
            try:
                socket.send_fds(takers[self._turn % len(takers)].line, [b"adopt"], [connection])
                os.close(connection)
            except OSError:  # it has its hands full, or is gone: in a moment again
                self.waiting.append(connection)

    def _keep_waiting(self, connection: int) -> None:
        if len(self.waiting) < MOST_WAITING:
            self.waiting.append(connection)
        else:
            os.close(connection)

    def _hear_member(self, member: Member, word: str) -> None:
        if word in ("ready", "unready"):
            member.is_ready = word == "ready"
        elif word in ("accepting", "paused"):
            member.is_accepting = word == "accepting"
        elif word == "leaving":
            member.is_leaving, member.is_accepting = True, False

    def _order(self, member: Member) -> None:
        wants = self._may_accept(member)
        if wants == member.is_told:
            return
        member.is_told = wants
        try:
            if wants:
                descriptors = [self.listener.fileno(), self._counts]
                socket.send_fds(member.line, [b"accept %d" % member.slot], descriptors)
            else:
                member.line.send(b"pause")
        except OSError:  # its end is read next
            member.is_told = not wants

    def _may_accept(self, member: Member) -> bool:
        """One that is not ready gives way to those that are, and answers where there is no other."""
        if member.is_leaving or not self._is_allowed(member.group):
            return False
        others = (one for one in self.members.values() if self._is_allowed(one.group))
        others = (one for one in others if not one.is_leaving)
        return member.is_ready or not any(one.is_ready for one in others)

    def _is_allowed(self, group: str) -> bool:
        is_next = self.switch is not None and self.switch.group == group
        return self.allowed is None or group in self.allowed or is_next

    def _begin_switch(self, line: socket.socket, group: str, count: int, seconds: float) -> None:
        if self.switch is not None:
            self._answer(line, is_done=False)
            return
        self.switch = Switch(line, group, count, time.monotonic() + seconds)
        self.order_all()

    def _answer(self, line: socket.socket, *, is_done: bool) -> None:
        groups = sorted({member.group for member in self.members.values()})
        said = {
            "done": is_done,
            "allowed": None if self.allowed is None else sorted(self.allowed),
            "joined": {group: len(self._hosts(group)) for group in groups},
            "accepting": {group: len(self._hosts(group, is_accepting=True)) for group in groups},
        }
        with suppress(OSError):
            line.send(json.dumps(said).encode())

    def _hosts(self, group: str, *, is_accepting: bool = False) -> set[str]:
        """Return the replicas of a group; each may have several processes."""
        of_group = (member for member in self.members.values() if member.group == group)
        return {one.host for one in of_group if one.is_accepting or not is_accepting}

    def _free_slot(self) -> int:
        taken = {member.slot for member in self.members.values()}
        return next((slot for slot in range(SLOTS) if slot not in taken), -1)

    def _allow(self, groups: set[str]) -> None:
        self.allowed = groups
        staged = self._file.with_suffix(".next")
        staged.write_text(json.dumps(sorted(groups)))
        staged.replace(self._file)

    def _recall(self) -> set[str] | None:
        try:
            return set(json.loads(self._file.read_bytes()))
        except (OSError, ValueError):
            return None


def serve(path: Path, address: tuple[str, int]) -> None:
    """Keep the port and say which; ends with SystemExit at SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # process 1 has no default for them
    listener = socket.create_server(address, backlog=BACKLOG)
    listener.setblocking(False)
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind(str(path))
    door.listen(SLOTS)
    door.setblocking(False)
    keeper = Keeper(listener, path.with_suffix(".json"))
    said = {"event": "keeping-port", "port": listener.getsockname()[1]}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        while True:
            is_waiting = keeper.switch is not None or (keeper.waiting and keeper.takers)
            for key, _ in selector.select(0.1 if is_waiting else None):
                if key.fileobj is door:
                    line, _ = door.accept()
                    line.setblocking(False)
                    selector.register(line, selectors.EVENT_READ)
                else:
                    _read(selector, keeper, key.fileobj)  # type: ignore[arg-type]
            keeper.order_all()


def _read(selector: selectors.BaseSelector, keeper: Keeper, line: socket.socket) -> None:
    """Read one message; whoever is gone or makes no sense is let go."""
    try:
        data, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, 1)
        if words := data.decode().split():
            keeper.hear(line, words, descriptors)
            return
    except BlockingIOError:
        return
    except (OSError, ValueError, IndexError):
        pass
    selector.unregister(line)
    line.close()
    keeper.lose(line)


def ask(path: Path, words: list[str]) -> str:
    """Give one order; returns the answer, raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(path))
        line.send(" ".join(words).encode())
        return line.recv(_MOST_BYTES).decode()


def main(words: list[str]) -> int:
    """Do what the first word says; returns the exit status."""
    env = os.environ
    path = Path(env["MODELPACK_PORT_KEEPER"])
    if words[0] == "serve":
        serve(path, (env["MODELPACK_HOST"], int(env["MODELPACK_PORT"])))
    try:
        sys.stdout.write(ask(path, words[1:]) + "\n")
    except OSError as error:
        sys.stderr.write(f"the keeper of the port does not answer: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
