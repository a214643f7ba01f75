"""What the sender of the payload log needs of whatever takes events.

Sink.deliver(events, timeout_s) ──► an Outcome each: taken, refused for good, or to be tried again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modelpack.server.observe.payloads.events import Event

UNREACHABLE, TIMEOUT, STATUS = "unreachable", "timeout", "status"
"""Why a delivery failed; the label of the metric."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery."""

    failure: str = ""
    """One of the reasons above; empty: the events were taken."""
    why: str = ""
    """The same for people; nothing of it is secret."""
    is_final: bool = False
    """True when the same events would be refused again."""
    was_heard: bool = True
    """False when they cannot have been the cause: nobody was there to hear them."""
    retry_after_s: float = 0.0
    """When they are wanted again at the earliest."""


TAKEN = Outcome()


class Sink(Protocol):
    """Takes events; called by one thread alone."""

    name: str
    """What it is called in the log; holds no secret."""

    most_events: int
    """Most events that one delivery takes."""

    def deliver(self, events: Sequence[Event], timeout_s: float) -> Sequence[Outcome]:
        """Hand events over within so many seconds; returns what became of each.

        Events that one message carried have one outcome, the same object.
        """

    def close(self) -> None:
        """Let go of connections and files."""
