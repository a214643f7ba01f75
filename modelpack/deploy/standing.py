"""A target whose platform keeps the state: what it holds under a name, and all that follows from it.

    find(name) ──► S: the platform's own record    look(S) ──► Sight, how it is at this moment
        │               now(S), past(S)
        └──► status · history · current · list · require

Such a target writes how it finds what stands (``find``, ``names``), how that is (``look``), and what
was asked for, now and before (``now``, ``past``).  What users are told is made of that here, for
every target in the same words.  Nothing here changes anything.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from modelpack.deploy.plugin import Target
from modelpack.deploy.probe import Clock
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Replicas, Revision, State, Status
from modelpack.errors import ConflictError, DeployError, DeploymentNotFoundError

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How what was applied last is, as the platform says."""

    state: State
    detail: str | None = None
    """Why it is not running, in a few words."""
    url: str | None = None
    """Where it answers; None: not to be called from here."""
    since: str | None = None
    """When it was started, UTC, RFC 3339."""
    restarts: int = 0
    """How often replicas of it have ended by themselves."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What runs, where it may differ from what was applied: under the keys of a spec's facts."""
    meanwhile: str | None = None
    """What stands beside it, while nobody has found it healthy."""
    replicas: Replicas | None = None
    """How many there are, where the load decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A revision that was found healthy."""

    spec: DeploymentSpec
    since: str | None = None
    """When, UTC, RFC 3339; None: not known."""
    note: str | None = None
    """What else is worth knowing of it."""


class StandingTarget(Target, Generic[S]):
    """A target that finds in its platform all that there is to know of a deployment."""

    __slots__ = ()

    @abstractmethod
    def find(self, name: str) -> S | None:
        """Return what the platform holds under a name, None for nothing; changes nothing.

        Raises TagError for what is no name, ConflictError for what somebody else made.
        """

    @abstractmethod
    def look(self, standing: S) -> Sight:
        """Return how it is at this moment; changes nothing."""

    @abstractmethod
    def now(self, standing: S) -> DeploymentSpec | None:
        """Return the spec that was applied last; None when nothing of it can be read."""

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Return the names of the deployments that this target made here."""

    def past(self, standing: S) -> Iterable[Past] | None:  # noqa: ARG002
        """Return what was found healthy, oldest first; what stands is the last one once it is.

        None, the default: the platform does not remember, and this machine's file is asked.
        """
        return None

    # What follows from it.

    def status(self, name: str) -> Status:
        """Return how the deployment is, ``absent`` when there is none; raises what ``find`` raises."""
        standing = self.find(name)
        if standing is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        sight, spec = self.look(standing), self.now(standing)
        return Status(
            name=name,
            target=self.name,
            state=sight.state,
            bundle=None if spec is None else spec.bundle,
            revision=None if spec is None else spec.revision,
            url=sight.url,
            since=sight.since,
            restarts=sight.restarts,
            detail=sight.detail,
            meanwhile=sight.meanwhile,
            replicas=sight.replicas,
        )

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that were found healthy, oldest first."""
        standing = self.find(name)
        past = () if standing is None else self.past(standing)
        if past is None:
            return Target.history(self, name)
        return tuple(self.revision(one.spec, since=one.since, note=one.note) for one in past)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec that was applied last."""
        standing = self.find(name)
        return None if standing is None else self.now(standing)

    def list(self) -> list[Status]:
        """Return the deployments that this target made here, by name."""
        found = [self.status(name) for name in sorted(set(self.names()))]
        return [one for one in found if one.state is not State.ABSENT]

    def require(self, name: str) -> S:
        """Return what stands under a name; raises DeploymentNotFoundError for nothing."""
        standing = self.find(name)
        if standing is None:
            raise self.absent(name)
        return standing

    def absent(self, name: str) -> DeploymentNotFoundError:
        """Return the error that says that there is none."""
        return DeploymentNotFoundError(
            f"no deployment '{name}' at target '{self.name}'",
            hint="run 'modelpack deployments list' to see them",
        )

    def revision(
        self, spec: DeploymentSpec, *, since: str | None = None, note: str | None = None
    ) -> Revision:
        """Return the revision that a spec is, as ``apply`` and ``history`` answer."""
        return Revision(
            deployment=spec.name,
            id=spec.revision,
            bundle=spec.bundle,
            target=self.name,
            spec=spec,
            since=since,
            note=note,
        )


def refuse_others(
    what: str,
    name: str,
    made_for: str | None,
    *,
    target: str | None = None,
    made_by: str | None = None,
) -> None:
    """Raise ConflictError for something of a platform that was not made for a deployment by a target.

    what      how it is called, such as ``stack 'modelpack-digits'``
    made_for  name of the deployment that it is marked with; None: it has no mark of ours
    target    name of the target that may touch it; None: every one of ours
    made_by   name of the target that it is marked with
    """
    if made_for != name:
        raise ConflictError(
            f"the {what} was not made by modelpack",
            hint="remove it, or give the deployment another '--name'",
        )
    if target is not None and made_by != target:
        raise ConflictError(
            f"the deployment '{name}' stands at target '{made_by}'",
            hint=f"deploy to '{made_by}', or destroy it there first",
        )


def await_running(
    name: str,
    look: Callable[[], Sight],
    clock: Clock,
    *,
    timeout_s: float,
    poll_s: float = 3.0,
    hint: str | None = None,
) -> Sight:
    """Look until it runs, every ``poll_s`` seconds; return what was seen last.

    Raises DeployError when it has ended or failed, and when it does not run after ``timeout_s``;
    ``hint`` says what to do about the latter.
    """
    deadline = clock.now() + timeout_s
    while True:
        sight = look()
        if sight.state is State.RUNNING:
            return sight
        why = sight.detail or sight.state
        if sight.state not in (State.STARTING, State.UNHEALTHY):
            raise DeployError(f"'{name}' does not run: {why}")
        if clock.now() >= deadline:
            raise DeployError(f"'{name}' did not come up: {why}", hint=hint)
        clock.sleep(poll_s)
