"""The targets ``gcp``, ``gcp-cloud-run`` and ``gcp-vertex``: one flow for all.

    plan      choose a mode ─► facts wanted, facts that stand ─► changes          (pure)
    apply     repository ─► image ─► the mode brings a revision, beside the former one
    settle    the mode moves the calls; what it remembers says: this revision is healthy
    revert    the mode moves them back, or nothing is left

What Google holds is the state: what a deployment remembers (``kept``) stands with the service itself.
What always holds: every step may be repeated; a service, endpoint or repository that somebody else made
is not touched; every request is checked against Google's own schema before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Self

from modelpack.deploy import (
    SILENT,
    Answer,
    Capabilities,
    DeploymentSpec,
    Entry,
    Journal,
    Live,
    Past,
    Plan,
    Progress,
    Rendered,
    Revision,
    Sight,
    StandingTarget,
    Status,
    check_name,
    chosen,
)
from modelpack.deploy.pushing import Push, image_tag, push_image
from modelpack.errors import DeployError, ModelpackError
from modelpack_gcp.choosing import MODES
from modelpack_gcp.images import Repositories
from modelpack_gcp.kept import OF_THE_CALLER
from modelpack_gcp.modes import Found, Mode, Place
from modelpack_gcp.options import COMMON, check, settled
from modelpack_gcp.planning import Planner, around_of, live_of
from modelpack_gcp.session import Session
from modelpack_gcp.wanted import resource_id

_LOG_LINES, _LOG_READS, _LOG_LAG_S = 20, 5, 2.0


@dataclass(frozen=True, slots=True)
class GcpTarget(StandingTarget[Found]):
    """Deploys to the service of Google that fits."""

    name: ClassVar[str] = "gcp"
    needs_image: ClassVar[bool] = True
    where: ClassVar[tuple[str, ...]] = ("project", "region", "endpoint")
    allowed: ClassVar[tuple[str, ...]] = tuple(MODES.paths)
    """Words of the modes that it has."""

    google: Session = field(default_factory=Session)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_image
    _urls: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Deployments by the URLs that were told of them, for the probe."""

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again; the region that a spec named is one of them."""
        region = self.google.region_name
        return {**self.given, **({"region": region} if region else {})}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with real clients; raises UsageError, ToolMissingError without Google's."""
        MODES.refuse_unknown(cls.name, options, COMMON, cls.allowed)
        check(options)
        options = settled(options)
        session = Session(
            project_id=options.get("project"),
            region_name=options.get("region"),
            endpoint=options.get("endpoint"),
            credentials=options.get("credentials"),
        )
        session.require()
        return cls(google=session, given=dict(options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what the mode does that the spec gets."""
        return self._planner.capabilities(spec)

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what Google says of the deployment.

        Raises CredentialsError, ConflictError for what is not ours or stands on another service.
        """
        if spec.settings.region is not None:
            self.google.use(spec.settings.region)
        mode = self._planner.mode(spec)
        around = around_of(self.google, self._images.look(spec.name, image_tag(spec)))
        found = self.find(spec.name)
        if found is None:
            return Live(name=spec.name, surroundings=around)
        return live_of(spec, mode, found, self.look(found), around)

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change, and which service was chosen why."""
        return self._planner.plan(spec, live)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the requests of a first apply as files; project and region may be left open."""
        return self._planner.render(spec)

    # Do it.

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Bring a revision of the plan's spec beside what answers, and wait until it runs.

        Raises DeployError with Google's reason, ConflictError when somebody else was faster.
        """
        spec, planner = plan.spec, self._planner
        mode, wanted = planner.mode(spec), planner.wanted(spec)
        image = self._images.bring(
            spec, wanted, base=self.given.get("base"), journal=journal, progress=progress
        )
        options = chosen(self.given, OF_THE_CALLER)
        entry = Entry(spec=spec, image=image, mode=mode.word, options=options)
        try:
            mode.bring(self._place, entry, journal, progress)
        except DeployError as error:
            error.log_lines = self._lines_of_the_trial(spec.name)
            raise
        return self.revision(spec)

    def settle(self, name: str) -> None:
        """Move the calls to the new revision, and remove what nothing needs any more.

        Raises DeployError when it does not hold on the way; the former one is back then.
        """
        found = self.require(name)
        try:
            found.mode.settle(self._place, found.standing, SILENT)
        except DeployError:
            self.revert(name)
            raise

    def revert(self, name: str) -> None:
        """Put back the revision that was found healthy last, or leave nothing."""
        found = self.find(name)
        if found is not None and found.kept.settled is not None:
            found.mode.revert(self._place, found.standing)
            return
        for mode in self._modes:
            mode.remove(self._place, name)
        self._images.remove(name)

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:
        """Check the new revision in the mode's way, if it has one."""
        found = self.require(spec.name)
        return found.mode.verify(self._place, found.standing, status)

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Call the service in the mode's way, else at its URL; raises OSError without an answer."""
        word = next((word for base, word in self._urls.items() if url.startswith(base)), None)
        if word is not None:
            answer = MODES.load(word).fetch(self._place, url, body=body, timeout_s=timeout_s)
            if answer is not None:
                return answer
        return super(GcpTarget, self).fetch(url, body=body, timeout_s=timeout_s)

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of the log; raises DeploymentNotFoundError."""
        found = self.require(name)
        return found.mode.lines(self._place, found.standing, follow=follow, tail=tail)

    # What its base tells of.

    def find(self, name: str) -> Found | None:
        """Return what stands under a name; raises TagError, ConflictError for what others made."""
        check_name(name)
        for mode in self._modes:
            standing = mode.read(self._place, name)
            if standing is not None:
                return Found(mode=mode, standing=standing)
        return None

    def look(self, standing: Found) -> Sight:
        """Return how the newest revision is."""
        sight = standing.mode.look(self._place, standing.standing)
        if sight.url is not None:
            self._urls[sight.url] = standing.mode.word
        return sight

    def now(self, standing: Found) -> DeploymentSpec | None:
        """Return the spec that was applied last."""
        entry = standing.kept.now
        return None if entry is None else entry.spec

    def past(self, standing: Found) -> Iterable[Past]:
        """Return the revisions that the deployment remembers."""
        return [Past(spec=one.spec, since=one.since) for one in standing.kept.entries]

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of what answers, or of what was applied when nothing was healthy yet."""
        found = self.find(name)
        if found is None:
            return None
        entry = found.kept.settled or found.kept.now
        return None if entry is None else entry.spec

    def names(self) -> Iterable[str]:
        """Return the deployments of this project and region that this target made."""
        return [name for mode in self._modes for name in mode.names(self._place)]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return what the mode made, and the image repository."""
        check_name(name)
        place = self._place
        found = [one for mode in self._modes for one in mode.inventory(place, name)]
        if self._images.look(name) is not None:
            found.append(f"repository/{resource_id(name)}")
        return tuple(found)

    def destroy(self, name: str) -> None:
        """Delete what the mode made, then the images; raises DeploymentNotFoundError."""
        check_name(name)
        gone = [mode.remove(self._place, name) for mode in self._modes]
        gone.append(self._images.remove(name))
        if not any(gone):
            raise self.absent(name)

    def _lines_of_the_trial(self, name: str) -> tuple[str, ...]:
        """Return the end of what a revision on trial wrote, which Cloud Logging may have late."""
        with suppress(ModelpackError):
            for _ in range(_LOG_READS):
                found = self.find(name)
                if found is None or found.kept.trial is None:
                    break
                lines = found.mode.lines(self._place, found.standing, follow=False, tail=_LOG_LINES)
                if said := tuple(lines):
                    return said
                self.google.clock.sleep(_LOG_LAG_S)
        return ()

    @property
    def _place(self) -> Place:
        return Place(google=self.google, target=self.name, options=self.given)

    @property
    def _planner(self) -> Planner:
        return Planner(target=self.name, allowed=self.allowed, common=COMMON, options=self.options)

    @property
    def _images(self) -> Repositories:
        place = self._place
        return Repositories(
            google=self.google, parent=place.parent, target=self.name, push_image=self.push
        )

    @property
    def _modes(self) -> tuple[Mode, ...]:
        return tuple(MODES.load(word) for word in self.allowed)


@dataclass(frozen=True, slots=True)
class CloudRunTarget(GcpTarget):
    """Deploys to Cloud Run."""

    name: ClassVar[str] = "gcp-cloud-run"
    allowed: ClassVar[tuple[str, ...]] = ("cloud-run",)


@dataclass(frozen=True, slots=True)
class VertexTarget(GcpTarget):
    """Deploys to an endpoint of Vertex AI."""

    name: ClassVar[str] = "gcp-vertex"
    allowed: ClassVar[tuple[str, ...]] = ("vertex",)
