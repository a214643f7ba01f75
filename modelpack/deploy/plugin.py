"""What a target must be able to do, and the order in which it is asked.

    from_options ─► read_live ─► plan (pure) ─► apply ─┬─ healthy ────► settle
                                                       └─ not healthy ► revert
    status, logs, list, destroy: at any time

A target is a small class behind an entry point of the group ``modelpack.targets``; the built-in
ones use the same door.  Its client (engine, cloud) is an argument of its constructor, so that a
fake fits; ``from_options`` makes the real one.  ``modelpack.testing.target_contract`` checks what
stands here.

Who decides whether a revision is healthy is ``rollout``, for all targets in the same way; a target
only keeps the former revision until it is told which of the two stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar, Protocol, Self

from modelpack.deploy.plan import Plan
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import Live, Revision, Status
from modelpack.errors import UsageError, did_you_mean
from modelpack.progress import Progress


def refuse_unknown(target: str, options: Mapping[str, str], known: Collection[str]) -> None:
    """Raise UsageError for the first option that the target does not know."""
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            all_known = ", ".join(sorted(known))
            hint = f"its options are {all_known}" if known else "it has no options"
            raise UsageError(
                f"the target '{target}' has no option '{option}'",
                hint=f"did you mean '{near}'?" if near else hint,
            )


class Target(Protocol):
    """A place where deployments run."""

    name: ClassVar[str]
    """Word behind ``--target``."""

    needs_image: ClassVar[bool]
    """True when it runs images; False when it runs the bundle itself."""

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which ``from_options`` makes the same target again."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with its real client; nothing is asked of the client yet.

        Raises UsageError for an option it does not know, ToolMissingError when there is no client.
        """

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what stands under the name of the spec; changes nothing."""

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; a pure function of its arguments."""

    def apply(self, plan: Plan, progress: Progress) -> Revision:
        """Do what the plan says and keep the former revision.

        What can fail comes before what stops the former one.  When this raises, whatever it
        raises, ``revert`` is called next.
        """

    def settle(self, name: str) -> None:
        """Let go of the former revision, if one is kept: the new one is healthy."""

    def revert(self, name: str) -> None:
        """Remove what ``apply`` made, as far as it came; put the former revision back, if any."""

    def status(self, name: str) -> Status:
        """Return how the deployment is, ``absent`` when there is none; raises TagError."""

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines that the service wrote, oldest first, without their newlines.

        ``tail`` starts at the last so many; ``follow`` goes on until the service has ended.
        Raises DeploymentNotFoundError.
        """

    def destroy(self, name: str) -> None:
        """Stop the deployment and leave nothing of it; raises DeploymentNotFoundError."""

    def list(self) -> list[Status]:
        """Return every deployment that stands here, by name."""
