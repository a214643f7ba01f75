"""What a target must be able to do, and the order in which it is asked.

    from_options ─► read_live ─► plan (pure) ─► apply ─┬─ healthy ────► settle
                                                       └─ not healthy ► revert
    render (pure); status, logs, list, history, inventory, destroy: at any time

A target is a small class behind an entry point of the group ``modelpack.targets``; the built-in
ones use the same door.  Its client (engine, cloud) is an argument of its constructor, so that a
fake fits; ``from_options`` makes the real one.  ``modelpack.testing.target_contract`` checks what
stands here.

What is abstract here a target must write; the rest has an answer that is right for most.  A
rollback and a scaling are plans like any other, made from a spec that stood before or stands now:
``plan`` sees in the live state how little has to change.

Who decides whether a revision is healthy is ``rollout``, for all targets in the same way; a target
only keeps the former revision until it is told which of the two stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Self

from modelpack.deploy import revisions
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import Plan
from modelpack.deploy.probe import Answer, fetch
from modelpack.deploy.rendered import Rendered
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


class Target(ABC):
    """A place where deployments run."""

    __slots__ = ()

    name: ClassVar[str]
    """Word behind ``--target``."""

    needs_image: ClassVar[bool] = True
    """True when it runs images; False when it runs the bundle itself."""

    where: ClassVar[tuple[str, ...] | None] = None
    """Options that say where it is; the others say how.  None: all of them."""

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which ``from_options`` makes the same target again; none by default."""
        return {}

    @property
    def whereabouts(self) -> Mapping[str, str]:
        """What of the options says where it is: those that ``where`` names.

        Two targets of one name and the same whereabouts hold the same deployments.
        """
        if self.where is None:
            return self.options
        return {key: one for key, one in self.options.items() if key in self.where}

    @classmethod
    @abstractmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with its real client; nothing is asked of the client yet.

        Raises UsageError for an option it does not know, ToolMissingError when there is no client.
        """

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:  # noqa: ARG002
        """Return what of the settings it does; of the rest, the plan warns or refuses.

        By default address and environment.  Pure; the spec is there for targets that choose by it.
        """
        return Capabilities()

    # Say what will happen.

    @abstractmethod
    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what stands under the name of the spec; changes nothing.

        Raises CredentialsError when nobody may be asked; the plan then says that the live state is
        not known.
        """

    @abstractmethod
    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; a pure function of its arguments.

        ``live`` may be ``Live.unknown``: then the plan is that of a first apply.  Raises UsageError
        for what cannot be.
        """

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return what would be sent, as files; a pure function of its argument.

        By default the spec itself, for targets that send no files.
        """
        return Rendered(files={"deployment.json": spec.canonical().encode() + b"\n"})

    # Do it.

    def hold(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Keep others away from the deployment, from other machines too, while it is changed.

        Raises ConflictError at once when somebody else holds it.  By default nothing is held: the
        lock of this machine is taken in any case.
        """
        return nullcontext()

    @abstractmethod
    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Do what the plan says, step by step through the journal, and keep the former revision.

        Every step is safe to repeat, for an apply that was killed begins anew with what stands
        then.  What can fail comes before what stops the former one.  When this raises, whatever it
        raises, ``revert`` is called next.
        """

    @abstractmethod
    def settle(self, name: str) -> None:
        """Let go of the former revision, if one is kept: the new one is healthy.

        Safe to repeat.  It is also called when an apply was cut short and nothing is left to
        change: then it removes what that one may have left beside the revision that runs.
        """

    @abstractmethod
    def revert(self, name: str) -> None:
        """Remove what ``apply`` made, as far as it came; put the former revision back, if any."""

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """Check the new revision in the target's own way, and return what is to be noted.

        Raises DeployError when it is not healthy.  None, the default: the common probe does it,
        by ``/readyz`` and the examples of the service.
        """
        return None

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Make one HTTP call to a service for the probe; raises OSError when there is no answer.

        For targets whose services want a signature or a header.
        """
        return fetch(url, body=body, timeout_s=timeout_s)

    @abstractmethod
    def status(self, name: str) -> Status:
        """Return how the deployment is, ``absent`` when there is none; raises TagError."""

    @abstractmethod
    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines that the service wrote, oldest first, without their newlines.

        ``tail`` starts at the last so many; ``follow`` goes on until the service has ended.
        Raises DeploymentNotFoundError.
        """

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that were found healthy, oldest first; raises TagError.

        By default those that were deployed from this machine.
        """
        return revisions.kept(name, self.name)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of the revision that stands; None when there is none, or it is not known.

        By default the newest of the history.
        """
        known = self.history(name)
        return known[-1].spec if known else None

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the resources that ``destroy`` would remove, as ``KIND/NAME``."""
        return (f"deployment/{name}",)

    @abstractmethod
    def destroy(self, name: str) -> None:
        """Stop the deployment and leave nothing of it; raises DeploymentNotFoundError."""

    @abstractmethod
    def list(self) -> list[Status]:
        """Return every deployment that stands here, by name."""
