"""The replicas of one group: as many as are wanted, no more and no fewer.

    want(3) ──► replicas 1, 2, 3 start
    want(1) ──► 3 and 2 retire: they accept nobody ──nothing to do──► they end    (``is_urgent``: at once)
    tick()  ──► who has ended is started again, or buried

What always holds: the lowest number that is free is taken next and the highest goes first, so the
replicas that have been there longest stay; one that retires stays when it is wanted again; one that
ends keeps its number until it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from modelpack.deploy.command import Group
from modelpack.deploy.logfile import LogWriter
from modelpack.deploy.replicas import FOREVER, Place, Replica
from modelpack.deploy.report import GOING, GroupReport, now
from modelpack.deploy.watching import Watch

_LOOK_S = 0.25
"""How often it is looked whether one that retires has answered everything."""


class Retiring(Protocol):
    """Keeps servers of the group from accepting."""

    def retire(self, group: str, number: int, is_to_go: bool) -> None:
        """Let a server accept nobody any more, or again."""

    def is_quiet(self, group: str, number: int) -> bool:
        """Return whether a server accepts nobody and has nothing to do."""


class RunningGroup:
    """The processes of a group."""

    def __init__(
        self,
        group: Group,
        *,
        door: str,
        retiring: Retiring,
        environ: Mapping[str, str],
        log: LogWriter,
        watch: Watch,
        changed: Callable[[], None],
        umask: int,
    ) -> None:
        """Nothing runs yet.  ``changed`` is called whenever the report is another one."""
        self.group = group
        """What it is; how many there may be can change."""
        self.log = log
        self.has_served = False
        """Whether it ever had its port."""
        self.wanted = 0
        """How many replicas there should be."""
        self._since = now()
        self._changed = changed
        self._retiring = retiring
        self._replicas: dict[int, Replica] = {}
        self._place = Place(
            group=group.id,
            command=group.command,
            host=group.host,
            door=door,
            environ=environ,
            is_numbered=group.most > 1,
            log=log,
            watch=watch,
            umask=umask,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers, host and port."""
        return self.group.host, self.group.port

    @property
    def awake(self) -> list[Replica]:
        """Those that run or are started again, the first ones first."""
        found = [one for one in self._replicas.values() if one.phase not in GOING]
        return sorted(found, key=lambda one: (one.phase != "up", one.number))

    @property
    def is_empty(self) -> bool:
        """True when there is no process, and none is going to be started again."""
        return not self._replicas

    @property
    def report(self) -> GroupReport:
        """How it is; who counts those that have asked for the port does so elsewhere."""
        return GroupReport(
            id=self.group.id,
            wanted=self.wanted,
            asleep_since=None if self.wanted else self._since,
            replicas=tuple(one.report for _, one in sorted(self._replicas.items())),
        )

    def update(self, group: Group) -> None:
        """Take note that there may be another number of replicas; all else is as it was."""
        self.group = group
        is_numbered = group.most > 1
        if is_numbered != self._place.is_numbered:
            self._place = replace(self._place, is_numbered=is_numbered)
            for one in self._replicas.values():
                one.move(self._place)

    def want(self, count: int, *, is_urgent: bool = False) -> None:
        """Have so many replicas; safe to repeat.  ``is_urgent``: who goes has its grace, no more."""
        if count != self.wanted:
            self.wanted = count
            self._since = now()
            self._changed()
        awake = self.awake
        for one in awake[count:]:
            self._retiring.retire(self.group.id, one.number, True)
            one.retire()
        for _ in range(count - len(awake)):
            self._add()
        for one in self._leaving if is_urgent else ():
            one.stop()
        self._forget_the_gone()

    def tick(self) -> float:
        """Do what is due; return the moment, monotonic, at which something is due by the clock."""
        leaving = self._leaving
        for one in leaving:
            if self._retiring.is_quiet(self.group.id, one.number):
                one.stop()
        due = min((one.tick() for one in list(self._replicas.values())), default=FOREVER)
        self._forget_the_gone()
        return min(due, time.monotonic() + _LOOK_S) if leaving else due

    @property
    def _leaving(self) -> list[Replica]:
        return [one for one in self._replicas.values() if one.phase == "retiring"]

    def _add(self) -> None:
        """Let one stay that was about to go, else start another one."""
        for one in self._leaving:
            self._retiring.retire(self.group.id, one.number, False)
            one.resume()
            return
        number = next(n for n in range(1, 10**6) if n not in self._replicas)
        self._replicas[number] = Replica(number, self._place, self._changed)

    def _forget_the_gone(self) -> None:
        gone = [number for number, one in self._replicas.items() if one.is_gone]
        for number in gone:
            del self._replicas[number]
            self._retiring.retire(self.group.id, number, False)
        if gone:
            self._changed()
