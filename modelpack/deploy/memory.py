"""What the local target remembers of a deployment, in the details of its record.

    Record.details ◄──► Memory(settled, candidate, supervisor) ──wanted──► what to run

A record that cannot be read is as good as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import records
from modelpack.deploy.autoscale.asked import policy_of
from modelpack.deploy.command import Command, Group, Wanted, folder_of
from modelpack.deploy.process import ProcessId
from modelpack.deploy.report import GroupReport, Report, read_report
from modelpack.deploy.spec import DeploymentSpec
from modelpack.errors import ModelpackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One revision: what it is, how it is run, and at which port."""

    spec: DeploymentSpec
    command: Command
    port: int
    group: str = "1"
    """Names its processes; the numbers of groups grow."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers, host and port."""
        return self.spec.settings.host, self.port

    def wanted(self, *, rests: bool = False) -> Group:
        """Return it as a supervisor sees it."""
        policy = policy_of(self.spec.settings)
        return Group(
            id=self.group,
            command=self.command,
            host=self.spec.settings.host,
            port=self.port,
            fewest=self.spec.settings.min_replicas,
            most=self.spec.settings.most_replicas,
            policy=None if policy is None else policy.to_json(),
            rests=rests,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "spec": self.spec.to_json(),
            "command": self.command.to_json(),
            "port": self.port,
            "group": self.group,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Kept | None:
        """Read what ``to_json`` wrote; None when there is nothing that can be read."""
        try:
            return cls(
                spec=DeploymentSpec.from_json(value["spec"]),  # type: ignore[index]
                command=Command.from_json(value["command"]),  # type: ignore[index]
                port=int(value["port"]),  # type: ignore[index]
                group=str(value.get("group", "1")),  # type: ignore[union-attr]
            )
        except (KeyError, TypeError, ValueError, ModelpackError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The revisions of a local deployment, and who runs them."""

    settled: Kept | None = None
    """The revision that was found healthy last."""
    candidate: Kept | None = None
    """The one beside it that has not been found healthy yet; of the same group: other numbers."""
    is_in_turns: bool = False
    """True: the two cannot have processes at the same time."""
    supervisor: ProcessId | None = None

    @property
    def standing(self) -> Kept | None:
        """The revision on trial, else the settled one."""
        return self.candidate or self.settled

    @property
    def is_trial(self) -> bool:
        """True while there are processes on trial, which do not answer at the deployment's port."""
        return self.candidate is not None and (
            self.settled is None or self.settled.group != self.candidate.group
        )

    @property
    def clashes(self) -> bool:
        """True when the two want one port at two addresses, which one of them alone can have."""
        if self.settled is None or self.candidate is None:
            return False
        return clash(self.settled.address, self.candidate.address)

    @property
    def wanted(self) -> Wanted:
        """What the supervisor shall run."""
        settled, candidate = self.settled, self.candidate
        groups: tuple[Group, ...]
        if candidate is None:
            groups = () if settled is None else (settled.wanted(),)
            serving = None if settled is None else settled.group
        elif settled is None or self.clashes:
            groups, serving = (candidate.wanted(),), None
        elif settled.group == candidate.group:
            groups, serving = (candidate.wanted(),), settled.group
        else:
            groups = (settled.wanted(rests=self.is_in_turns), candidate.wanted())
            serving = settled.group
        return Wanted(groups=groups, serving=serving, is_in_turns=self.is_in_turns)

    @property
    def next_group(self) -> str:
        """A name for a group that none has."""
        kept = [one for one in (self.settled, self.candidate) if one is not None]
        return str(max((int(one.group) for one in kept), default=0) + 1)

    @property
    def grace_s(self) -> float:
        """Longest that the processes may take to end."""
        kept = [one for one in (self.settled, self.candidate) if one is not None]
        return max((one.command.grace_s for one in kept), default=0.0)

    @property
    def is_running(self) -> bool:
        """True while the supervisor lives."""
        return self.supervisor is not None and self.supervisor.is_alive

    def report(self, name: str) -> Report | None:
        """Return what this very supervisor last said."""
        said = read_report(folder_of(name))
        if said is None or ProcessId.from_json(said.supervisor) != self.supervisor:
            return None
        return said

    def group(self, name: str, kept: Kept) -> GroupReport | None:
        """Return what the supervisor last said about a revision."""
        said = self.report(name)
        return None if said is None else said.group(kept.group)

    def stop(self) -> None:
        """End the supervisor and with it the service; gone when this returns."""
        if self.supervisor is not None:
            # The supervisor itself ends processes that take longer than their grace.
            self.supervisor.stop(self.grace_s + 5.0)


def clash(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Return whether two addresses differ and have one port."""
    return one != other and one[1] == other[1]


def recall(name: str, target: str) -> Memory:
    """Return what is remembered of a deployment of that target; raises TagError."""
    record = records.read(name)
    if record is None or record.target != target:
        return Memory()
    details = record.details
    supervisor = ProcessId.from_json(details.get("supervisor"))
    if supervisor is None and (said := read_report(folder_of(name))) is not None:
        # Whoever started it was killed before it could write down what it had started.
        supervisor = ProcessId.from_json(said.supervisor)
    return Memory(
        settled=Kept.from_json(details.get("settled")),
        candidate=Kept.from_json(details.get("candidate")),
        is_in_turns=details.get("in_turns") is True,
        supervisor=supervisor,
    )


def keep(name: str, target: str, memory: Memory) -> None:
    """Remember it, in place of what was remembered before."""
    parts = {
        "settled": memory.settled,
        "candidate": memory.candidate,
        "supervisor": memory.supervisor,
    }
    details: dict[str, Any] = {
        key: part.to_json() for key, part in parts.items() if part is not None
    }
    if memory.is_in_turns:
        details["in_turns"] = True
    records.write(records.Record(name=name, target=target, details=details))
