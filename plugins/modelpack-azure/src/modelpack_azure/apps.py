"""Azure Container Apps: one app a deployment, one revision of Azure's for each of ours.

    bring     PUT the app ──► revision modelpack-digits--r4be5…-1 beside the former one, without a call
    promote   PATCH its traffic: all calls, or a canary's share first ──► the former one is deactivated
    go_back   PATCH: all calls to the one that was healthy ──► the other one is deactivated

What always holds: a revision that stands is never changed, so going back is moving calls; a suffix is
never used twice, for an app that gets a former suffix again does nothing and says that it has; what is
newest and active is what is meant to run.

Facts: Azure Container Apps, "Revisions", "Traffic splitting" and "Application lifecycle management";
the API's models for what a revision says of itself.  That a suffix which was used silently does nothing
is issue 650 of microsoft/azure-container-apps; that a first revision takes no calls by its name but as
the latest one is issue 27221 of hashicorp/terraform-provider-azurerm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

from modelpack.deploy import (
    Cost,
    DeploymentSpec,
    Entry,
    Journal,
    Progress,
    Rendered,
    Sight,
    State,
    await_running,
)
from modelpack.errors import DeployError
from modelpack_azure import app_body
from modelpack_azure.app_around import ENVIRONMENT, MAKE_ENVIRONMENT, around_of, where_it_is
from modelpack_azure.app_body import API, KIND
from modelpack_azure.app_logs import log_lines
from modelpack_azure.app_making import make
from modelpack_azure.app_seen import (
    WORD,
    app_path,
    newest_active,
    properties_of,
    read_app,
    revision_of,
    share,
    shares_of,
)
from modelpack_azure.app_shares import canary, move, rest
from modelpack_azure.arm import Json
from modelpack_azure.identity import KIND as IDENTITY
from modelpack_azure.modes import (
    COMMON,
    NETWORK,
    POLL_S,
    PULL_S,
    Around,
    Mode,
    Place,
    Standing,
    canary_notes,
)
from modelpack_azure.naming import NAME_TAG, TARGET_TAG, app_name, tags_of
from modelpack_azure.prices import of_replicas
from modelpack_azure.registry import KIND as REGISTRY
from modelpack_azure.registry import MAKE
from modelpack_azure.sizes import profile_of, size_notes, size_of
from modelpack_azure.strict import require


class AppsMode(Mode):
    """Container Apps."""

    word: ClassVar[str] = WORD
    title: ClassVar[str] = "Container Apps"
    heeds: ClassVar[frozenset[str]] = COMMON | {
        "max_replicas",
        "in_flight",
        "idle_s",
        "secrets",
        "allow",
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "cooldown_up_s": "Container Apps looks every 30 s and grows at once",
        "cooldown_down_s": "Container Apps has one wait alone, before the last replica goes: idle_s",
        "vpc": NETWORK,
        "subnets": NETWORK,
        "security_groups": NETWORK,
    }
    schemes: ClassVar[tuple[str, ...]] = ("keyvault",)
    options: ClassVar[Mapping[str, str]] = {
        "environment": "Container Apps environment that it stands in, by name or id",
        "grpc": "yes: gRPC is what callers reach, and not HTTP; the bundle's grpc_port must be set",
    }
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {
        "environment": (ENVIRONMENT, MAKE_ENVIRONMENT),
        "registry": (REGISTRY, MAKE),
    }

    def resource(self, name: str) -> str:
        """Return ``container-app/NAME``."""
        return f"container-app/{app_name(name)}"

    def notes(self, spec: DeploymentSpec, options: Mapping[str, str]) -> list[str]:
        """Return the size, and who may call it; raises UsageError for what cannot be."""
        settings = spec.settings
        size_of(settings)
        found = size_notes(settings)
        profile = profile_of(settings)
        if profile is not None:
            found.append(
                f"it runs in the environment's workload profile '{profile}', whose price is in no table "
                "of ours: see azure.microsoft.com/pricing/details/container-apps"
            )
        elif settings.min_replicas == 0:
            found.append("nothing is kept while nobody asks, and nothing is paid for")
        if not settings.public:
            found.append(
                "it answers inside its environment alone; from outside, its own probes decide"
            )
        if app_body.speaks_grpc(options):
            found.append("callers reach gRPC alone, on its address and port 443 over TLS")
        return found + canary_notes(settings)

    def cost(self, spec: DeploymentSpec) -> Cost | None:
        """Return what the least number of replicas costs, in the profile of everybody."""
        settings = spec.settings
        if profile_of(settings) is not None:
            return None
        return of_replicas(size_of(settings), settings.min_replicas)

    def render(self, place: Place, spec: DeploymentSpec) -> Rendered:
        """Return a template of Azure Resource Manager, which ``az deployment group create`` takes."""
        given = place.account.options.get("identity")
        entry = Entry(spec=spec, image="@image@", mode=self.word, options=place.options)
        template = app_body.arm_template(
            entry,
            place.target,
            None if given is None else place.account.path_of("identity", given, IDENTITY),
        )
        _check(template["resources"][-1])
        return Rendered(files={"template.json": app_body.text_of(template).encode()})

    def around(self, place: Place, spec: DeploymentSpec) -> Around:
        """Return registry, environment and identity; raises NotFoundError, UsageError."""
        return around_of(place, spec)

    def read(self, place: Place, name: str) -> Standing | None:
        """Return the app, with what its revisions were made of."""
        return read_app(place, name)

    def bring(
        self, place: Place, entry: Entry, around: Around, journal: Journal, progress: Progress
    ) -> None:
        """Make a revision of the app, without a call unless it is the first one.

        The former one of a canary that stays gets all calls back at once.
        """
        name = entry.spec.name
        journal.step(f"update/{self.resource(name)}", lambda: make(place, entry, around.found))
        with progress.step("wait until the revision runs"):
            journal.step(f"wait/{self.resource(name)}", lambda: self._await(place, entry.spec))

    def promote(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Move the calls, at once or by way of a canary, and mark the revision as healthy."""
        entry = standing.entry
        app, revisions = standing.found
        new = newest_active(revisions)
        if entry is None or new is None:
            raise DeployError(f"no revision of '{standing.name}' is active")
        settings, name = entry.spec.settings, str(new["name"])
        former = revision_of(revisions, standing.settled[-1:], but=name)
        stays = settings.canary_percent is not None and settings.bake_s is None
        if standing.is_settled:
            if stays and len(shares_of(app)) > 1:
                return
        elif former is not None and settings.canary_percent is not None:
            beside = str(former["name"])
            look = partial(self._sight, place, standing.name)
            canary(place, standing, entry, former=beside, new=name, look=look, progress=progress)
            if stays:
                rest(place, standing.name, revisions, but=(beside, name))
                progress.note("the canary stays until the next deploy")
                return
        move(place, standing, entry, [share(new, 100, "live")], settle=True)
        rest(place, standing.name, revisions, but=(name,))

    def go_back(self, place: Place, standing: Standing) -> None:
        """Give all calls back to who had them; without a healthy revision, remove the app."""
        if not standing.settled:
            self.remove(place, standing.name)
            return
        app, revisions = standing.found
        good, last = revision_of(revisions, standing.settled[-1:]), standing.last
        if good is None or last is None or standing.is_settled:
            return
        path = app_path(place, standing.name)
        if not properties_of(good).get("active"):
            place.calls.post(f"{path}/revisions/{good['name']}/activate", API)
        failed = str((newest_active(revisions) or {}).get("name"))
        shares = shares_of(app)
        if failed in [one.get("revisionName", failed) for one in shares]:
            shares = [share(good, 100, "live")]
        config = app_body.configuration(last, where_it_is(place, app), shares)
        tags = tags_of(standing.name, place.target, last.spec.settings.labels, standing.settled)
        place.calls.patch(path, API, {"tags": tags, "properties": {"configuration": config}})
        kept = {str(one["revisionName"]) for one in shares} | {str(good["name"])}
        rest(place, standing.name, revisions, but=kept)

    def remove(self, place: Place, name: str) -> None:
        """Delete the app with all its revisions."""
        place.calls.delete(app_path(place, name), API)

    def names(self, place: Place) -> list[str]:
        """Return the deployments whose apps this target made in the resource group."""
        found = place.calls.pages(f"{place.account.root}/providers/{KIND}", API)
        return _ours(place, found)

    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what all replicas of the newest revision wrote."""
        revision = newest_active(standing.found[1])
        if revision is None:
            return iter(())
        return log_lines(
            place, app_path(place, standing.name), str(revision["name"]), follow=follow, tail=tail
        )

    def verify(self, place: Place, standing: Standing) -> tuple[str, ...] | None:  # noqa: ARG002
        """Take Azure's own word where gRPC is spoken, which the common probe does not."""
        if standing.entry is None or not app_body.speaks_grpc(standing.entry.options):
            return None
        return ("it speaks gRPC: the probes of Container Apps have found it ready, and no more",)

    def inventory(self, standing: Standing) -> list[str]:
        """Return the app and its revisions."""
        names = [str(one["name"]) for one in standing.found[1]]
        return [self.resource(standing.name), *(f"revision/{one}" for one in names)]

    # Inside.

    def _sight(self, place: Place, name: str) -> Sight:
        standing = read_app(place, name)
        return standing.sight if standing else Sight(state=State.ABSENT, detail="it is gone")

    def _await(self, place: Place, spec: DeploymentSpec) -> None:
        await_running(
            spec.name,
            partial(self._sight, place, spec.name),
            place.clock,
            timeout_s=spec.settings.ready_timeout_s + PULL_S,
            poll_s=POLL_S,
            hint="'az containerapp logs show --type system' may say more",
        )


def _check(resource: Json) -> None:
    """Hold the body of a resource in a template against the model of the service."""
    extra = ("type", "apiVersion", "name", "dependsOn")
    require("ContainerApp", {key: one for key, one in resource.items() if key not in extra})


def _ours(place: Place, found: list[Json]) -> list[str]:
    tags = [one.get("tags") or {} for one in found]
    return sorted(str(one[NAME_TAG]) for one in tags if one.get(TARGET_TAG) == place.target)
