"""Keeps the server processes of a deployment running, detached from whoever asked for them.

    python -m modelpack.deploy.supervisor NAME
        wanted.json ──► groups of replicas (``running``), addresses that they share (``kept_address``)
        orders      ──► load: read wanted.json again; await: say when it is so   (``orders``)
        state.json  ◄── what becomes of it                                       (``report``)
        the load    ──keeper──► want(group, count) ──► replicas start and end
        SIGTERM     ──► every replica ends within its grace ──► exit 0

What always holds: no process outlives this one; the group that has the port keeps it until another
one that shall have it takes connections; a group that is wanted no more ends only then; there is
one thread, and nothing but the standard library and a few small modules is imported.

It says its process id on standard output once it is in charge, and then lets go of the terminal.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelpack.deploy.command import (
    FORMER_LOG_FILE,
    LOCK_FILE,
    LOG_FILE,
    TRIAL_LOG_FILE,
    Group,
    Wanted,
    folder_of,
    read_wanted,
)
from modelpack.deploy.kept_address import KeptAddress
from modelpack.deploy.logfile import LogWriter
from modelpack.deploy.orders import Answer, Orders
from modelpack.deploy.process import ProcessId
from modelpack.deploy.replicas import FOREVER, say
from modelpack.deploy.report import GroupReport, Report, write_report
from modelpack.deploy.running import RunningGroup
from modelpack.deploy.watching import Signals, Watch
from modelpack.errors import ModelpackError

_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Awaited:
    """Something that somebody wants to be told of."""

    is_so: Callable[[], bool]
    answer: Answer
    until: float


class Supervisor:
    """Runs what the folder says until it is told to stop; the keepers' ``Pool``."""

    def __init__(self, folder: Path, watch: Watch, umask: int) -> None:
        """``umask`` is what services begin with."""
        self._folder = folder
        self._umask = umask
        self._watch = watch
        self._me = ProcessId.of(os.getpid())
        self._wanted = Wanted()
        self._serving: str | None = None
        self._groups: dict[str, RunningGroup] = {}
        self._asked: dict[str, int] = {}
        self._addresses: dict[tuple[str, int], KeptAddress] = {}
        self._awaited: list[Awaited] = []
        self._is_ending = False
        self._is_changed = True
        self._said: Report | None = None

    # What the keepers ask for, by the load.

    def want(self, group: str, count: int) -> None:
        """Have so many replicas of a scaled group from the next turn on."""
        self._asked[group] = count

    def awake(self, group: str) -> int:
        """Return how many replicas of a group there are, those that start included."""
        found = self._groups.get(group)
        return 0 if found is None else len(found.awake)

    def places(self, group: str) -> int:
        """Return how many replicas of a group there may be."""
        found = self._groups.get(group)
        return 0 if found is None else found.group.most

    # What the target orders.

    def load(self, environ: Mapping[str, str]) -> None:
        """Run what the folder says from now on; ``environ`` is what secrets of new groups speak of.

        Raises PortInUseError, and OSError, KeyError, TypeError and ValueError for a damaged file.
        """
        wanted = read_wanted(self._folder)
        for group in wanted.groups:
            if (group.host, group.port) not in self._addresses:
                self._open((group.host, group.port))
        self._listen_also(wanted)
        self._wanted = wanted
        if not self._groups:
            self._serving = wanted.serving  # nobody has the port yet, so nobody has to leave it
        ids = {group.id for group in wanted.groups}
        for id_, running in self._groups.items():
            if id_ not in ids and not running.has_served:
                running.log.move(self._folder / FORMER_LOG_FILE)
        for group in wanted.groups:
            self._take(group, environ)
        self._is_changed = True

    def obey(self, order: Mapping[str, Any], answer: Answer) -> None:
        """Follow an order; raises KeyError and TypeError for what is none."""
        if order["order"] == "load":
            try:
                self.load({**os.environ, **order["environ"]})
            except ModelpackError as error:
                answer({"done": False, "why": error.message})
                return
            except (OSError, KeyError, TypeError, ValueError) as error:
                answer({"done": False, "why": f"what to run cannot be read: {error!r}"})
                return
            self._awaited.append(Awaited(lambda: True, answer, time.monotonic()))
        elif order["order"] == "await":
            is_so = {"switched": self._is_switched, "alone": self._is_alone}[order["what"]]
            until = time.monotonic() + float(order["within_s"])
            self._awaited.append(Awaited(is_so, answer, until))
        elif order["order"] == "scaled":
            group = self._groups.get(str(order["group"]))
            answer({} if group is None else self._addresses[group.address].scaled(group.group.id))

    def end(self) -> None:
        """Let every replica end; safe to repeat."""
        self._is_ending = True

    def begin(self) -> float:
        """Do what is due and say how it stands; return the moment at which something is due next."""
        due = self._tick()
        self._is_changed = self._is_changed or self._is_over
        self._say_report()
        self._answer()  # after the report: who is told it looks there
        return due

    def turn(self) -> bool:
        """Do what is due and wait for what comes next; False: everything has ended."""
        due = self.begin()
        if not self._is_over:
            self._watch.wait(due - time.monotonic() if due < FOREVER else _LONGEST_WAIT_S)
            return True
        for address in self._addresses.values():
            address.close()
        return False

    @property
    def _is_over(self) -> bool:
        return self._is_ending and all(one.is_empty for one in self._groups.values())

    # How it comes about.

    def _open(self, address: tuple[str, int]) -> None:
        self._addresses[address] = KeptAddress(
            address, self._folder, pool=self, watch=self._watch, say=self.log, changed=self._note
        )

    def _listen_also(self, wanted: Wanted) -> None:
        """Keep the ports for gRPC of all that is to run; raises PortInUseError."""
        for address, kept in self._addresses.items():
            groups = (one for one in wanted.groups if (one.host, one.port) == address)
            ports = {one.command.grpc_port for one in groups}
            kept.listen_also({port for port in ports if port is not None})

    def _take(self, group: Group, environ: Mapping[str, str]) -> None:
        """Know of a group; one that is known may have other numbers."""
        address = self._addresses[group.host, group.port]
        is_serving = group.id == self._serving
        known = self._groups.get(group.id)
        if known is not None:
            known.update(group)
        else:
            file = self._folder / (LOG_FILE if is_serving else TRIAL_LOG_FILE)
            self._groups[group.id] = RunningGroup(
                group,
                door=address.door,
                retiring=address,
                environ=environ,
                log=LogWriter(file),
                watch=self._watch,
                changed=self._note,
                umask=self._umask,
            )
        if is_serving:
            address.offer({group.id})
            self._groups[group.id].has_served = True
        address.scale(group, self.awake(group.id))
        if group.policy is None:
            self._asked.pop(group.id, None)
        elif not is_serving and known is None:
            address.wake(group.id)

    def _tick(self) -> float:
        """Let everybody do what is due; return when something is due by the clock, monotonic."""
        for group in list(self._groups.values()):
            group.want(self._count(group), is_urgent=self._is_going(group))
        dues = [one.tick() for one in list(self._addresses.values())]
        dues += [one.tick() for one in self._groups.values()]
        self._hand_over()
        self._let_go()
        dues += [one.until for one in self._awaited]
        return 0.0 if self._is_unsettled() else min(dues, default=FOREVER)

    def _answer(self) -> None:
        """Tell those who wait for something that it is so, or that their time is up."""
        now = time.monotonic()
        for one in list(self._awaited):
            if (is_so := one.is_so()) or now >= one.until:
                self._awaited.remove(one)
                one.answer({"done": is_so})

    def _is_unsettled(self) -> bool:
        """Say whether another turn has something to do at once."""
        return any(one.wanted != self._count(one) for one in self._groups.values())

    def _is_going(self, running: RunningGroup) -> bool:
        """Say whether all of a group is to end, and not because nobody asks."""
        is_wanted = any(one.id == running.group.id for one in self._wanted.groups)
        is_needed = is_wanted or running.group.id == self._serving
        return self._is_ending or running.group.rests or not is_needed

    def _count(self, running: RunningGroup) -> int:
        """Return how many replicas a group should have now."""
        group = running.group
        if self._is_going(running):
            return 0
        others = (one for one in self._groups.values() if one is not running)
        if self._wanted.is_in_turns and running.is_empty and not all(o.is_empty for o in others):
            return 0
        if group.policy is not None:
            return self._asked.get(group.id, 0)
        return group.at_least

    def _hand_over(self) -> None:
        """Let the group that shall serve have its port, and then nobody else there."""
        wanted = self._groups.get(self._wanted.serving or "")
        if wanted is None or wanted.group.id == self._serving:
            return
        address = self._addresses[wanted.address]
        former = self._groups.get(self._serving or "")
        is_there = former is not None and former.address == wanted.address
        both = {one.group.id for one in (former, wanted) if one is not None}
        address.offer(both if is_there else {wanted.group.id})
        if self._accepting() < max(wanted.wanted, 1):
            return
        address.offer({wanted.group.id})
        if former is not None:
            former.log.move(self._folder / FORMER_LOG_FILE)
        wanted.log.move(self._folder / LOG_FILE)
        wanted.has_served = True
        self._serving = wanted.group.id
        self._is_changed = True

    def _let_go(self) -> None:
        """Forget groups that have ended, and addresses that nobody needs."""
        kept = {one.id for one in self._wanted.groups} | {self._serving}
        for id_, group in list(self._groups.items()):
            if id_ not in kept and group.is_empty:
                del self._groups[id_]
                self._asked.pop(id_, None)
                self._addresses[group.address].forget(id_)
                group.log.close()
                self._is_changed = True
        needed = {group.address for group in self._groups.values()}
        for address in [one for one in self._addresses if one not in needed]:
            self._addresses.pop(address).close()

    def _accepting(self) -> int:
        """Return how many replicas of the group that shall serve take requests at its port."""
        wanted = self._groups.get(self._wanted.serving or "")
        return 0 if wanted is None else self._addresses[wanted.address].accepting(wanted.group.id)

    def _is_switched(self) -> bool:
        return self._serving == self._wanted.serving

    def _is_alone(self) -> bool:
        return self._is_switched() and len(self._groups) == len(self._wanted.groups)

    def _note(self) -> None:
        self._is_changed = True

    def log(self, event: Mapping[str, Any]) -> None:
        """Write an event to the log of its group, else to that of the one that serves."""
        group = self._groups.get(str(event.get("group"))) or self._groups.get(self._serving or "")
        if group is not None:
            say(group.log, event, mark="port | " if group.group.most > 1 else "")

    def _say_report(self) -> None:
        if not self._is_changed:
            return
        self._is_changed = False
        report = Report(
            supervisor=None if self._me is None else self._me.to_json(),
            is_over=self._is_over,
            serving=self._serving,
            groups=tuple(map(self._report, self._groups.values())),
        )
        if report != self._said:
            self._said = report
            try:
                write_report(self._folder, report)
            except OSError:  # a full disk must not end the service
                self._said = None

    def _report(self, group: RunningGroup) -> GroupReport:
        return replace(group.report, joined=self._addresses[group.address].joined(group.group.id))


def _take_charge(folder: Path) -> int:
    """Hold the folder for as long as this process lives; raises BlockingIOError."""
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _let_go_of_terminal() -> None:
    """Tell the launcher who is in charge, and read and write nothing of its any more."""
    os.write(1, f"{os.getpid()}\n".encode())
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)
    os.close(nothing)


def main(arguments: Sequence[str]) -> int:
    """Supervise the deployment of that name in a process of its own session."""
    folder = folder_of(arguments[0])
    umask = os.umask(0o077)
    read_wanted(folder)
    if os.fork():
        os._exit(0)
    os.setsid()
    try:
        _take_charge(folder)
    except BlockingIOError:
        sys.stderr.write("another supervisor is in charge\n")
        return 1
    watch = Watch()
    signals = Signals(watch)
    supervisor = Supervisor(folder, watch, umask)
    try:
        supervisor.load(os.environ)
    except ModelpackError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    orders = Orders(folder, watch, supervisor.obey)
    supervisor.begin()
    _let_go_of_terminal()
    try:
        while supervisor.turn():
            if signals.is_stop_wanted:
                supervisor.end()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        supervisor.log({"level": "error", "event": "supervisor-failed", "error": why})
        raise
    orders.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
