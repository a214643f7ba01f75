"""One account and region as a target sees it: stacks, images, and what stands under a name.

Place ──read(name)──► Stack + Kept, checked: made by this target, for this deployment
│   ──look───────► Sight, whatever CloudFormation is doing
└── mode, wanted   what a spec means here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from modelpack.deploy import DeploymentSpec, Fact, State, check_name
from modelpack.errors import ConflictError
from modelpack_aws import network
from modelpack_aws.choosing import choose, mode_of
from modelpack_aws.kept import Entry, Kept
from modelpack_aws.modes import Mode, Sight
from modelpack_aws.push import Push, Repositories, push_bundle
from modelpack_aws.session import Clients
from modelpack_aws.stack import Clock, Stack, Stacks
from modelpack_aws.wanted import NAME_TAG, TARGET_TAG, Wanted, stack_name, wanted_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A stack of ours, and what it remembers."""

    stack: Stack
    kept: Kept | None
    """None: it never came so far as to have a template that can be read."""

    @property
    def since(self) -> str | None:
        """When it was changed last, UTC, RFC 3339."""
        moment = self.stack.updated or self.stack.created
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target deploys to."""

    clients: Clients
    target: str
    """Name of the target."""
    allowed: tuple[str, ...]
    """Words of the modes that the target has."""
    options: Mapping[str, str] = field(default_factory=dict)
    push: Push = push_bundle
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

    def mode(self, spec: DeploymentSpec) -> Mode:
        """Return the mode that a spec gets; raises UsageError."""
        return mode_of(choose(spec, self.options, self.allowed)[0])

    def wanted(self, spec: DeploymentSpec) -> Wanted:
        """Return what a spec asks for at its mode."""
        word, _ = choose(spec, self.options, self.allowed)
        return wanted_from(spec, target=self.target, mode=word, options=self.options)

    def wanted_of(self, entry: Entry) -> Wanted:
        """Return what a revision asked for when it was applied, with the options of that day."""
        return wanted_from(entry.spec, target=self.target, mode=entry.mode, options=entry.options)

    def plain(self, name: str) -> Wanted:
        """Return what is known of a deployment by its name alone; raises TagError."""
        return Wanted(name=check_name(name), bundle="", revision="", target=self.target)

    def around(self, wanted: Wanted) -> dict[str, Fact]:
        """Return what of the account the parameters of a template depend on."""
        mode = mode_of(wanted.mode)
        found: dict[str, Fact] = {}
        if mode.needs_network:
            found |= network.read(self.clients, wanted)
        return found | mode.around(self.clients, wanted)

    def read(self, name: str) -> Standing | None:
        """Return what stands under a name, None for nothing; raises TagError, ConflictError."""
        stack = self.stacks.read(stack_name(check_name(name)))
        if stack is None:
            return None
        marks = (stack.tags.get(NAME_TAG), stack.tags.get(TARGET_TAG))
        if marks[0] != name:
            raise ConflictError(
                f"the stack '{stack.name}' was not made by modelpack",
                hint="delete it, or give the deployment another '--name'",
            )
        if marks[1] != self.target:
            raise ConflictError(
                f"the deployment '{name}' stands at target '{marks[1]}'",
                hint=f"deploy to '{marks[1]}', or destroy it there first",
            )
        return Standing(stack=stack, kept=Kept.read(stack.metadata))

    def look(self, standing: Standing) -> Sight:
        """Return how the service is; while CloudFormation works on it, that it does."""
        stack, kept = standing.stack, standing.kept
        if stack.is_busy:
            return Sight(state=State.STARTING, detail=f"CloudFormation: {stack.status}")
        if kept is None or stack.never_came_up or stack.is_empty:
            return Sight(state=State.FAILED, detail=f"{stack.status}: {stack.reason or ''}"[:200])
        return mode_of(kept.now.mode).look(self.clients, stack, self.wanted_of(kept.now))

    def settled(self, name: str) -> str | None:
        """Return the revision that was found healthy last, None when there is none."""
        images = self.images.look(self.plain(name))
        return None if images is None else images.settled
