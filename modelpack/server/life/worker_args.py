"""The command line of a worker: descriptors that it inherits, by their use."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """What a worker is given as it starts."""

    parent: int
    """Process that it ends with."""
    channel: int
    listener: int
    metrics: int
    """-1: metrics are asked for on the same socket as everything else."""
    share: int
    """Shared memory in which every worker says how many connections it has."""
    slot: int
    """Its place there."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors to inherit; -1 is none."""
        return (self.channel, self.listener, self.metrics, self.share)

    def words(self) -> list[str]:
        """Return it as it stands on the command line."""
        return [str(number) for number in astuple(self)]
