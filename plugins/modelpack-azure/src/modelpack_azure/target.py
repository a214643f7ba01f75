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

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

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
from modelpack.errors import (
    DeployError,
    DeploymentNotFoundError,
    ModelpackError,
    NotFoundError,
)
from modelpack_azure.account import Account
from modelpack_azure.arm import Arm, Calls
from modelpack_azure.choosing import MODES, choose, mode_of
from modelpack_azure.clock import Clock, is_reachable
from modelpack_azure.kept import Entry
from modelpack_azure.modes import POLL_S, PULL_S, Mode, Place, Standing, image_of
from modelpack_azure.naming import identity_name, repository_of
from modelpack_azure.planning import (
    HAS_IDENTITY,
    HAS_IMAGE,
    capabilities_of,
    facts_of,
    plan_for,
)
from modelpack_azure.registry import KIND as REGISTRY
from modelpack_azure.registry import MAKE, Push, push_bundle

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
class AzureTarget(Target):
    """Deploys to the service of Azure that fits."""

    name: ClassVar[str] = "azure"
    needs_image: ClassVar[bool] = True
    allowed: ClassVar[tuple[str, ...]] = tuple(MODES)
    """Words of the modes that it has."""

    calls: Calls = field(default_factory=Arm)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_bundle
    clock: Clock = field(default_factory=Clock)

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again."""
        return dict(self.given)

    @property
    def whereabouts(self) -> Mapping[str, str]:
        """Subscription, group and endpoint, as far as options say it; the others say how."""
        where = ("subscription", "resource_group", "endpoint")
        return {key: value for key, value in self.given.items() if key in where}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with a real client; raises UsageError, ToolMissingError."""
        known = set(OPTIONS).union(*(mode_of(word).options for word in cls.allowed))
        refuse_unknown(cls.name, options, known)
        arm = Arm(endpoint=options.get("endpoint"))
        arm.require()
        return cls(calls=arm, given=dict(options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what the mode does that the spec gets."""
        return capabilities_of(self._mode(spec))

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what Azure says of the deployment, and whether what it stands on is there.

        Raises CredentialsError, ConflictError for an app that is not ours, NotFoundError for a registry,
        environment or workspace that is not there.
        """
        place, mode = self._place, self._mode(spec)
        standing = self._standing_at(spec.name, mode)
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
        applied = facts_of(standing.entry, mode)
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
        entry = Entry(spec=spec, image=str((pushed or {})["image"]), options=place.options)
        mode.bring(place, entry, around, journal, progress)
        return self._revision(spec)

    def settle(self, name: str) -> None:
        """Give the new revision its calls and mark it as healthy; the former one is deactivated.

        Raises DeployError when it does not hold on the way; the former one has all calls then.
        """
        mode, standing = self._require(name)
        try:
            mode.promote(self._place, standing, SILENT)
        except DeployError as error:
            self.revert(name)
            runs = self.status(name)
            error.hint = f"revision '{runs.revision}' ({runs.bundle}) has all calls again"
            raise

    def revert(self, name: str) -> None:
        """Let the revision run that was found healthy last, or leave nothing."""
        mode, standing = self._find(name)
        deadline = self.clock.now() + PULL_S
        while standing is not None and standing.is_busy and self.clock.now() < deadline:
            self.clock.sleep(POLL_S)  # what is under way would come on top of what is put back
            mode, standing = self._find(name)
        if standing is not None:
            mode.go_back(self._place, standing)
        if standing is None or not standing.settled:
            self._clear(name)

    # See how it is.

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """Check the new revision in the mode's way, if it has one."""
        mode, standing = self._require(spec.name)
        return mode.verify(self._place, standing)

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

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        _, standing = self._find(name)
        if standing is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        sight, entry = standing.sight, standing.entry
        url = sight.url
        if url is not None and self.calls.endpoint is None and not is_reachable(url):
            url = None
        return Status(
            name=name,
            target=self.name,
            state=sight.state,
            bundle=None if entry is None else entry.spec.bundle,
            revision=None if entry is None else entry.spec.revision,
            url=url,
            since=standing.since,
            restarts=sight.restarts,
            detail=sight.detail,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of the log; raises DeploymentNotFoundError."""
        mode, standing = self._require(name)
        return mode.lines(self._place, standing, follow=follow, tail=tail)

    def history(self, name: str) -> tuple[Revision, ...]:
        """Return the revisions that were found healthy and that Azure still has, oldest first."""
        _, standing = self._find(name)
        if standing is None:
            return ()
        found = [standing.known[mark] for mark in standing.settled if mark in standing.known]
        return tuple(replace(self._revision(entry.spec), since=since) for entry, since in found)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of the newest revision that is meant to run."""
        _, standing = self._find(name)
        return None if standing is None or standing.entry is None else standing.entry.spec

    def list(self) -> list[Status]:
        """Return the deployments of this resource group that this target made."""
        place = self._place
        names = {name for word in self._words() for name in mode_of(word).names(place)}
        found = [self.status(name) for name in sorted(names)]
        return [one for one in found if one.state is not State.ABSENT]

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return what stands of it, with identity and images."""
        mode, standing = self._find(name)
        found = [] if standing is None else mode.inventory(standing)
        if not self._place.identities.is_given and self._place.identities.look(name) is not None:
            found += [f"identity/{identity_name(name)}", f"role/AcrPull for {identity_name(name)}"]
        if found:
            found.append(f"images/{repository_of(name)}")
        return tuple(found)

    def destroy(self, name: str) -> None:
        """Remove it with its identity, role and images; raises DeploymentNotFoundError."""
        mode, standing = self._find(name)
        place, identities = self._place, self._place.identities
        has_identity = not identities.is_given and identities.look(name) is not None
        if standing is None and not has_identity:
            raise self._absent(name)
        mode.remove(place, name)
        registry = self._registry_id(place)
        self._clear(name)
        if registry is not None:
            with suppress(NotFoundError):
                place.registries.remove(name, place.registries.look(registry))

    # Inside.

    def _revision(self, spec: DeploymentSpec) -> Revision:
        name, bundle = spec.name, spec.bundle
        return Revision(
            deployment=name, id=spec.revision, bundle=bundle, target=self.name, spec=spec
        )

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
        return mode_of(choose(spec, self.given, self.allowed)[0])

    def _words(self) -> tuple[str, ...]:
        """Return the modes that deployments may stand in, as far as the options tell."""
        words = [word for word in self.allowed if word != "ml" or "workspace" in self.given]
        return tuple(words) or self.allowed

    def _find(self, name: str) -> tuple[Mode, Standing | None]:
        """Return what stands under a name, whichever mode it is of; raises TagError."""
        check_name(name)
        modes = [mode_of(word) for word in self._words()]
        for mode in modes:
            standing = mode.read(self._place, name)
            if standing is not None:
                return mode, standing
        return modes[0], None

    def _standing_at(self, name: str, wanted: Mode) -> Standing | None:
        mode, standing = self._find(name)
        if standing is not None and mode.word != wanted.word:
            raise DeployError(
                f"the deployment '{name}' stands at '{mode.word}', not at '{wanted.word}'",
                hint=f"destroy it first, or say 'mode: {mode.word}'",
            )
        return standing

    def _require(self, name: str) -> tuple[Mode, Standing]:
        mode, standing = self._find(name)
        if standing is None:
            raise self._absent(name)
        return mode, standing

    def _clear(self, name: str) -> None:
        """Remove the identity with its role."""
        identities = self._place.identities
        if not identities.is_given and identities.look(name) is not None:
            identities.remove(name, self._registry_id(self._place))

    def _registry_id(self, place: Place) -> str | None:
        """Return the registry that the role is for: the option's, else that of the workspace."""
        if self.given.get("registry"):
            return place.account.given("registry", REGISTRY, MAKE)
        found = (mode_of(word).registry_id(place) for word in self._words())
        return next((one for one in found if one), None)

    def _absent(self, name: str) -> DeploymentNotFoundError:
        return DeploymentNotFoundError(
            f"no deployment '{name}' at target '{self.name}'",
            hint="run 'modelpack deployments list' to see them",
        )


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


def _named(resource: Mapping[str, Any]) -> dict[str, str]:
    return {"id": str(resource.get("id"))}
