"""The targets ``azure``, ``azure-container-apps`` and ``azure-ml``: one flow for all.

    plan      choose a mode ─► facts wanted, facts that stand ─► changes            (pure)
    apply     identity ─► its role ─► image ─► a revision beside the former one, without a call
    settle    its calls, at once or by way of a canary ─► a tag says that it is healthy
    revert    the calls stay with the revision of the tag, the other one goes

Azure keeps the state: each revision holds the spec that it was made of, a tag names those that were
found healthy.  Azure's own "Succeeded" is not believed: ``apply`` ends when the revision says that it
runs, and then the common probe asks it, where it can be reached.

What always holds: every step may be repeated; what somebody else made is not touched; what a deployment
shares with others (resource group, environment or workspace, registry) is named by options and neither
made nor changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from modelpack.deploy import (
    SILENT,
    Answer,
    Capabilities,
    Clock,
    DeploymentSpec,
    Entry,
    Fact,
    Journal,
    Live,
    Past,
    Plan,
    Progress,
    Rendered,
    Revision,
    Sight,
    StandingTarget,
    State,
    Status,
    check_name,
    is_reachable,
)
from modelpack.deploy.pushing import Push, push_image
from modelpack.errors import DeployError, ModelpackError, NotFoundError
from modelpack_azure.account import Account
from modelpack_azure.arm import Arm, Calls
from modelpack_azure.choosing import MODES, choose
from modelpack_azure.modes import POLL_S, PULL_S, Mode, Place, Standing, image_of
from modelpack_azure.naming import identity_name, repository_of
from modelpack_azure.planning import HAS_IDENTITY, HAS_IMAGE, plan_for
from modelpack_azure.registry import KIND as REGISTRY
from modelpack_azure.registry import MAKE

OPTIONS: Mapping[str, str] = {
    "base": "base of the image, where one is built",
    "endpoint": "address of Azure Resource Manager, such as that of an emulator",
    "identity": "user-assigned identity that it runs as, by name or id; none: one of its own is made",
    "registry": "Azure Container Registry that the image goes to, by name or id",
    "resource_group": "resource group; default: 'modelpack'",
    "subscription": "id of the subscription; default: that of the Azure CLI",
}
"""Options of every target here; a mode may have more."""


@dataclass(frozen=True, slots=True)
class AzureTarget(StandingTarget[Standing]):
    """Deploys to the service of Azure that fits."""

    name: ClassVar[str] = "azure"
    needs_image: ClassVar[bool] = True
    where: ClassVar[tuple[str, ...]] = ("subscription", "resource_group", "endpoint")
    allowed: ClassVar[tuple[str, ...]] = tuple(MODES.paths)
    """Words of the modes that it has."""

    calls: Calls = field(default_factory=Arm)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_image
    clock: Clock = field(default_factory=Clock)

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again."""
        return dict(self.given)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with a real client; raises UsageError, ToolMissingError."""
        MODES.refuse_unknown(cls.name, options, OPTIONS, cls.allowed)
        Account(options=options).check()
        arm = Arm(endpoint=options.get("endpoint"))
        arm.require()
        return cls(calls=arm, given=dict(options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what the mode does that the spec gets."""
        return self._mode(spec).capabilities

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what Azure says of the deployment, and whether what it stands on is there.

        Raises CredentialsError, ConflictError for an app that is not ours, NotFoundError for a registry,
        environment or workspace that is not there.
        """
        place, mode = self._place, self._mode(spec)
        standing = self._standing_at(spec.name, mode.word)
        around = mode.around(place, spec)
        facts: dict[str, Fact] = dict(around.facts)
        has_identity = place.identities.is_given or place.identities.look(spec.name) is not None
        facts[HAS_IDENTITY] = "yes" if has_identity else None
        facts[HAS_IMAGE] = "yes" if image_of(standing, spec, around.registry.host) else None
        if standing is None or standing.entry is None:
            if standing is not None and standing.sight.state is State.STARTING:
                return Live(
                    name=spec.name, state=State.STARTING, surroundings=facts, is_settled=False
                )
            return Live(name=spec.name, surroundings=facts)
        applied = standing.entry.facts(mode.capabilities)
        return Live(
            name=spec.name,
            state=standing.sight.state,
            facts=applied | dict(standing.sight.facts),
            applied=applied,
            surroundings=facts,
            revision=standing.entry.spec.revision,
            is_settled=standing.is_settled,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change, and which service was chosen why."""
        return plan_for(self._place, self.allowed, spec, live)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return what would be sent; what an account has is a parameter there."""
        return self._mode(spec).render(self._place, spec)

    # Do it.

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Start the plan's revision beside the former one and wait until it runs.

        Raises DeployError with Azure's reason.
        """
        spec, place = plan.spec, self._place
        mode, name = self._mode(spec), spec.name
        around = mode.around(place, spec)
        identities = place.identities
        if not identities.is_given:
            labels = dict(spec.settings.labels)
            journal.step(
                f"create/identity/{identity_name(name)}",
                lambda: _named(identities.ensure(name, around.location, self.name, labels)),
            )
            journal.step(
                f"create/role/{identity_name(name)}",
                lambda: identities.let_pull(name, around.registry.id),
            )
        known = image_of(mode.read(place, name), spec, around.registry.host)
        pushed = journal.step(
            f"push/image/{name}",
            lambda: {
                "image": known
                or place.registries.push(
                    spec, around.registry, base=self.given.get("base"), progress=progress
                )
            },
        )
        image = str((pushed or {})["image"])
        entry = Entry(spec=spec, image=image, mode=mode.word, options=place.options)
        mode.bring(place, entry, around, journal, progress)
        return self.revision(spec)

    def settle(self, name: str) -> None:
        """Give the new revision its calls and mark it as healthy; the former one is deactivated.

        Raises DeployError when it does not hold on the way; the former one has all calls then.
        """
        standing = self.require(name)
        try:
            _mode_of(standing).promote(self._place, standing, SILENT)
        except DeployError as error:
            self.revert(name)
            runs = self.status(name)
            error.hint = f"revision '{runs.revision}' ({runs.bundle}) has all calls again"
            raise

    def revert(self, name: str) -> None:
        """Let the revision run that was found healthy last, or leave nothing."""
        standing = self.find(name)
        deadline = self.clock.now() + PULL_S
        while standing is not None and standing.is_busy and self.clock.now() < deadline:
            self.clock.sleep(POLL_S)  # what is under way would come on top of what is put back
            standing = self.find(name)
        if standing is not None:
            _mode_of(standing).go_back(self._place, standing)
        if standing is None or not standing.settled:
            self._clear(name)

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """Check the new revision in the mode's way, if it has one."""
        standing = self.require(spec.name)
        return _mode_of(standing).verify(self._place, standing)

    def fetch(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """Call the service at its URL; raises OSError without an answer."""
        if self.calls.endpoint is None:
            return super(AzureTarget, self).fetch(url, body=body, timeout_s=timeout_s)
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            status, data = self.calls.fetch(url, body=body, headers=headers, timeout_s=timeout_s)
        except ModelpackError as cause:
            raise OSError(cause.message) from cause
        return Answer(status, data)

    def find(self, name: str) -> Standing | None:
        """Return what stands under a name, whichever mode it is of; raises TagError, ConflictError."""
        check_name(name)
        modes = (MODES.load(word) for word in self._words())
        return next((one for mode in modes if (one := mode.read(self._place, name))), None)

    def look(self, standing: Standing) -> Sight:
        """Return how it is; without an address where it cannot be reached from here."""
        sight = standing.sight
        if sight.url is None or self.calls.endpoint is not None or is_reachable(sight.url):
            return sight
        return replace(sight, url=None)

    def now(self, standing: Standing) -> DeploymentSpec | None:
        """Return the spec of the newest revision that is meant to run."""
        return None if standing.entry is None else standing.entry.spec

    def past(self, standing: Standing) -> Iterable[Past]:
        """Return the revisions that were found healthy and that Azure still has, oldest first."""
        found = (standing.known[mark] for mark in standing.settled if mark in standing.known)
        return [Past(spec=entry.spec, since=since) for entry, since in found]

    def names(self) -> Iterable[str]:
        """Return the names of the deployments of this resource group that this target made."""
        place = self._place
        return [name for word in self._words() for name in MODES.load(word).names(place)]

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of the log; raises DeploymentNotFoundError."""
        standing = self.require(name)
        return _mode_of(standing).lines(self._place, standing, follow=follow, tail=tail)

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return what stands of it, with identity and images."""
        standing = self.find(name)
        found = [] if standing is None else _mode_of(standing).inventory(standing)
        if not self._place.identities.is_given and self._place.identities.look(name) is not None:
            found += [f"identity/{identity_name(name)}", f"role/AcrPull for {identity_name(name)}"]
        if found:
            found.append(f"images/{repository_of(name)}")
        return tuple(found)

    def destroy(self, name: str) -> None:
        """Remove it with its identity, role and images; raises DeploymentNotFoundError."""
        standing = self.find(name)
        place, identities = self._place, self._place.identities
        has_identity = not identities.is_given and identities.look(name) is not None
        if standing is None and not has_identity:
            raise self.absent(name)
        mode = MODES.load(self._words()[0]) if standing is None else _mode_of(standing)
        mode.remove(place, name)
        registry = self._registry_id(place)
        self._clear(name)
        if registry is not None:
            with suppress(NotFoundError):
                place.registries.remove(name, place.registries.look(registry))

    # Inside.

    @property
    def _place(self) -> Place:
        return Place(
            calls=self.calls,
            account=Account(options=self.given),
            target=self.name,
            push=self.push,
            clock=self.clock,
        )

    def _mode(self, spec: DeploymentSpec) -> Mode:
        return MODES.load(choose(spec, self.given, self.allowed)[0])

    def _words(self) -> tuple[str, ...]:
        """Return the modes that deployments may stand in, as far as the options tell."""
        words = [word for word in self.allowed if word != "ml" or "workspace" in self.given]
        return tuple(words) or self.allowed

    def _standing_at(self, name: str, word: str) -> Standing | None:
        standing = self.find(name)
        if standing is not None and standing.word != word:
            raise DeployError(
                f"the deployment '{name}' stands at '{standing.word}', not at '{word}'",
                hint=f"destroy it first, or say 'mode: {standing.word}'",
            )
        return standing

    def _clear(self, name: str) -> None:
        """Remove the identity with its role."""
        identities = self._place.identities
        if not identities.is_given and identities.look(name) is not None:
            identities.remove(name, self._registry_id(self._place))

    def _registry_id(self, place: Place) -> str | None:
        """Return the registry that the role is for: the option's, else that of the workspace."""
        if self.given.get("registry"):
            return place.account.given("registry", REGISTRY, MAKE)
        found = (MODES.load(word).registry_id(place) for word in self._words())
        return next((one for one in found if one), None)


@dataclass(frozen=True, slots=True)
class ContainerAppsTarget(AzureTarget):
    """Deploys to Azure Container Apps."""

    name: ClassVar[str] = "azure-container-apps"
    allowed: ClassVar[tuple[str, ...]] = ("container-apps",)


@dataclass(frozen=True, slots=True)
class MlTarget(AzureTarget):
    """Deploys to managed online endpoints of Azure Machine Learning."""

    name: ClassVar[str] = "azure-ml"
    allowed: ClassVar[tuple[str, ...]] = ("ml",)


def _mode_of(standing: Standing) -> Mode:
    return MODES.load(standing.word)


def _named(resource: Mapping[str, Any]) -> dict[str, str]:
    return {"id": str(resource.get("id"))}
