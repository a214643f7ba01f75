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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from modelpack.deploy import (
    SILENT,
    Answer,
    Capabilities,
    DeploymentSpec,
    Fact,
    Journal,
    Live,
    Plan,
    Progress,
    Rendered,
    Revision,
    State,
    Status,
    Target,
    check_name,
    refuse_unknown,
)
from modelpack.errors import ConflictError, DeployError, DeploymentNotFoundError
from modelpack_gcp.choosing import MODES, mode_of
from modelpack_gcp.images import Push, Repositories, image_tag, push_bundle
from modelpack_gcp.kept import Entry, of_the_revision
from modelpack_gcp.modes import Mode, Place, Standing
from modelpack_gcp.options import COMMON, check, settled
from modelpack_gcp.planning import IMAGE_DIGEST, Planner, facts_of
from modelpack_gcp.session import Session
from modelpack_gcp.wanted import resource_id


@dataclass(frozen=True, slots=True)
class GcpTarget(Target):
    """Deploys to the service of Google that fits."""

    name: ClassVar[str] = "gcp"
    needs_image: ClassVar[bool] = True
    allowed: ClassVar[tuple[str, ...]] = tuple(MODES)
    """Words of the modes that it has."""

    google: Session = field(default_factory=Session)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_bundle
    _urls: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Deployments by the URLs that were told of them, for the probe."""

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again; the region that a spec named is one of them."""
        region = self.google.region_name
        return {**self.given, **({"region": region} if region else {})}

    @property
    def whereabouts(self) -> Mapping[str, str]:
        """Project, region and endpoint, as far as options say it; the others say how."""
        where = ("project", "region", "endpoint")
        return {key: value for key, value in self.options.items() if key in where}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with real clients; raises UsageError, ToolMissingError without Google's."""
        known = set(COMMON).union(*(mode_of(word).options for word in cls.allowed))
        refuse_unknown(cls.name, options, known)
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
        wanted_mode = self._planner.mode(spec)
        images = self._images.look(spec.name, image_tag(spec))
        around: dict[str, Fact] = {
            "project": self.google.project,
            "repository": None if images is None else images.uri,
            IMAGE_DIGEST: None if images is None else images.digest,
        }
        found = self._find(spec.name)
        if found is None:
            return Live(name=spec.name, surroundings=around)
        mode, standing = found
        if mode.word != wanted_mode.word:
            raise ConflictError(
                f"the deployment '{spec.name}' stands on {mode.title}, and would go to "
                f"{wanted_mode.title}",
                hint=f"set 'deploy.mode: {mode.word}', or destroy it first: it gets another address",
            )
        sight, now = mode.look(self._place, standing), standing.kept.now
        applied = {} if now is None else facts_of(now)
        return Live(
            name=spec.name,
            state=sight.state,
            facts=applied | dict(sight.facts),
            applied=applied,
            surroundings=around,
            revision=None if now is None else now.spec.revision,
            is_settled=standing.kept.trial is None and now is not None,
        )

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
        spec, place, images = plan.spec, self._place, self._images
        mode, wanted = self._planner.mode(spec), self._planner.wanted(spec)
        journal.step(f"create/repository/{wanted.id}", lambda: {"uri": images.ensure(wanted).uri})
        base = self.given.get("base")
        pushed = journal.step(
            f"push/image/{wanted.id}",
            lambda: {"digest": images.push(spec, base=base, progress=progress)},
        )
        found = images.look(spec.name)
        if found is None or pushed is None:
            raise DeployError(f"the image repository '{wanted.id}' is gone")
        entry = Entry(
            spec=spec,
            image=f"{found.uri}@{pushed['digest']}",
            mode=mode.word,
            options=of_the_revision(self.given),
        )
        mode.bring(place, entry, journal, progress)
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name, spec=spec
        )

    def settle(self, name: str) -> None:
        """Move the calls to the new revision, and remove what nothing needs any more.

        Raises DeployError when it does not hold on the way; the former one is back then.
        """
        mode, standing = self._require(name)
        try:
            mode.settle(self._place, standing, SILENT)
        except DeployError:
            self.revert(name)
            raise

    def revert(self, name: str) -> None:
        """Put back the revision that was found healthy last, or leave nothing."""
        found = self._find(name)
        if found is not None and found[1].kept.settled is not None:
            found[0].revert(self._place, found[1])
            return
        for word in self.allowed:
            mode_of(word).remove(self._place, name)
        self._images.remove(name)

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:
        """Check the new revision in the mode's way, if it has one."""
        mode, standing = self._require(spec.name)
        return mode.verify(self._place, standing, status)

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Call the service in the mode's way, else at its URL; raises OSError without an answer."""
        word = next((word for base, word in self._urls.items() if url.startswith(base)), None)
        if word is not None:
            answer = mode_of(word).fetch(self._place, url, body=body, timeout_s=timeout_s)
            if answer is not None:
                return answer
        return super(GcpTarget, self).fetch(url, body=body, timeout_s=timeout_s)

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        found = self._find(name)
        if found is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        mode, standing = found
        sight, now = mode.look(self._place, standing), standing.kept.now
        if sight.url is not None:
            self._urls[sight.url] = mode.word
        return Status(
            name=name,
            target=self.name,
            state=sight.state,
            bundle=None if now is None else now.spec.bundle,
            revision=None if now is None else now.spec.revision,
            url=sight.url,
            since=sight.since,
            detail=sight.detail,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of the log; raises DeploymentNotFoundError."""
        mode, standing = self._require(name)
        return mode.lines(self._place, standing, follow=follow, tail=tail)

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that the deployment remembers, oldest first."""
        found = self._find(name)
        if found is None:
            return ()
        return tuple(
            Revision(
                deployment=name,
                id=entry.spec.revision,
                bundle=entry.spec.bundle,
                target=self.name,
                spec=entry.spec,
                since=entry.since,
            )
            for entry in found[1].kept.entries
        )

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of what answers, or of what was applied when nothing was healthy yet."""
        found = self._find(name)
        if found is None:
            return None
        entry = found[1].kept.settled or found[1].kept.now
        return None if entry is None else entry.spec

    def list(self) -> list[Status]:
        """Return the deployments of this project and region that this target made."""
        names = {name for word in self.allowed for name in mode_of(word).names(self._place)}
        found = [self.status(name) for name in sorted(names)]
        return [one for one in found if one.state is not State.ABSENT]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return what the mode made, and the image repository."""
        check_name(name)
        place = self._place
        found = [one for word in self.allowed for one in mode_of(word).inventory(place, name)]
        if self._images.look(name) is not None:
            found.append(f"repository/{resource_id(name)}")
        return tuple(found)

    def destroy(self, name: str) -> None:
        """Delete what the mode made, then the images; raises DeploymentNotFoundError."""
        check_name(name)
        gone = [mode_of(word).remove(self._place, name) for word in self.allowed]
        gone.append(self._images.remove(name))
        if not any(gone):
            raise self._absent(name)

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

    def _find(self, name: str) -> tuple[Mode, Standing] | None:
        """Return what stands under a name, and on which service; raises TagError."""
        check_name(name)
        for word in self.allowed:
            mode = mode_of(word)
            standing = mode.read(self._place, name)
            if standing is not None:
                return mode, standing
        return None

    def _require(self, name: str) -> tuple[Mode, Standing]:
        found = self._find(name)
        if found is None:
            raise self._absent(name)
        return found

    def _absent(self, name: str) -> DeploymentNotFoundError:
        return DeploymentNotFoundError(
            f"no deployment '{name}' at target '{self.name}'",
            hint="run 'modelpack deployments list' to see them",
        )


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
