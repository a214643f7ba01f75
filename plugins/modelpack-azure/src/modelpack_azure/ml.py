"""Managed online endpoints of Azure Machine Learning: one endpoint, a deployment for each revision.

    bring     environment version ─► deployment r4be5… beside the former one, without a call ─► tag "now"
    verify    an example to the new deployment alone: POST /score with azureml-model-deployment
    promote   the endpoint's traffic: a copy of the calls, a canary's share, all ─► the former one is deleted
    go_back   the endpoint's traffic and tag as before ─► the other deployment is deleted

What always holds: a deployment is named by its revision, so making it twice is making it once; what is
meant to run says a tag of the endpoint, written when the deployment stands; the environment versions
stay and are the history; a deployment with calls is never deleted.

Facts: Azure Machine Learning REST API, online endpoints, online deployments (``getLogs``), environment
versions; "Safe rollout for online endpoints".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

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
from modelpack_azure import ml_body
from modelpack_azure.app_body import text_of
from modelpack_azure.arm import Json
from modelpack_azure.ml_around import around_of
from modelpack_azure.ml_asking import ask
from modelpack_azure.ml_body import API, WORKSPACE, deployment_name
from modelpack_azure.ml_seen import MAKE, WORD, Site, log_lines, properties_of, site_of, standing_of
from modelpack_azure.ml_shares import Shares, let_go
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
    patiently,
)
from modelpack_azure.naming import NAME_TAG, TARGET_TAG, identity_name, settled_of
from modelpack_azure.prices import of_machines
from modelpack_azure.sizes import machine_of
from modelpack_azure.strict import require

_OWN = "who may reach an endpoint is up to the network of the workspace"


class MlMode(Mode):
    """Managed online endpoints."""

    word: ClassVar[str] = WORD
    title: ClassVar[str] = "Azure Machine Learning"
    heeds: ClassVar[frozenset[str]] = COMMON | {
        "max_replicas",
        "cooldown_up_s",
        "cooldown_down_s",
        "secrets",
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "in_flight": "instances come and go with processor time; mode 'container-apps' counts requests",
        "idle_s": "an online endpoint does not sleep; mode 'container-apps' can",
        "allow": _OWN,
        "vpc": NETWORK,
        "subnets": NETWORK,
        "security_groups": NETWORK,
    }
    schemes: ClassVar[tuple[str, ...]] = ("keyvault",)
    options: ClassVar[Mapping[str, str]] = {
        "workspace": "workspace of Azure Machine Learning that it stands in, by name or id",
        "timeout": "seconds that a call may take, 1 to 180; default: 60",
        "mirror": "percent of the calls that a new revision gets a copy of while 'bake_s' lasts",
    }
    needs: ClassVar[Mapping[str, tuple[str, str]]] = {"workspace": (WORKSPACE, MAKE)}

    def resource(self, name: str) -> str:
        """Return ``online-endpoint/NAME``; its whole name has six digits of the workspace more."""
        return f"online-endpoint/{identity_name(name)}"

    def notes(self, spec: DeploymentSpec, options: Mapping[str, str]) -> list[str]:
        """Return which machine was chosen; raises UsageError for what cannot be."""
        settings = spec.settings
        ml_body.timeout_of(options)
        machine, why = machine_of(settings)
        found = [f"{machine}: {why}"]
        if ml_body.mirror_of(options) and settings.bake_s is None:
            found.append("nothing is mirrored without 'traffic.bake_s'")
        if settings.secrets:
            found.append("secrets of online endpoints are a preview of Azure's")
        if not settings.public:
            found.append(
                "it answers inside the workspace's network alone; from outside, its probes decide"
            )
        if self.cost(spec) is None:
            found.append(
                f"what '{machine}' costs is in no table of ours: see "
                "azure.microsoft.com/pricing/details/machine-learning"
            )
        return found + canary_notes(settings)

    def cost(self, spec: DeploymentSpec) -> Cost | None:
        """Return what the least number of machines costs."""
        return of_machines(machine_of(spec.settings)[0], spec.settings.min_replicas)

    def render(self, place: Place, spec: DeploymentSpec) -> Rendered:
        """Return the bodies of the endpoint, the deployment and the environment version."""
        entry = Entry(spec=spec, image="IMAGE", mode=self.word, options=place.options)
        bodies = {
            "endpoint.json": require(
                "OnlineEndpoint",
                ml_body.endpoint(
                    spec.name,
                    place.target,
                    spec.settings,
                    location="LOCATION",
                    identity="IDENTITY",
                    shares={deployment_name(entry): 100},
                ),
            ),
            "environment.json": require("EnvironmentVersion", ml_body.environment(entry)),
            "deployment.json": require(
                "OnlineDeployment",
                ml_body.deployment(
                    entry, place.target, location="LOCATION", environment_id="ENVIRONMENT"
                ),
            ),
        }
        if spec.settings.most_replicas > spec.settings.min_replicas:
            bodies["autoscaling.json"] = ml_body.autoscaling(
                entry, place.target, location="LOCATION", deployment_id="DEPLOYMENT"
            )
        return Rendered(files={name: text_of(body).encode() for name, body in bodies.items()})

    def around(self, place: Place, spec: DeploymentSpec) -> Around:
        """Return workspace and registry; raises NotFoundError, UsageError."""
        return around_of(place, spec)

    def read(self, place: Place, name: str) -> Standing | None:
        """Return the endpoint with its deployments, and the environment versions of former ones."""
        site = site_of(place, name)
        endpoint = place.calls.get(site.endpoint, API)
        if endpoint is None:
            return None
        place.require_ours(f"online endpoint '{site.name}'", name, endpoint.get("tags") or {})
        deployments = place.calls.pages(f"{site.endpoint}/deployments", API)
        versions = place.calls.pages(f"{site.environment}/versions", API)
        return standing_of(name, endpoint, deployments, versions)

    def bring(
        self, place: Place, entry: Entry, around: Around, journal: Journal, progress: Progress
    ) -> None:
        """Make a deployment of the endpoint, which gets no call yet."""
        name, site = entry.spec.name, site_of(place, entry.spec.name)
        shares = Shares(place, site, around.found)
        journal.step(f"create/online-endpoint/{site.name}", lambda: self._ensure(shares, entry))
        version = f"{site.environment}/versions/{ml_body.version_of(entry)}"
        body = require("EnvironmentVersion", ml_body.environment(entry))
        journal.step(
            f"create/environment/{ml_body.version_of(entry)}",
            lambda: _id(place.calls.put(version, API, body)),
        )
        with progress.step("make the deployment; Azure takes some minutes"):
            journal.step(
                f"create/deployment/{deployment_name(entry)}",
                lambda: self._deploy(place, site, entry, around.location, version),
            )
        journal.step(f"update/online-endpoint/{site.name}", lambda: self._point(shares, entry))
        await_running(
            name,
            partial(self._sight, place, name),
            place.clock,
            timeout_s=entry.spec.settings.ready_timeout_s + PULL_S,
            poll_s=POLL_S,
            hint="'az ml online-deployment get-logs' may say more",
        )

    def verify(self, place: Place, standing: Standing) -> tuple[str, ...] | None:
        """Send an example to the new deployment alone; raises DeployError when it fails."""
        return ask(place, site_of(place, standing.name), standing)

    def promote(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Move the calls, by way of a copy and of a canary where asked for, and mark the revision."""
        entry = standing.entry
        if entry is None:
            raise DeployError(f"no deployment of '{standing.name}' stands")
        site = site_of(place, standing.name)
        shares = Shares.of(place, site, standing.found[0])
        settings, new = entry.spec.settings, deployment_name(entry)
        former = self._former(standing, new)
        stays = settings.canary_percent is not None and settings.bake_s is None
        if standing.is_settled:
            if stays and len(shares.now) > 1:
                return
        elif former is not None:
            look = partial(self._sight, place, standing.name)
            shares.mirror(standing, entry, new, look, progress)
            if settings.canary_percent is not None:
                shares.canary(standing, entry, (former, new), look, progress)
                if stays:
                    let_go(place, site, standing, but={former, new})
                    progress.note("the canary stays until the next deploy")
                    return
        shares.move(standing, entry, {new: 100}, settle=True)
        let_go(place, site, standing, but={new})

    def go_back(self, place: Place, standing: Standing) -> None:
        """Give the calls back to who had them; without a healthy revision, remove the endpoint."""
        if not standing.settled:
            self.remove(place, standing.name)
            return
        last = standing.last
        if last is None:
            return
        site = site_of(place, standing.name)
        shares = Shares.of(place, site, standing.found[0])
        good = deployment_name(last)
        names = {str(one["name"]) for one in standing.found[1]}
        if good not in names:
            return
        failed = None if standing.is_settled else standing.entry
        kept = dict(shares.now)
        if sum(kept.values()) != 100 or (failed and deployment_name(failed) in kept):
            kept = {good: 100}
        if failed is not None or kept != shares.now:
            shares.move(standing, last, kept, settle=False)
        let_go(place, site, standing, but={*kept, good})

    def remove(self, place: Place, name: str) -> None:
        """Delete the endpoint with its deployments, the rules of scaling, the environment."""
        site = site_of(place, name)
        endpoint = place.calls.get(site.endpoint, API)
        if endpoint is not None:
            place.require_ours(f"online endpoint '{site.name}'", name, endpoint.get("tags") or {})
            for one in place.calls.pages(f"{site.endpoint}/deployments", API):
                site.drop_rules(place, str(one["name"]))
            place.calls.delete(site.endpoint, API)
        for one in place.calls.pages(f"{site.environment}/versions", API):
            place.calls.delete(f"{site.environment}/versions/{one['name']}", API)

    def names(self, place: Place) -> list[str]:
        """Return the deployments whose endpoints this target made in the workspace."""
        workspace = site_of(place, "all").workspace
        found = place.calls.pages(f"{workspace}/onlineEndpoints", API)
        tags = [one.get("tags") or {} for one in found]
        return sorted(str(one[NAME_TAG]) for one in tags if one.get(TARGET_TAG) == place.target)

    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the containers of the newest deployment wrote last."""
        if standing.entry is None:
            return iter(())
        path = f"{site_of(place, standing.name).endpoint}/deployments/{deployment_name(standing.entry)}"
        return log_lines(place, path, follow=follow, tail=tail)

    def registry_id(self, place: Place) -> str | None:
        """Return the registry of the workspace."""
        workspace = place.calls.get(site_of(place, "all").workspace, API) or {}
        found = properties_of(workspace).get("containerRegistry")
        return str(found) if found else None

    def inventory(self, standing: Standing) -> list[str]:
        """Return the endpoint, its deployments and the environment versions."""
        deployments = [f"online-deployment/{one['name']}" for one in standing.found[1]]
        versions = [f"environment-version/{one['name']}" for one in standing.found[2]]
        return [self.resource(standing.name), *deployments, *versions]

    # Inside.

    def _sight(self, place: Place, name: str) -> Sight:
        standing = self.read(place, name)
        return standing.sight if standing else Sight(state=State.ABSENT, detail="it is gone")

    def _former(self, standing: Standing, new: str) -> str | None:
        """Return the deployment that was found healthy last, while it stands beside the new one."""
        if standing.last is None:
            return None
        found = deployment_name(standing.last)
        names = {str(one["name"]) for one in standing.found[1]} - {new}
        return found if found in names else None

    def _ensure(self, shares: Shares, entry: Entry) -> Json:
        """Make the endpoint if it is not there; what stands keeps its calls."""
        if shares.place.calls.get(shares.site.endpoint, API) is None:
            shares.put(entry, {}, settled=(), now=None)
        return {"name": shares.site.name}

    def _deploy(self, place: Place, site: Site, entry: Entry, location: str, version: str) -> Json:
        path = f"{site.endpoint}/deployments/{deployment_name(entry)}"
        body = ml_body.deployment(entry, place.target, location=location, environment_id=version)
        require("OnlineDeployment", body)
        patiently(place, lambda: place.calls.put(path, API, body))
        site.set_rules(place, entry, location)
        return {"name": deployment_name(entry)}

    def _point(self, shares: Shares, entry: Entry) -> Json:
        """Say which revision is meant to run from now on; the calls stay where they are."""
        endpoint = shares.place.calls.get(shares.site.endpoint, API)
        if endpoint is None:
            raise DeployError(f"the online endpoint '{shares.site.name}' is gone")
        found = Shares.of(shares.place, shares.site, endpoint)
        settled = settled_of(endpoint.get("tags") or {})
        found.put(entry, found.now, settled=settled, now=entry.mark)
        return {"now": entry.mark}


def _id(resource: Mapping[str, Any]) -> Json:
    return {"id": str(resource.get("id"))}
