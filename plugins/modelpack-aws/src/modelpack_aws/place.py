"""One account and region as a target sees it: stacks, images, and what stands under a name.

Place ──read(name)──► Stack + Kept, checked: made by this target, for this deployment
│   ──look───────► Sight, whatever CloudFormation is doing
└── mode, wanted   what a spec means here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from modelpack.deploy import (
    Clock,
    DeploymentSpec,
    Entry,
    Fact,
    Sight,
    State,
    check_name,
    moment,
    refuse_others,
)
from modelpack.deploy.pushing import Push, push_image
from modelpack_aws import network, offered
from modelpack_aws.choosing import MODES, choose
from modelpack_aws.kept import Kept
from modelpack_aws.modes import AwsMode
from modelpack_aws.push import Repositories
from modelpack_aws.session import Clients
from modelpack_aws.stack import Stack, Stacks
from modelpack_aws.wanted import NAME_TAG, TARGET_TAG, Wanted, stack_name, wanted_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A stack of ours, and what it remembers."""

    name: str
    """Of the deployment."""
    stack: Stack
    kept: Kept | None
    """None: it never came so far as to have a template that can be read."""

    @property
    def since(self) -> str | None:
        """When it was changed last, UTC, RFC 3339."""
        return moment(self.stack.updated or self.stack.created)

    def before(self, mark: str, settled: str | None) -> tuple[Entry, ...]:
        """Return what comes before a revision: the healthy ones, the one that stands last.

        mark     of the revision that comes
        settled  mark of what was found healthy last
        """
        if self.kept is None:
            return ()
        kept = self.kept
        if kept.now.mark == mark:  # the same one again: it was cut short, or is put right
            return kept.history
        if settled == kept.now.mark:
            return (*kept.history, replace(kept.now, since=self.since))
        return kept.history


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target deploys to."""

    clients: Clients
    target: str
    """Name of the target."""
    allowed: tuple[str, ...]
    """Words of the modes that the target has."""
    options: Mapping[str, str] = field(default_factory=dict)
    push: Push = push_image
    clock: Clock = field(default_factory=Clock)

    @property
    def stacks(self) -> Stacks:
        """The stacks of the account."""
        return Stacks(clients=self.clients, clock=self.clock)

    @property
    def images(self) -> Repositories:
        """The image repositories of the account; at an emulator, its own registry."""
        endpoint = self.clients.endpoint_url
        registry = urlsplit(endpoint).netloc if endpoint else None
        return Repositories(clients=self.clients, registry=registry, push_image=self.push)

    def mode(self, spec: DeploymentSpec) -> AwsMode:
        """Return the mode that a spec gets; raises UsageError."""
        return MODES.load(choose(spec, self.options, self.allowed)[0])

    def wanted(self, spec: DeploymentSpec) -> Wanted:
        """Return what a spec asks for at its mode; raises UsageError for what AWS does not have."""
        word, _ = choose(spec, self.options, self.allowed)
        wanted = wanted_from(spec, target=self.target, mode=word, options=self.options)
        if spec.settings.region is not None:
            offered.require_region(spec.settings.region, said_by="deploy.region")
        else:
            said_by = "region option, AWS_REGION or profile"
            offered.require_region(self.clients.region, said_by=said_by)
        MODES.load(word).check(wanted)
        return wanted

    def wanted_of(self, entry: Entry) -> Wanted:
        """Return what a revision asked for when it was applied, with the options of that day."""
        return wanted_from(entry.spec, target=self.target, mode=entry.mode, options=entry.options)

    def plain(self, name: str) -> Wanted:
        """Return what is known of a deployment by its name alone; raises TagError."""
        return Wanted(name=check_name(name), bundle="", revision="", target=self.target)

    def around(self, wanted: Wanted) -> dict[str, Fact]:
        """Return what of the account the parameters of a template depend on."""
        mode = MODES.load(wanted.mode)
        found: dict[str, Fact] = {}
        if mode.needs_network:
            found |= network.read(self.clients, wanted)
        return found | mode.around(self.clients, wanted)

    def read(self, name: str) -> Standing | None:
        """Return what stands under a name, None for nothing; raises TagError, ConflictError."""
        stack = self.stacks.read(stack_name(check_name(name)))
        if stack is None:
            return None
        tags = stack.tags
        refuse_others(
            f"stack '{stack.name}'",
            name,
            tags.get(NAME_TAG),
            target=self.target,
            made_by=tags.get(TARGET_TAG),
        )
        return Standing(name=name, stack=stack, kept=Kept.read(stack.metadata))

    def look(self, standing: Standing) -> Sight:
        """Return how the service is; while CloudFormation works on it, that it does."""
        stack, kept = standing.stack, standing.kept
        if stack.is_busy:
            return Sight(state=State.STARTING, detail=f"CloudFormation: {stack.status}")
        if kept is None or stack.never_came_up or stack.is_empty:
            return Sight(state=State.FAILED, detail=f"{stack.status}: {stack.reason or ''}"[:200])
        return MODES.load(kept.now.mode).look(self.clients, stack, self.wanted_of(kept.now))

    def settled(self, name: str) -> str | None:
        """Return the revision that was found healthy last, None when there is none."""
        images = self.images.look(self.plain(name))
        return None if images is None else images.settled
