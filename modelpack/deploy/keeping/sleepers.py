"""Process 1 of containers that sleep: each starts a server when told to, and ends it again.

    process 1 ──sleeps GROUP NAME STATE …──► Sleeper ◄──want(group, count)── scaling
    asleep ──start──► awake ──not wanted──► retiring: accepts nobody ──nothing to do──► stop ──► asleep
                        ◄──wanted again───────┘

The engine made all the containers that there may be; nobody asks it for anything here.  What always
holds: of a group as many as are wanted have been told to start, as long as there are so many; one
that is lost, as its container is started again, has another one in its place; one that has to go
answers what it has first, however long that takes (``MOST_RETIRING_S``), and may be wanted again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from modelpack.deploy.keeping.scaling import Say

SETTLE_S = 0.5
"""How long a keeper that has just started waits for those who are awake to say so."""

MOST_RETIRING_S = 600.0
"""Longest that a server may take to answer what it has before it is told to end all the same."""

STATES = ("asleep", "awake", "ending")


class Sleeper:
    """One process 1, by its line."""

    def __init__(self, line: socket.socket, group: str, name: str, state: str) -> None:
        """Raise ValueError for a state that there is not."""
        if state not in STATES:
            raise ValueError(state)
        self.line = line
        self.group = group
        self.name = name
        self.state = state
        self.is_on = state == "awake"
        """Whether it is to have a server."""
        self.is_ready = False
        """Whether that one has joined."""
        self.retiring_since: float | None = None
        """Since when it has a server that accepts nobody any more, and is not told to end yet."""

    @property
    def rank(self) -> tuple[bool, int, str]:
        """The first of a group come first, and those last that still end."""
        return self.state == "ending", int(self.name) if self.name.isdecimal() else 0, self.name

    def tell(self, word: str) -> None:
        """Say ``start``, ``stop`` or ``ready``; one that is gone is noticed by its line."""
        try:
            self.line.send(word.encode())
        except OSError:
            return


class Sleepers:
    """All of them: a ``Pool``."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._settled_at = clock() + SETTLE_S
        self._by_line: dict[socket.socket, Sleeper] = {}
        self._wanted: dict[str, int] = {}

    def of(self, line: socket.socket) -> Sleeper | None:
        """Return the one behind a line."""
        return self._by_line.get(line)

    def add(self, line: socket.socket, group: str, name: str, state: str) -> None:
        """Take a new one; raises ValueError."""
        self._by_line[line] = Sleeper(line, group, name, state)

    def hear(self, sleeper: Sleeper, word: str, rest: list[str]) -> None:
        """Take one message; raises IndexError for what makes no sense."""
        if word in STATES:
            sleeper.state = word
            sleeper.is_ready = False
        elif word == "crashed":
            sleeper.is_ready = False
            said = {"replica": sleeper.name, "status": int(rest[0])}
            self._say({"event": "server-crashed", "group": sleeper.group, **said})
        self.arrange(sleeper.group)

    def lose(self, line: socket.socket) -> str | None:
        """Forget whoever was behind a line; returns the group when it was the last one of it."""
        gone = self._by_line.pop(line, None)
        if gone is None:
            return None
        if not self.places(gone.group):
            self._wanted.pop(gone.group, None)
            return gone.group
        self.arrange(gone.group)
        return None

    def joined(self, group: str, name: str) -> None:
        """Let the one behind a server know that it is ready."""
        for one in self._of(group):
            if one.name == name and not one.is_ready:
                one.is_ready = True
                one.tell("ready")

    def want(self, group: str, count: int) -> None:
        """Have so many servers of a group."""
        self._wanted[group] = count
        self.arrange(group)

    def awake(self, group: str) -> int:
        """Return how many have a server that runs, starts or ends."""
        return sum(one.state != "asleep" for one in self._of(group))

    def places(self, group: str) -> int:
        """Return how many there are."""
        return len(self._of(group))

    @property
    def is_settling(self) -> bool:
        """True while those who are awake may not have said so yet."""
        return self._clock() < self._settled_at

    def settle(self) -> float | None:
        """Arrange everybody once those who are awake had time to say so; returns the seconds left."""
        left_s = self._settled_at - self._clock()
        if left_s > 0:
            return left_s
        if self._settled_at > 0:
            self._settled_at = 0.0
            for group in list(self._wanted):
                self.arrange(group)
        return None

    def arrange(self, group: str) -> None:
        """Tell who has to start, and who has to end."""
        wanted = self._wanted.get(group)
        if wanted is None or self.is_settling:
            return
        ones = sorted(self._of(group), key=lambda one: one.rank)
        on = [one for one in ones if one.is_on]
        off = [one for one in ones if not one.is_on]
        off.sort(key=lambda one: one.retiring_since is None)  # these are there already
        for one in off[: max(wanted - len(on), 0)]:
            one.is_on = True
            if one.retiring_since is None:
                one.tell("start")
            one.retiring_since = None
        # Those that take requests stay, of these the first.
        on.sort(key=lambda one: (not one.is_ready, one.rank))
        for one in on[wanted:]:
            one.is_on, one.retiring_since = False, self._clock()

    def is_retiring(self, group: str, name: str) -> bool:
        """Say whether a server is to accept nobody any more."""
        return any(one.name == name and not one.is_on for one in self._of(group))

    def end_retired(self, is_quiet: Callable[[str, str], bool]) -> bool:
        """Tell those to end that have nothing to do; returns whether others still have.

        ``is_quiet`` says that of a server, by group and name.
        """
        waits = False
        for one in list(self._by_line.values()):
            if one.retiring_since is None:
                continue
            is_over = self._clock() - one.retiring_since >= MOST_RETIRING_S
            if is_over or is_quiet(one.group, one.name):
                one.retiring_since = None
                one.tell("stop")
            else:
                waits = True
        return waits

    def _of(self, group: str) -> list[Sleeper]:
        return [one for one in self._by_line.values() if one.group == group]
