"""Deployments on Vertex AI: one endpoint each, a version of one model for each revision.

    bring    the version is uploaded ─► deployed beside the former, without calls
    settle   its share, asked while it has it (canary) ─► all calls ─► the former is undeployed
    revert   the shares as they were ─► the new one is undeployed

What is remembered stands in the description of the endpoint and changes in the same call as the
shares.  Vertex AI sends no call to a deployed model without a share, so a new revision is asked once it
has one; until then its word counts that the container's health route answers.  An endpoint does one
thing at a time: what is under way there is waited for first.

Sources: Vertex AI API v1 (``endpoints.deployModel``, ``trafficSplit``, ``mutateDeployedModel``,
``models.upload``, ``models.deleteVersion``); Cloud Logging, ``aiplatform.googleapis.com/Endpoint``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from modelpack.deploy import (
    Answer,
    Cost,
    Entry,
    Fact,
    Journal,
    Progress,
    Sight,
    State,
    Status,
    moment,
)
from modelpack.errors import did_you_mean
from modelpack_gcp import vertex_body
from modelpack_gcp.endpoint import API, REPLICAS, Endpoint, deployed, split_of
from modelpack_gcp.kept import Kept
from modelpack_gcp.loglines import log_lines
from modelpack_gcp.modes import COMMON, Mode, Place, Request, Standing
from modelpack_gcp.prices import of_machines
from modelpack_gcp.registered import Models
from modelpack_gcp.sizes import known_types, machine_for
from modelpack_gcp.wanted import TARGET_LABEL, Wanted, resource_id

_EVERY_S = 15.0


class VertexMode(Mode):
    """One endpoint of Vertex AI."""

    word: ClassVar[str] = "vertex"
    title: ClassVar[str] = "Vertex AI"
    options: ClassVar[Mapping[str, str]] = vertex_body.OPTIONS
    heeds: ClassVar[frozenset[str]] = COMMON | {"instance"}
    reasons: ClassVar[Mapping[str, str]] = {
        "allow": "an endpoint is at Google's own address, where permissions decide",
        "cooldown_down_s": "Vertex AI itself decides when a machine has been idle long enough",
        "cooldown_up_s": "Vertex AI itself decides how fast it grows",
        "idle_s": "Vertex AI keeps one machine at least",
        "in_flight": "Vertex AI goes by the use of processors or accelerators",
        "public": "nobody calls an endpoint of Vertex AI without permission; Cloud Run can be public",
        "secrets": "Vertex AI has no references to secrets; Cloud Run has",
        "security_groups": "an endpoint stands in no network of yours",
        "subnets": "an endpoint stands in no network of yours",
        "vpc": "a private endpoint takes one model at a time, so that none could take over",
    }

    # Before anything is done.

    def notes(self, wanted: Wanted) -> list[str]:
        """Return the machine, and what Vertex AI does otherwise; raises UsageError."""
        vertex_body.replicas(wanted)
        machine = machine_for(wanted.settings)
        found = [
            f"machines are {machine.describe()}",
            "it answers at Google's own address, to who may predict (aiplatform.endpoints.predict)",
        ]
        if machine.cpu == 0:
            near = did_you_mean(machine.type, known_types())
            more = f"; did you mean '{near}'?" if near else ""
            found.append(
                f"'{machine.type}' is not in our table: whether it exists, Google will say{more}"
            )
        if wanted.flag("spot"):
            found.append("spot machines cost less, may go at any time, and their price moves")
        elif self.cost(wanted) is None:
            found.append(
                "what it costs is in no table of ours: see cloud.google.com/vertex-ai/pricing"
            )
        return found

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what the least number of machines costs, asked or not."""
        replicas = wanted.settings.min_replicas
        return of_machines(machine_for(wanted.settings), replicas, spot=wanted.flag("spot"))

    def requests(self, parent: str, wanted: Wanted, image: str) -> list[Request]:
        """Return model, endpoint, and the one on the other."""
        body = vertex_body.model(wanted, image)
        name = f"{parent}/endpoints/{wanted.id}"
        kept = Kept(name=wanted.name, target=wanted.target).text()
        version = f"{parent}/models/{wanted.id}@1"
        made = vertex_body.deployed(wanted, version, vertex_body.unit_of(wanted, body))
        share = {"deployedModel": made, "trafficSplit": {"0": 100}}
        return [
            Request(
                file="endpoint.json",
                method=f"{API}.create",
                parameters={"parent": parent, "endpointId": wanted.id},
                body=vertex_body.endpoint(wanted, kept),
            ),
            Request(
                file="model.json",
                method="aiplatform.projects.locations.models.upload",
                parameters={"parent": parent},
                body={
                    "modelId": wanted.id,
                    "model": {**body, "versionAliases": [vertex_body.alias_of(body)]},
                },
            ),
            Request(
                file="deployed.json",
                method=f"{API}.deployModel",
                parameters={"endpoint": name},
                body=share,
            ),
        ]

    def resources(self, wanted: Wanted) -> Sequence[str]:
        """Return endpoint and model."""
        return [f"endpoint/{wanted.id}", f"model/{wanted.id}"]

    # What stands.

    def read(self, place: Place, name: str) -> Standing | None:
        """Return the endpoint of a deployment."""
        return Endpoint(place=place, name=name).read()

    def look(self, place: Place, standing: Standing) -> Sight:
        """Return how the newest revision is."""
        now = standing.kept.now
        if now is None:
            return Sight(state=State.STARTING, detail="nothing was deployed to it yet")
        one = deployed(standing).get(now.unit)
        if one is None:
            detail = f"the deployed model '{now.unit}' is not there"
            is_trial = standing.kept.trial is not None
            return Sight(state=State.STARTING if is_trial else State.FAILED, detail=detail)
        status = one.get("status") or {}
        count, why = status.get("availableReplicaCount"), status.get("message")
        share = None if standing.kept.trial else standing.kept.share(split_of(standing))
        said = [str(one) for one in (why, share) if one]
        return Sight(
            state=State.STARTING if count == 0 else State.RUNNING,
            detail="; ".join(said) or None,
            url=Endpoint(place=place, name=standing.kept.name).url,
            since=moment(one.get("createTime")),
            facts=_facts(one, place.wanted_of(now), is_trial=standing.kept.trial is not None),
        )

    def names(self, place: Place) -> list[str]:
        """Return the names of all endpoints that the target made in the region."""
        found: list[str] = []
        asked: dict[str, Any] = {"parent": place.parent}
        while True:
            page = place.google.call(f"{API}.list", "list the endpoints", **asked)
            for one in page.get("endpoints") or ():
                kept = Kept.read(one.get("description"))
                if kept is not None and (one.get("labels") or {}).get(TARGET_LABEL) == place.target:
                    found.append(kept.name)
            if not page.get("nextPageToken"):
                return sorted(found)
            asked["pageToken"] = page["nextPageToken"]

    def inventory(self, place: Place, name: str) -> list[str]:
        """Return the endpoint, what is deployed to it, and the model's versions."""
        endpoint, found = Endpoint(place=place, name=name), []
        standing = endpoint.read()
        if standing is not None:
            found.append(f"endpoint/{endpoint.id}")
            found += [f"deployed-model/{one}" for one in sorted(deployed(standing))]
        return [*found, *(f"model/{one}" for one in Models(place=place, name=name).versions())]

    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the containers wrote; while a revision is on trial, those of this one."""
        chosen = (
            'resource.type="aiplatform.googleapis.com/Endpoint" '
            f'AND resource.labels.endpoint_id="{resource_id(standing.kept.name)}" '
            f'AND resource.labels.location="{place.google.region}"'
        )
        if standing.kept.trial is not None:
            chosen += f' AND labels.deployed_model_id="{standing.kept.trial.unit}"'
        return log_lines(place.google, chosen, follow=follow, tail=tail)

    def verify(self, place: Place, standing: Standing, status: Status) -> tuple[str, ...] | None:
        """Ask the endpoint an instance, where the new revision has calls already."""
        trial = standing.kept.trial
        if trial is not None and not split_of(standing).get(trial.unit):
            return ("it is asked once it has a share of the calls",)
        return Endpoint(place=place, name=standing.kept.name).ask(status.bundle or "")

    def fetch(
        self, place: Place, url: str, *, body: bytes | None, timeout_s: float
    ) -> Answer | None:
        """Answer for the health route, which Google alone asks; raises OSError."""
        if body is not None:
            path = url.partition("/v1/")[2]
            return place.google.ask("aiplatform", f"v1/{path}", body, timeout_s)
        return Answer(200, b"{}") if url.endswith("/readyz") else Answer(404, b"{}")

    # What is done.

    def bring(self, place: Place, entry: Entry, journal: Journal, progress: Progress) -> None:
        """Upload the version and deploy it beside the former one; raises DeployError."""
        wanted, name = place.wanted_of(entry), entry.spec.name
        endpoint, models = Endpoint(place=place, name=name), Models(place=place, name=name)
        body = vertex_body.model(wanted, entry.image)
        journal.step(f"create/endpoint/{wanted.id}", lambda: endpoint.create(wanted))
        with progress.step("wait for what is under way at the endpoint"):
            endpoint.rest()
        standing = endpoint.again()
        entry = replace(entry, unit=vertex_body.unit_of(wanted, body))
        kept = standing.kept.trying(entry, split_of(standing))
        change: dict[str, Any] = {"description": kept.text()}
        if kept.shares and set(kept.shares) <= set(deployed(standing)):
            change["trafficSplit"] = dict(kept.shares)  # of a trial that was given up
        journal.step(f"note/endpoint/{wanted.id}", lambda: endpoint.patch(standing, change))
        if entry.unit in deployed(standing):
            return
        with progress.step("upload the version of the model"):
            version = journal.step(
                f"upload/model/{wanted.id}", lambda: {"name": models.ensure(body)}
            )
        made = vertex_body.deployed(wanted, str((version or {})["name"]), entry.unit)
        share = {} if kept.shares else {"trafficSplit": {"0": 100}}
        with progress.step("deploy it to machines of its own"):
            journal.step(
                f"deploy/model/{entry.unit}",
                lambda: endpoint.deploy(wanted, {"deployedModel": made, **share}),
            )

    def settle(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Give the revision on trial its share, ask it, then all calls; raises DeployError."""
        kept = standing.kept
        endpoint = Endpoint(place=place, name=kept.name)
        if kept.trial is not None:
            wanted, unit = place.wanted_of(kept.trial), kept.trial.unit
            percent, seconds = wanted.settings.canary_percent, wanted.settings.bake_s
            former = None if kept.settled is None else kept.settled.unit
            split = {unit: 100}
            endpoint.rest()
            endpoint.scale(standing, wanted, unit)
            if former not in (None, unit):
                if percent is not None:
                    split = {unit: percent, str(former): 100 - percent}
                endpoint.patch(endpoint.again(), {"trafficSplit": split})
                with progress.step(f"ask it while it has {split[unit]} in 100 calls"):
                    _bake(endpoint, kept.trial.spec.bundle, seconds or 0.0)
                if seconds is not None:
                    split = {unit: 100}
            change = {"description": kept.healthy().text(), "trafficSplit": split}
            endpoint.patch(endpoint.again(), change)
        _tidy(endpoint)

    def revert(self, place: Place, standing: Standing) -> None:
        """Let the calls go as they went before the trial; safe to repeat."""
        kept = standing.kept
        endpoint = Endpoint(place=place, name=kept.name)
        if kept.trial is None:
            return
        if kept.settled is None:
            self.remove(place, kept.name)
            return
        endpoint.rest()
        standing = endpoint.again()
        split = dict(kept.shares) or {kept.settled.unit: 100}
        endpoint.patch(standing, {"description": kept.back().text(), "trafficSplit": split})
        endpoint.scale(standing, place.wanted_of(kept.settled), kept.settled.unit)
        _tidy(endpoint)

    def remove(self, place: Place, name: str) -> bool:
        """Undeploy all, delete the endpoint, then the model."""
        was_there = Endpoint(place=place, name=name).remove()
        return Models(place=place, name=name).remove() or was_there


def _bake(endpoint: Endpoint, bundle: str, seconds: float) -> None:
    """Ask for so long, once at least; raises DeployError as soon as an answer is a failure."""
    clock = endpoint.place.google.clock
    deadline = clock.now() + seconds
    while True:
        endpoint.ask(bundle)
        left = deadline - clock.now()
        if left <= 0:
            return
        clock.sleep(min(_EVERY_S, left))


def _tidy(endpoint: Endpoint) -> None:
    """Undeploy what has no calls and is not on trial; drop versions that nobody goes back to."""
    standing = endpoint.read()
    if standing is None:
        return
    place, kept = endpoint.place, standing.kept
    trial = [kept.trial] if kept.trial else []
    needed = {*split_of(standing), *(one.unit for one in trial)}
    idle = [one for one in deployed(standing) if one not in needed]
    if idle:
        endpoint.rest()
    for unit in idle:
        endpoint.undeploy(unit, {})
    bodies = [
        vertex_body.model(place.wanted_of(entry), entry.image) for entry in (*kept.entries, *trial)
    ]
    aliases = {vertex_body.alias_of(body) for body in bodies}
    Models(place=place, name=endpoint.name).keep(aliases)


def _facts(one: Mapping[str, Any], wanted: Wanted, *, is_trial: bool) -> dict[str, Fact]:
    """Return what runs, for what was asked for; the numbers of a trial are set when it settles."""
    settings, resources = wanted.settings, one.get("dedicatedResources") or {}
    facts: dict[str, Fact] = {}
    fewest, most = (resources.get(key) for key in REPLICAS)
    if not is_trial and fewest != settings.min_replicas:
        facts["min_replicas"] = fewest
    if not is_trial and settings.max_replicas is not None and most != settings.max_replicas:
        facts["max_replicas"] = most
    machine = (resources.get("machineSpec") or {}).get("machineType")
    if settings.instance is not None and machine not in (None, machine_for(settings).type):
        facts["instance"] = machine
    return facts
