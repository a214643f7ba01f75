"""What the local target remembers of a deployment, in the details of its record.

    Record.details ◄──► Memory(settled, candidate, supervisor)

A record that cannot be read is as good as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import records
from modelpack.deploy.command import Command, folder_of, read_state
from modelpack.deploy.process import ProcessId
from modelpack.deploy.spec import DeploymentSpec
from modelpack.errors import ModelpackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One revision: what it is, how it is run, and at which port."""

    spec: DeploymentSpec
    command: Command
    port: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "spec": self.spec.to_json(),
            "command": self.command.to_json(),
            "port": self.port,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Kept | None:
        """Read what ``to_json`` wrote; None when there is nothing that can be read."""
        try:
            return cls(
                spec=DeploymentSpec.from_json(value["spec"]),  # type: ignore[index]
                command=Command.from_json(value["command"]),  # type: ignore[index]
                port=int(value["port"]),  # type: ignore[index]
            )
        except (KeyError, TypeError, ValueError, ModelpackError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The revisions of a local deployment, and who runs them."""

    settled: Kept | None = None
    """The revision that was found healthy last."""
    candidate: Kept | None = None
    """The revision that runs in its place and has not been found healthy yet."""
    supervisor: ProcessId | None = None

    @property
    def running(self) -> Kept | None:
        """The revision that the supervisor runs, or ran last."""
        return self.candidate or self.settled

    @property
    def is_running(self) -> bool:
        """True while the supervisor lives."""
        return self.supervisor is not None and self.supervisor.is_alive

    def stop(self) -> None:
        """End the supervisor and with it the service; gone when this returns."""
        if self.supervisor is not None:
            grace_s = self.running.command.grace_s if self.running is not None else 0.0
            # The supervisor itself ends a service that takes longer than its grace.
            self.supervisor.stop(grace_s + 5.0)


def recall(name: str, target: str) -> Memory:
    """Return what is remembered of a deployment of that target; raises TagError."""
    record = records.read(name)
    if record is None or record.target != target:
        return Memory()
    details = record.details
    supervisor = ProcessId.from_json(details.get("supervisor"))
    if supervisor is None and (state := read_state(folder_of(name))) is not None:
        # Whoever started it was killed before it could write down what it had started.
        supervisor = ProcessId.from_json(state.supervisor)
    return Memory(
        settled=Kept.from_json(details.get("settled")),
        candidate=Kept.from_json(details.get("candidate")),
        supervisor=supervisor,
    )


def keep(name: str, target: str, memory: Memory) -> None:
    """Remember it, in place of what was remembered before."""
    parts = {
        "settled": memory.settled,
        "candidate": memory.candidate,
        "supervisor": memory.supervisor,
    }
    details = {key: part.to_json() for key, part in parts.items() if part is not None}
    records.write(records.Record(name=name, target=target, details=details))
