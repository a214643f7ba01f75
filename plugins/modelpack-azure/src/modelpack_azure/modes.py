"""What a service of Azure must be able to do to run deployments: the seam inside this package.

target (one flow for all) ──► Mode: container-apps, ml
    notes, render                 pure: from a revision
    around                        reads: what it stands on, and whether that is there
    read                          reads: what stands under a name
    bring, promote, go_back       changes: beside the former one ─► all calls ─► or back
    lines, verify, fetch, remove
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modelpack.deploy import (
    Answer,
    Clock,
    Cost,
    DeploymentSpec,
    DeploySettings,
    Entry,
    Fact,
    Journal,
    Progress,
    Rendered,
    Sight,
    chosen,
    refuse_others,
)
from modelpack.deploy import Mode as AnyMode
from modelpack.deploy.pushing import Push, push_image
from modelpack.errors import DeployError
from modelpack_azure.account import OF_THE_CALLER, Account
from modelpack_azure.arm import Calls
from modelpack_azure.identity import Identities
from modelpack_azure.naming import NAME_TAG, TARGET_TAG
from modelpack_azure.registry import Registries, Registry

COMMON = frozenset(
    {"mode", "region", "env", "labels", "cpu", "memory_bytes", "accelerator", "instance"}
) | {"min_replicas", "public", "canary_percent", "bake_s"}
"""Settings that every mode heeds."""

NETWORK = "the network is that of the environment or workspace, which an option names"


def canary_notes(settings: DeploySettings) -> list[str]:
    """Return what becomes of a canary that nobody watches."""
    if settings.canary_percent is None or settings.bake_s is not None:
        return []
    said = f"beside a former revision the new one gets {settings.canary_percent} % of the calls until the"
    return [
        f"{said} next deploy: without 'canary_percent' it goes on, 'deployments rollback' goes back"
    ]


PULL_S = 900.0
"""What a machine and an image may take before a service can start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target deploys to."""

    calls: Calls
    account: Account
    target: str
    """Name of the target."""
    push: Push = push_image
    clock: Clock = field(default_factory=Clock)

    @property
    def identities(self) -> Identities:
        """The identities of the account."""
        return Identities(self.calls, self.account)

    @property
    def registries(self) -> Registries:
        """The registries of the account."""
        return Registries(self.calls, self.account, self.push)

    @property
    def options(self) -> dict[str, str]:
        """Options that decide what runs."""
        return chosen(self.account.options, OF_THE_CALLER)

    def require_ours(self, what: str, name: str, tags: Mapping[str, str]) -> None:
        """Raise ConflictError for something that this target did not make for this deployment."""
        made_for, made_by = tags.get(NAME_TAG), tags.get(TARGET_TAG)
        refuse_others(what, name, made_for, target=self.target, made_by=made_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands under a name."""

    name: str
    word: str
    """Word of the mode that it stands in."""
    entry: Entry | None
    """The newest revision that is meant to run; None: nothing of ours can be read."""
    sight: Sight
    """How that one is."""
    settled: tuple[str, ...] = ()
    """Marks of the revisions that were found healthy, newest last."""
    known: Mapping[str, tuple[Entry, str | None]] = field(default_factory=dict)
    """By mark: every revision that Azure still has, and since when."""
    is_busy: bool = False
    """True while Azure is changing it: what it says then is not the last word."""
    found: Any = None
    """What the mode itself needs."""

    @property
    def is_settled(self) -> bool:
        """True when the newest revision was found healthy."""
        return self.entry is not None and self.settled[-1:] == (self.entry.mark,)

    @property
    def last(self) -> Entry | None:
        """The revision that was found healthy last, if Azure still has it."""
        if not self.settled or self.settled[-1] not in self.known:
            return None
        return self.known[self.settled[-1]][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a deployment stands on in its account."""

    registry: Registry
    location: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Of it, what a plan depends on."""
    found: Any = None
    """What the mode itself needs."""


class Mode(AnyMode):
    """One service of Azure."""

    needs: ClassVar[Mapping[str, tuple[str, str]]]
    """Options that must be there: of each the kind of what it names, and a command that makes one."""

    @abstractmethod
    def resource(self, name: str) -> str:
        """Return ``KIND/NAME`` of what is made for a deployment."""

    @abstractmethod
    def notes(self, spec: DeploymentSpec, options: Mapping[str, str]) -> list[str]:
        """Return what is chosen or done otherwise; raises UsageError for what cannot be."""

    @abstractmethod
    def cost(self, spec: DeploymentSpec) -> Cost | None:
        """Return about what the least number of replicas costs; None: nothing, or not known."""

    @abstractmethod
    def render(self, place: Place, spec: DeploymentSpec) -> Rendered:
        """Return what would be sent as files; pure; held against the services' own models."""

    @abstractmethod
    def around(self, place: Place, spec: DeploymentSpec) -> Around:
        """Return what it stands on; raises NotFoundError, UsageError when that is not there."""

    @abstractmethod
    def read(self, place: Place, name: str) -> Standing | None:
        """Return what stands under a name, None for nothing; raises ConflictError."""

    @abstractmethod
    def bring(
        self, place: Place, entry: Entry, around: Around, journal: Journal, progress: Progress
    ) -> None:
        """Start a revision beside the former one and wait until it runs; no call moves yet."""

    @abstractmethod
    def promote(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Give the newest revision its calls, and let go of the former one; safe to repeat."""

    @abstractmethod
    def go_back(self, place: Place, standing: Standing) -> None:
        """Let the revision run alone that was found healthy last; safe to repeat."""

    @abstractmethod
    def remove(self, place: Place, name: str) -> None:
        """Remove everything but identity and images; what is not there is no mistake."""

    @abstractmethod
    def names(self, place: Place) -> list[str]:
        """Return the names of the deployments that the target made here."""

    @abstractmethod
    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield the lines of its log, oldest first."""

    def registry_id(self, place: Place) -> str | None:  # noqa: ARG002
        """Return the registry that images go to where no option names one; None: there is none."""
        return None

    def inventory(self, standing: Standing) -> list[str]:
        """Return what stands, as ``KIND/NAME``."""
        return [self.resource(standing.name)]

    def verify(self, place: Place, standing: Standing) -> tuple[str, ...] | None:  # noqa: ARG002
        """Check it in its own way, as ``Target.verify`` does; None: by the common probe."""
        return None

    def fetch(
        self,
        place: Place,  # noqa: ARG002
        url: str,  # noqa: ARG002
        *,
        body: bytes | None = None,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
    ) -> Answer | None:
        """Make one call of the probe; None: in the plain way.  Raises OSError without an answer."""
        return None


POLL_S = 5.0
ROLE_S = 300.0
"""What Azure may take until a role that was given is known everywhere."""
_ROLE_POLL_S = 15.0


def patiently(place: Place, do: Callable[[], object]) -> None:
    """Do something that pulls an image, again while the registry does not know the identity yet."""
    deadline = place.clock.now() + ROLE_S
    while True:
        try:
            do()
            return
        except DeployError as error:
            if "UNAUTHORIZED" not in error.message.upper() or place.clock.now() >= deadline:
                raise
        place.clock.sleep(_ROLE_POLL_S)


def image_of(standing: Standing | None, spec: DeploymentSpec, host: str) -> str | None:
    """Return the image of a spec's bundle, where a revision that Azure still has ran it."""
    if standing is None:
        return None
    return next(
        (
            entry.image
            for entry, _ in standing.known.values()
            if (entry.spec.bundle, entry.spec.digest) == (spec.bundle, spec.digest)
            and entry.image.partition("/")[0] == host
        ),
        None,
    )
