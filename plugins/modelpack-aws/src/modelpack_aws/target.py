"""The targets ``aws``, ``aws-ecs``, ``aws-ec2``, ``aws-lambda`` and ``aws-sagemaker``: one flow for all.

    plan      choose a mode ─► facts wanted, facts that stand ─► changes          (pure)
    apply     repository ─► image ─► change set, shown ─► executed ─► rolled out
    settle    the mode goes the rest of the way ─► the repository is marked: this revision is healthy
    revert    the stack of the marked revision again, or nothing of it

CloudFormation keeps the state: the stack's template holds the spec that it was made of, and those
before it (``kept``).  Its own "complete" is not believed: ``apply`` ends when the service itself says
that the new revision runs, and then the common probe asks it.

What always holds: every step may be repeated; a change set that would make more anew than a revision takes
is dropped; a stack or repository that somebody else made is not touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from modelpack.deploy import (
    SILENT,
    Answer,
    Capabilities,
    Clock,
    DeploymentSpec,
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
    is_reachable,
)
from modelpack.deploy.pushing import Push, push_image
from modelpack.errors import DeployError
from modelpack_aws.bringing import STACK_TIMEOUT_S, bring_spec, go_back
from modelpack_aws.calling import call_at
from modelpack_aws.choosing import MODES
from modelpack_aws.given import OPTIONS, address_of
from modelpack_aws.kept import Kept
from modelpack_aws.place import Place, Standing
from modelpack_aws.planning import checked_template, plan_for
from modelpack_aws.reading import live_of
from modelpack_aws.session import Clients, Session
from modelpack_aws.wanted import NAME_TAG, TARGET_TAG


@dataclass(frozen=True, slots=True)
class AwsTarget(StandingTarget[Standing]):
    """Deploys to the service of AWS that fits."""

    name: ClassVar[str] = "aws"
    needs_image: ClassVar[bool] = True
    where: ClassVar[tuple[str, ...]] = ("profile", "region", "endpoint_url")
    allowed: ClassVar[tuple[str, ...]] = tuple(MODES.paths)
    """Words of the modes that it has."""

    clients: Clients = field(default_factory=Session)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_image
    clock: Clock = field(default_factory=Clock)
    _names: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Deployments by the URLs that were told of them, for the probe."""

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again; the region that a spec named is one of them."""
        region = self.clients.region
        return {**self.given, **({"region": region} if region else {})}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with real clients; raises UsageError, ToolMissingError without boto3."""
        MODES.refuse_unknown(cls.name, options, OPTIONS, cls.allowed)
        session = Session(
            # boto3 reads AWS_DEFAULT_REGION alone; all other tools of AWS read this one, and first.
            region_name=options.get("region") or os.environ.get("AWS_REGION"),
            profile=options.get("profile"),
            endpoint_url=address_of(options, "endpoint_url", os.environ.get("AWS_ENDPOINT_URL")),
        )
        session.require()
        return cls(clients=session, given=dict(options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what the mode does that the spec gets."""
        return self._place.mode(spec).capabilities

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what CloudFormation, ECR and the service say of the deployment.

        Raises CredentialsError, ConflictError for a stack that is not ours, UsageError when the
        account has no network to stand in, or AWS not what is asked for.
        """
        place = self._place
        wanted = place.wanted(spec)
        if spec.settings.region is not None:
            self.clients.use(spec.settings.region)
        return live_of(place, spec, wanted)

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change, and which service was chosen why."""
        return plan_for(self._place, spec, live)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the template as ``template.json``; its parameters are what an account has."""
        place = self._place
        mode = place.mode(spec)
        MODES.refuse_foreign(mode, self.given, OPTIONS)
        template = checked_template(mode, place.wanted(spec))
        return Rendered(files={"template.json": template.text().encode()})

    # Do it.

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Bring the stack to the plan's spec and wait until the service runs it.

        Raises DeployError with CloudFormation's or the service's reason, ConflictError when
        CloudFormation would do what no new revision takes.
        """
        bring_spec(self._place, plan.spec, journal, progress)
        return self.revision(plan.spec)

    def settle(self, name: str) -> None:
        """Go the rest of the way, then mark the revision as healthy; former ones stay in history.

        Raises DeployError when it does not hold on the way; the former one is back then.
        """
        standing, kept = self._require(name)
        place = self._place
        wanted = place.wanted_of(kept.now)
        try:
            MODES.load(kept.now.mode).promote(place.stacks, standing.stack, wanted, SILENT)
        except DeployError:
            self.revert(name)
            raise
        place.images.settle(wanted, kept.now.mark)
        place.stacks.tidy(wanted.stack)

    def revert(self, name: str) -> None:
        """Put back the revision that was found healthy last, or leave nothing."""
        go_back(self._place, name)

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:
        """Check the new revision in the mode's way, if it has one."""
        standing, kept = self._require(spec.name)
        return MODES.load(kept.now.mode).verify(self.clients, standing.stack, status)

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Call the service in the mode's way, else at its URL; raises OSError without an answer."""
        base = next((one for one in self._names if url.startswith(one)), None)
        if base is not None:
            standing, kept = self._require(self._names[base])
            answer = MODES.load(kept.now.mode).fetch(
                self.clients,
                standing.stack,
                url.removeprefix(base) or "/",
                body=body,
                timeout_s=timeout_s,
            )
            if answer is not None:
                return answer
        if self.clients.endpoint_url is not None:
            return call_at(self.clients.endpoint_url, url, body=body, timeout_s=timeout_s)
        return super(AwsTarget, self).fetch(url, body=body, timeout_s=timeout_s)

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of the log; raises DeploymentNotFoundError."""
        standing, kept = self._require(name)
        mode = MODES.load(kept.now.mode)
        return mode.lines(self.clients, standing.stack, follow=follow, tail=tail)

    # What its base tells of.

    def find(self, name: str) -> Standing | None:
        """Return the stack of a deployment; raises TagError, ConflictError for one of others."""
        standing = self._place.read(name)
        return None if standing is None or standing.stack.is_empty else standing

    def look(self, standing: Standing) -> Sight:
        """Return how the service is; it has a URL where that can be reached from here."""
        sight = self._place.look(standing)
        url = sight.url
        if url is not None:
            self._names[url] = standing.name
            if self.clients.endpoint_url is None and not is_reachable(url):
                url = None
        return replace(sight, url=url, since=standing.since)

    def now(self, standing: Standing) -> DeploymentSpec | None:
        """Return the spec that the stack was made of."""
        return None if standing.kept is None else standing.kept.now.spec

    def past(self, standing: Standing) -> Iterable[Past]:
        """Return what the stack remembers, and what stands, once it was found healthy."""
        kept = standing.kept
        if kept is None:
            return ()
        found = [Past(spec=entry.spec, since=entry.since) for entry in kept.history]
        if self._place.settled(standing.name) == kept.now.mark:
            found.append(Past(spec=kept.now.spec, since=standing.since))
        return found

    def names(self) -> Iterable[str]:
        """Return the deployments of this account and region that this target made."""
        return [
            stack.tags[NAME_TAG]
            for stack in self._place.stacks.find(NAME_TAG)
            if stack.tags.get(TARGET_TAG) == self.name
        ]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the stack with its resources, and the image repository."""
        standing, plain = self._place.read(name), self._place.plain(name)
        found = []
        if standing is not None:
            found.append(f"stack/{standing.stack.name}")
            found += [f"{kind}/{one}" for one, kind in sorted(standing.stack.resources.items())]
        if self._place.images.look(plain) is not None:
            found.append(f"repository/{plain.repository}")
        return tuple(found)

    def destroy(self, name: str) -> None:
        """Delete the stack, then the images; raises DeploymentNotFoundError."""
        place = self._place
        standing, plain = place.read(name), place.plain(name)
        if standing is None and place.images.look(plain) is None:
            raise self.absent(name)
        place.stacks.delete(plain.stack, SILENT, timeout_s=STACK_TIMEOUT_S)
        place.images.remove(plain)

    @property
    def _place(self) -> Place:
        return Place(
            clients=self.clients,
            target=self.name,
            allowed=self.allowed,
            options=self.given,
            push=self.push,
            clock=self.clock,
        )

    def _require(self, name: str) -> tuple[Standing, Kept]:
        standing = self.require(name)
        if standing.kept is None:
            raise self.absent(name)
        return standing, standing.kept


@dataclass(frozen=True, slots=True)
class EcsTarget(AwsTarget):
    """Deploys to ECS on Fargate."""

    name: ClassVar[str] = "aws-ecs"
    allowed: ClassVar[tuple[str, ...]] = ("ecs",)


@dataclass(frozen=True, slots=True)
class Ec2Target(AwsTarget):
    """Deploys to a group of EC2 instances."""

    name: ClassVar[str] = "aws-ec2"
    allowed: ClassVar[tuple[str, ...]] = ("ec2",)


@dataclass(frozen=True, slots=True)
class LambdaTarget(AwsTarget):
    """Deploys to a function of Lambda."""

    name: ClassVar[str] = "aws-lambda"
    allowed: ClassVar[tuple[str, ...]] = ("lambda",)


@dataclass(frozen=True, slots=True)
class SagemakerTarget(AwsTarget):
    """Deploys to an endpoint of SageMaker."""

    name: ClassVar[str] = "aws-sagemaker"
    allowed: ClassVar[tuple[str, ...]] = ("sagemaker",)
