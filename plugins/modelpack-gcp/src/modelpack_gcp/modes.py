"""What one service of Google has to do for a deployment, whichever it is.

    read ─► Standing (what Google holds, and what it remembers)      look ─► Sight
    bring: the new revision beside the former   settle: the calls move   revert: they move back

A mode asks Google; all of it is asked through the ``Place`` that it is given.  What always holds:
each step may be repeated, and what is remembered (``Kept``) is changed in the same call as the calls'
way wherever Google has such a call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modelpack.deploy import (
    Answer,
    Cost,
    DeploymentSpec,
    Entry,
    Journal,
    Progress,
    Sight,
    Status,
)
from modelpack.deploy import Mode as AnyMode
from modelpack_gcp.kept import OF_THE_CALLER, Kept
from modelpack_gcp.session import Google
from modelpack_gcp.wanted import Wanted, wanted_from

COMMON = frozenset(
    {
        "mode",
        "region",
        "cpu",
        "memory_bytes",
        "accelerator",
        "env",
        "labels",
        "min_replicas",
        "max_replicas",
        "canary_percent",
        "bake_s",
    }
)
"""Settings that every mode heeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it would be sent, but for what only Google knows by then."""

    file: str
    """Name of the file that it is rendered to."""
    method: str
    parameters: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What Google holds under a name."""

    body: Mapping[str, Any]
    """The resource as Google describes it."""
    kept: Kept
    """What it remembers; nothing, when it never came so far."""

    @property
    def etag(self) -> str:
        """What a change must name, so that it is refused when somebody else was faster."""
        return str(self.body.get("etag") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands under a name, and on which service."""

    mode: Mode
    standing: Standing

    @property
    def kept(self) -> Kept:
        """What it remembers."""
        return self.standing.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target deploys to: one project and region."""

    google: Google
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        """Name of project and region as resources begin with it."""
        return f"projects/{self.google.project}/locations/{self.google.region}"

    def wanted(self, spec: DeploymentSpec) -> Wanted:
        """Return what a spec asks for with the options of now."""
        return wanted_from(spec, target=self.target, given=self.options)

    def wanted_of(self, entry: Entry) -> Wanted:
        """Return what a revision asked for when it was applied, with the options of that day."""
        own = {key: one for key, one in self.options.items() if key in OF_THE_CALLER}
        chosen = own | dict(entry.options)
        return wanted_from(entry.spec, target=self.target, given=chosen)


class Mode(AnyMode):
    """One service of Google."""

    heeds: ClassVar[frozenset[str]] = COMMON

    # Before anything is done: pure.

    @abstractmethod
    def notes(self, wanted: Wanted) -> list[str]:
        """Return what is worth knowing; raises UsageError for what cannot be."""

    def warnings(self, wanted: Wanted) -> list[str]:  # noqa: ARG002
        """Return what somebody may not have meant."""
        return []

    def cost(self, wanted: Wanted) -> Cost | None:  # noqa: ARG002
        """Return about what it costs; None where no table says so."""
        return None

    @abstractmethod
    def requests(self, parent: str, wanted: Wanted, image: str) -> list[Request]:
        """Return what a first apply would send."""

    @abstractmethod
    def resources(self, wanted: Wanted) -> Sequence[str]:
        """Return what a first apply makes beside repository and image, as ``KIND/NAME``."""

    # What stands.

    @abstractmethod
    def read(self, place: Place, name: str) -> Standing | None:
        """Return what stands under a name, None for nothing; raises ConflictError for others'."""

    @abstractmethod
    def look(self, place: Place, standing: Standing) -> Sight:
        """Return how the newest revision is."""

    @abstractmethod
    def names(self, place: Place) -> list[str]:
        """Return the names of all deployments that the target made here."""

    @abstractmethod
    def inventory(self, place: Place, name: str) -> list[str]:
        """Return what ``remove`` would remove, as ``KIND/NAME``."""

    @abstractmethod
    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the service wrote."""

    def verify(
        self,
        place: Place,  # noqa: ARG002
        standing: Standing,  # noqa: ARG002
        status: Status,  # noqa: ARG002
    ) -> tuple[str, ...] | None:
        """Check the new revision; None: the common probe does."""
        return None

    def fetch(
        self,
        place: Place,  # noqa: ARG002
        url: str,  # noqa: ARG002
        *,
        body: bytes | None,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
    ) -> Answer | None:
        """Make one call of the probe; None: plain HTTP does.  Raises OSError."""
        return None

    # What is done.

    @abstractmethod
    def bring(
        self,
        place: Place,
        entry: Entry,
        journal: Journal,
        progress: Progress,
    ) -> None:
        """Start a revision beside the former one, on trial, and wait until it runs."""

    @abstractmethod
    def settle(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Move the calls to what is on trial, and remove what nothing needs any more."""

    @abstractmethod
    def revert(self, place: Place, standing: Standing) -> None:
        """Move the calls back to what was found healthy last, and remove the trial."""

    @abstractmethod
    def remove(self, place: Place, name: str) -> bool:
        """Remove all of a deployment; returns whether anything was there."""
