"""Deployments on Cloud Run: one service each, a revision of it for each of ours.

    bring    create, or patch: a revision beside the former, without calls, at an address of its own
    settle   patch: its share, watched (canary), then all calls; old revisions go
    revert   patch: the calls as they went before; the revision on trial goes

What is remembered stands in an annotation and changes in the same patch as the calls' way, which names
the etag that was read: two who deploy at once do not mix.  A revision that is there already (a
rollback, another number of replicas) is not made again.  Cloud Run's own word that a revision is ready
is its start-up probe's, which asks ``/readyz``; where the service can be reached, the common probe asks
the new revision at its own address too.

Sources: Cloud Run Admin API v2 (``services``, ``services.revisions``); "Rollbacks, gradual rollouts, and
traffic migration"; Cloud Logging, "Monitored resource types" (``cloud_run_revision``).
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
from modelpack.deploy.probe import fetch
from modelpack_gcp import run_body, run_notes
from modelpack_gcp.baking import bake
from modelpack_gcp.identity import with_identity
from modelpack_gcp.kept import Kept
from modelpack_gcp.loglines import log_lines
from modelpack_gcp.modes import COMMON, Mode, Place, Request, Standing
from modelpack_gcp.run_service import API, RunService, shares, short
from modelpack_gcp.sizes import run_size
from modelpack_gcp.wanted import TARGET_LABEL, Wanted, resource_id

_PROBES = {"/readyz": "/health/ready", "/livez": "/health/live"}
"""Paths that Cloud Run keeps for itself, and what stands for them: "Known issues", reserved paths."""


class CloudRunMode(Mode):
    """One service of Cloud Run."""

    word: ClassVar[str] = "cloud-run"
    title: ClassVar[str] = "Cloud Run"
    options: ClassVar[Mapping[str, str]] = run_body.OPTIONS
    heeds: ClassVar[frozenset[str]] = COMMON | {
        "in_flight",
        "public",
        "secrets",
        "security_groups",
        "subnets",
        "vpc",
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "allow": "Cloud Run has no list of networks; a load balancer with Cloud Armor has",
        "cooldown_down_s": "Cloud Run itself decides when an instance has been idle long enough",
        "cooldown_up_s": "Cloud Run itself decides how fast it grows",
        "idle_s": "Cloud Run itself decides when an instance has been idle long enough",
        "instance": "Cloud Run has no machine types; 'gcp-vertex' has",
    }
    schemes: ClassVar[tuple[str, ...]] = ("secretmanager",)

    # Before anything is done.

    def notes(self, wanted: Wanted) -> list[str]:
        """Return size, who reaches it, and what Cloud Run does otherwise; raises UsageError."""
        return run_notes.notes(wanted)

    def warnings(self, wanted: Wanted) -> list[str]:
        """Return what somebody may not have meant."""
        return run_notes.warnings(wanted)

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what the least number of replicas costs."""
        return run_notes.cost(wanted)

    def requests(self, parent: str, wanted: Wanted, image: str) -> list[Request]:
        """Return the service, and who may call it."""
        unit = run_body.unit_of(wanted, run_body.template(wanted, image))
        kept = Kept(name=wanted.name, target=wanted.target).text()
        found = [
            Request(
                file="service.json",
                method=f"{API}.create",
                parameters={"parent": parent, "serviceId": wanted.id},
                body=run_body.first(wanted, image, unit=unit, kept=kept),
            )
        ]
        if policy := run_body.policy(wanted):
            resource = f"{parent}/services/{wanted.id}"
            found.append(
                Request(
                    file="invokers.json",
                    method=f"{API}.setIamPolicy",
                    parameters={"resource": resource},
                    body=policy,
                )
            )
        return found

    def resources(self, wanted: Wanted) -> Sequence[str]:
        """Return the service, and the policy if there is one."""
        found = [f"service/{wanted.id}"]
        if run_body.policy(wanted):
            found.append(f"invokers/{wanted.id}")
        return found

    # What stands.

    def read(self, place: Place, name: str) -> Standing | None:
        """Return the service of a deployment."""
        return RunService(place=place, name=name).read()

    def look(self, place: Place, standing: Standing) -> Sight:
        """Return how the newest revision is."""
        now = standing.kept.now
        if now is None:
            return Sight(state=State.FAILED, detail="it does not say what it was made of")
        revision = RunService(place=place, name=standing.kept.name).revision(now.unit)
        if revision is None:
            return Sight(state=State.FAILED, detail=f"the revision '{now.unit}' is gone")
        state, detail = run_body.state_of(revision.get("conditions"))
        wanted = place.wanted_of(now)
        is_open = run_body.way_in(wanted) == "all"
        url, can_be_asked = _address(standing), is_open or wanted.flag("inside")
        said = [] if detail is None else [detail]
        if standing.kept.trial is None and (share := standing.kept.share(shares(standing))):
            said.append(share)
        if url is not None and not can_be_asked and detail is None:
            said.append(f"it answers inside its network at {url}")
        return Sight(
            state=state,
            detail="; ".join(said) or None,
            url=url if can_be_asked else None,
            since=moment(revision.get("createTime")),
            facts=_facts(standing, revision, wanted),
        )

    def names(self, place: Place) -> list[str]:
        """Return the names of all services that the target made in the region."""
        found: list[str] = []
        asked: dict[str, Any] = {"parent": place.parent}
        while True:
            page = place.google.call(f"{API}.list", "list the services", **asked)
            for one in page.get("services") or ():
                if (one.get("labels") or {}).get(TARGET_LABEL) == place.target:
                    kept = Kept.read((one.get("annotations") or {}).get(run_body.KEPT))
                    found += [kept.name] if kept is not None else []
            if not page.get("nextPageToken"):
                return sorted(found)
            asked["pageToken"] = page["nextPageToken"]

    def inventory(self, place: Place, name: str) -> list[str]:
        """Return the service and its revisions."""
        service = RunService(place=place, name=name)
        if service.read() is None:
            return []
        revisions = sorted(short(one["name"]) for one in service.revisions())
        return [f"service/{service.id}", *(f"revision/{one}" for one in revisions)]

    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the containers wrote; while a revision is on trial, those of this one."""
        chosen = _of_the_log(place, standing.kept.name, "stdout", "stderr")
        if standing.kept.trial is not None:
            chosen += f' AND resource.labels.revision_name="{standing.kept.trial.unit}"'
        return log_lines(place.google, chosen, follow=follow, tail=tail)

    def verify(self, place: Place, standing: Standing, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """Take Cloud Run's own word where gRPC is spoken, which the common probe does not."""
        now = standing.kept.now
        if now is None or not place.wanted_of(now).flag("grpc"):
            return None
        return (
            "it speaks gRPC: Cloud Run's own probe has asked grpc.health.v1.Health, and no more",
        )

    def fetch(
        self, place: Place, url: str, *, body: bytes | None, timeout_s: float
    ) -> Answer | None:
        """Ask by a path that reaches the container, as somebody who may; raises OSError."""
        for path, instead in _PROBES.items():
            if url.endswith(path):
                url = url.removesuffix(path) + instead
        if place.google.endpoint is not None:
            return fetch(url, body=body, timeout_s=timeout_s)
        return with_identity(place.google, url, body=body, timeout_s=timeout_s)

    # What is done.

    def bring(self, place: Place, entry: Entry, journal: Journal, progress: Progress) -> None:
        """Start the revision and wait until Cloud Run says that it is ready; raises DeployError."""
        wanted = place.wanted_of(entry)
        service = RunService(place=place, name=wanted.name)
        template = run_body.template(wanted, entry.image)
        standing = service.read()
        unit, is_there = service.unit_for(wanted, template)
        entry = replace(entry, unit=unit)
        if standing is None:
            first = Kept(name=wanted.name, target=place.target).trying(entry, {})
            with progress.step(f"make the service '{wanted.id}'"):
                journal.step(
                    f"create/service/{wanted.id}", lambda: service.create(wanted, entry, first)
                )
        else:
            former, kept = standing, standing.kept.trying(entry, shares(standing))
            split = kept.shares or {unit: 100}
            change: dict[str, Any] = {
                "annotations": {run_body.KEPT: kept.text()},
                "traffic": run_body.traffic(split, None if split.get(unit) == 100 else unit),
            }
            if not is_there:
                change["template"] = {**template, "revision": unit}
            how = "take" if is_there else "start"
            with progress.step(f"{how} the revision '{unit}'"):
                journal.step(f"start/revision/{unit}", lambda: service.patch(former, change))
        service.await_ready(unit)

    def settle(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Give the revision on trial its share, watch it, then all calls; raises DeployError."""
        kept = standing.kept
        service = RunService(place=place, name=kept.name)
        if kept.trial is not None:
            wanted, unit = place.wanted_of(kept.trial), kept.trial.unit
            split = {unit: 100}
            percent, seconds = wanted.settings.canary_percent, wanted.settings.bake_s
            former = None if kept.settled is None else kept.settled.unit
            if percent is not None and former not in (None, unit):
                split = {unit: percent, str(former): 100 - percent}
                if seconds is not None:
                    service.patch(standing, {"traffic": run_body.traffic(split, unit)})
                    with progress.step(f"watch {percent} in 100 calls of '{unit}'"):
                        chosen = _of_the_log(place, kept.name, "requests")
                        chosen += f' AND resource.labels.revision_name="{unit}"'
                        bake(place.google, chosen, unit, seconds)
                    standing, split = service.again(), {unit: 100}
            if policy := run_body.policy(wanted):
                service.allow(policy)
            change = {
                **run_body.service_half(wanted),
                "annotations": {run_body.KEPT: kept.healthy().text()},
                "traffic": run_body.traffic(split),
            }
            service.patch(standing, change)
        service.tidy()

    def revert(self, place: Place, standing: Standing) -> None:
        """Let the calls go as they went before the trial; safe to repeat."""
        kept = standing.kept
        service = RunService(place=place, name=kept.name)
        if kept.trial is None:
            return
        if kept.settled is None:
            service.remove()
            return
        change = {
            **run_body.service_half(place.wanted_of(kept.settled)),
            "annotations": {run_body.KEPT: kept.back().text()},
            "traffic": run_body.traffic(kept.shares or {kept.settled.unit: 100}),
        }
        service.patch(standing, change)
        service.tidy()

    def remove(self, place: Place, name: str) -> bool:
        """Delete the service with its revisions."""
        return RunService(place=place, name=name).remove()


def _address(standing: Standing) -> str | None:
    """Return where the newest revision answers: on trial beside another, at an address of its own."""
    for one in standing.body.get("trafficStatuses") or ():
        if one.get("tag") == run_body.TAG and one.get("uri") and standing.kept.trial is not None:
            return str(one["uri"]).rstrip("/")
    uri = standing.body.get("uri")
    return str(uri).rstrip("/") if uri else None


def _facts(standing: Standing, revision: Mapping[str, Any], wanted: Wanted) -> dict[str, Fact]:
    """Return what runs, for what was asked for."""
    settings = wanted.settings
    container = (revision.get("containers") or [{}])[0]
    env = {one["name"]: one.get("value") for one in container.get("env") or ()}
    facts: dict[str, Fact] = {f"env.{name}": env.get(name) for name in settings.env}
    limits = (container.get("resources") or {}).get("limits") or {}
    size = run_size(settings)
    if settings.cpu is not None:
        said = limits.get("cpu")
        facts["cpu"] = settings.cpu if said == str(size.cpu) else said
    if settings.memory_bytes is not None:
        said = limits.get("memory")
        facts["memory_bytes"] = settings.memory_bytes if said == f"{size.memory_mib}Mi" else said
    if standing.kept.trial is None:
        way = run_body.word_of(standing.body.get("ingress"))
        if way != run_body.way_in(wanted):
            facts["option.ingress"] = way
        scaling = standing.body.get("scaling") or {}
        fewest = int(scaling.get("minInstanceCount") or 0)
        if fewest != settings.min_replicas:
            facts["min_replicas"] = fewest
        most = scaling.get("maxInstanceCount")
        if settings.max_replicas is not None and most != settings.max_replicas:
            facts["max_replicas"] = most
    return facts


def _of_the_log(place: Place, name: str, *logs: str) -> str:
    """Return a filter of Cloud Logging for logs of a service."""
    names = " OR ".join(
        f'logName="projects/{place.google.project}/logs/run.googleapis.com%2F{log}"' for log in logs
    )
    return (
        'resource.type="cloud_run_revision" '
        f'AND resource.labels.service_name="{resource_id(name)}" '
        f'AND resource.labels.location="{place.google.region}" AND ({names})'
    )
