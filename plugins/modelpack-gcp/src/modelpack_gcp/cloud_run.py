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
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from modelpack.deploy import Answer, Cost, Fact, Journal, Progress, State
from modelpack.deploy.probe import fetch
from modelpack.errors import ConflictError, DeployError, NotFoundError
from modelpack_gcp import run_body
from modelpack_gcp.baking import bake
from modelpack_gcp.identity import with_identity
from modelpack_gcp.kept import Entry, Kept
from modelpack_gcp.loglines import log_lines
from modelpack_gcp.modes import COMMON, Mode, Place, Request, Sight, Standing
from modelpack_gcp.prices import cost_of
from modelpack_gcp.refusals import AlreadyThereError, NotNowError
from modelpack_gcp.sizes import run_size
from modelpack_gcp.wanted import NAME_LABEL, TARGET_LABEL, Wanted, resource_id

_API = "run.projects.locations.services"
_CHANGE_S = 900.0
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
        settings, size = wanted.settings, run_size(wanted.settings)
        found = [f"an instance has {size.describe()}"]
        if settings.ready_timeout_s > run_body.MOST_START_S:
            found.append(
                f"Cloud Run gives a revision {run_body.MOST_START_S} s to be ready, no more"
            )
        if not settings.public:
            found.append("it answers inside the project's network alone, to who may invoke it")
        if "service_account" not in wanted.options:
            found.append(
                "it runs as the default service account of Compute Engine; "
                "'--option service_account=EMAIL' gives it one with fewer rights"
            )
        return found

    def warnings(self, wanted: Wanted) -> list[str]:
        """Return what somebody may not have meant."""
        if wanted.settings.public and not run_body.invokers(wanted):
            return ["public without '--option invokers=…': anybody on the internet may call it"]
        return []

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what the least number of replicas costs."""
        by_instance = wanted.options.get("billing") == "instance"
        fewest = wanted.settings.min_replicas
        return cost_of(run_size(wanted.settings), fewest, by_instance=by_instance)

    def requests(self, parent: str, wanted: Wanted, image: str) -> list[Request]:
        """Return the service, and who may call it."""
        unit = run_body.unit_of(wanted, run_body.template(wanted, image))
        kept = Kept(name=wanted.name, target=wanted.target).text()
        found = [
            Request(
                file="service.json",
                method=f"{_API}.create",
                parameters={"parent": parent, "serviceId": wanted.id},
                body=run_body.first(wanted, image, unit=unit, kept=kept),
            )
        ]
        if policy := run_body.policy(wanted):
            resource = f"{parent}/services/{wanted.id}"
            found.append(
                Request(
                    file="invokers.json",
                    method=f"{_API}.setIamPolicy",
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
        what = f"read the service '{resource_id(name)}'"
        try:
            body = place.google.call(f"{_API}.get", what, name=_name(place, name))
        except NotFoundError:
            return None
        if body.get("deleteTime"):
            return None
        labels: Mapping[str, Any] = body.get("labels") or {}
        if labels.get(NAME_LABEL) != resource_id(name):
            raise ConflictError(
                f"the service '{resource_id(name)}' was not made by modelpack",
                hint="delete it, or give the deployment another '--name'",
            )
        if labels.get(TARGET_LABEL) != place.target:
            raise ConflictError(
                f"the deployment '{name}' stands at target '{labels.get(TARGET_LABEL)}'",
                hint=f"deploy to '{labels.get(TARGET_LABEL)}', or destroy it there first",
            )
        kept = Kept.read((body.get("annotations") or {}).get(run_body.KEPT))
        return Standing(body=body, kept=kept or Kept(name=name, target=place.target))

    def look(self, place: Place, standing: Standing) -> Sight:
        """Return how the newest revision is."""
        now = standing.kept.now
        if now is None:
            return Sight(state=State.FAILED, detail="it does not say what it was made of")
        revision = self._revision(place, standing.kept.name, now.unit)
        if revision is None:
            return Sight(state=State.FAILED, detail=f"the revision '{now.unit}' is gone")
        state, detail = run_body.state_of(revision.get("conditions"))
        wanted = place.wanted_of(now)
        can_be_asked = wanted.settings.public or wanted.flag("inside")
        return Sight(
            state=state,
            detail=detail,
            url=_address(standing) if can_be_asked else None,
            since=str(revision.get("createTime") or "") or None,
            facts=_facts(standing, revision, wanted),
        )

    def names(self, place: Place) -> list[str]:
        """Return the names of all services that the target made in the region."""
        found: list[str] = []
        asked: dict[str, Any] = {"parent": place.parent}
        while True:
            page = place.google.call(f"{_API}.list", "list the services", **asked)
            for one in page.get("services") or ():
                if (one.get("labels") or {}).get(TARGET_LABEL) == place.target:
                    kept = Kept.read((one.get("annotations") or {}).get(run_body.KEPT))
                    found += [kept.name] if kept is not None else []
            if not page.get("nextPageToken"):
                return sorted(found)
            asked["pageToken"] = page["nextPageToken"]

    def inventory(self, place: Place, name: str) -> list[str]:
        """Return the service and its revisions."""
        if self.read(place, name) is None:
            return []
        revisions = sorted(_short(one["name"]) for one in self._revisions(place, name))
        return [f"service/{resource_id(name)}", *(f"revision/{one}" for one in revisions)]

    def lines(
        self, place: Place, standing: Standing, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the containers wrote; while a revision is on trial, those of this one."""
        chosen = _of_the_log(place, standing.kept.name, "stdout", "stderr")
        if standing.kept.trial is not None:
            chosen += f' AND resource.labels.revision_name="{standing.kept.trial.unit}"'
        return log_lines(place.google, chosen, follow=follow, tail=tail)

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
        template = run_body.template(wanted, entry.image)
        standing = self.read(place, wanted.name)
        unit, is_there = self._unit_for(place, wanted, template)
        entry = replace(entry, unit=unit)
        if standing is None:
            kept = Kept(name=wanted.name, target=place.target).trying(entry, {})

            def create() -> None:
                self._create(place, wanted, entry, kept)

            with progress.step(f"make the service '{wanted.id}'"):
                journal.step(f"create/service/{wanted.id}", create)
        else:
            kept = standing.kept.trying(entry, _shares(standing))
            shares = kept.shares or {unit: 100}
            change: dict[str, Any] = {
                "annotations": {run_body.KEPT: kept.text()},
                "traffic": run_body.traffic(shares, None if unit in shares else unit),
            }
            if not is_there:
                change["template"] = {**template, "revision": unit}
            with progress.step(f"start the revision '{unit}'"):
                journal.step(f"start/revision/{unit}", lambda: self._patch(place, standing, change))
        self._await(place, wanted.name, unit)

    def settle(self, place: Place, standing: Standing, progress: Progress) -> None:
        """Give the revision on trial its share, watch it, then all calls; raises DeployError."""
        kept = standing.kept
        if kept.trial is not None:
            wanted, unit = place.wanted_of(kept.trial), kept.trial.unit
            percent = wanted.settings.canary_percent
            former = None if kept.settled is None else kept.settled.unit
            shares = {unit: 100}
            if percent is not None and former is not None and former != unit:
                shares = {unit: percent, former: 100 - percent}
                if wanted.settings.bake_s is not None:
                    traffic = run_body.traffic(shares, unit)
                    self._patch(place, standing, {"traffic": traffic})
                    with progress.step(f"watch {percent} in 100 calls of '{unit}'"):
                        self._bake(place, kept.name, unit, wanted.settings.bake_s)
                    standing, shares = self._again(place, kept.name), {unit: 100}
            if policy := run_body.policy(wanted):
                place.google.call(
                    f"{_API}.setIamPolicy",
                    f"let callers invoke the service '{wanted.id}'",
                    policy,
                    resource=_name(place, kept.name),
                )
            change = {
                **run_body.service_half(wanted),
                "annotations": {run_body.KEPT: kept.healthy().text()},
                "traffic": run_body.traffic(shares),
            }
            self._patch(place, standing, change)
        self._tidy(place, kept.name)

    def revert(self, place: Place, standing: Standing) -> None:
        """Let the calls go as they went before the trial; safe to repeat."""
        kept = standing.kept
        if kept.trial is None:
            return
        settled = kept.settled
        if settled is None:
            self.remove(place, kept.name)
            return
        change = {
            **run_body.service_half(place.wanted_of(settled)),
            "annotations": {run_body.KEPT: kept.back().text()},
            "traffic": run_body.traffic(kept.shares or {settled.unit: 100}),
        }
        self._patch(place, standing, change)
        self._tidy(place, kept.name)

    def remove(self, place: Place, name: str) -> bool:
        """Delete the service with its revisions."""
        if self.read(place, name) is None:
            return False
        what = f"delete the service '{resource_id(name)}'"
        with suppress(NotFoundError):
            operation = place.google.call(f"{_API}.delete", what, name=_name(place, name))
            place.google.finish("run", operation, what, _CHANGE_S)
        return True

    # How.

    def _create(self, place: Place, wanted: Wanted, entry: Entry, kept: Kept) -> None:
        what = f"make the service '{wanted.id}'"
        body = run_body.first(wanted, entry.image, unit=entry.unit, kept=kept.text())
        try:
            operation = place.google.call(
                f"{_API}.create", what, body, parent=place.parent, serviceId=wanted.id
            )
        except AlreadyThereError:
            if self.read(place, wanted.name) is None:
                raise
            return  # of an apply whose answer was lost
        place.google.finish("run", operation, what, _CHANGE_S)

    def _patch(self, place: Place, standing: Standing, change: Mapping[str, Any]) -> None:
        """Change the service as it was read; raises ConflictError when somebody was faster."""
        name = standing.kept.name
        what = f"change the service '{resource_id(name)}'"
        body = {**change, "etag": standing.etag}
        if "annotations" in change:
            body["annotations"] = {
                **(standing.body.get("annotations") or {}),
                **change["annotations"],
            }
        operation = place.google.call(
            f"{_API}.patch", what, body, name=_name(place, name), updateMask=_mask(change)
        )
        try:
            place.google.finish("run", operation, what, _CHANGE_S)
        except DeployError:
            # A service whose newest revision has failed may stay so, wherever its calls go.
            if "template" in change or not _goes(self._again(place, name), change["traffic"]):
                raise

    def _await(self, place: Place, name: str, unit: str) -> None:
        """Wait until a revision is ready; raises DeployError with Cloud Run's reason."""
        clock = place.google.clock
        deadline = clock.now() + _CHANGE_S
        while True:
            revision = self._revision(place, name, unit)
            conditions = None if revision is None else revision.get("conditions")
            state, why = run_body.state_of(conditions)
            if state is State.RUNNING:
                return
            if state is State.FAILED or clock.now() >= deadline:
                raise DeployError(
                    f"the revision '{unit}' does not become ready: {why or 'no reason given'}",
                    hint="see 'modelpack deployments logs', or the console of Cloud Run",
                )
            clock.sleep(2.0)

    def _bake(self, place: Place, name: str, unit: str, seconds: float) -> None:
        chosen = _of_the_log(place, name, "requests")
        bake(place.google, f'{chosen} AND resource.labels.revision_name="{unit}"', unit, seconds)

    def _unit_for(
        self, place: Place, wanted: Wanted, template: Mapping[str, Any]
    ) -> tuple[str, bool]:
        """Return the name of a template's revision, and whether it is there; never a failed one."""
        for attempt in range(100):
            unit = run_body.unit_of(wanted, template, attempt)
            revision = self._revision(place, wanted.name, unit)
            if revision is None:
                return unit, False
            if run_body.state_of(revision.get("conditions"))[0] is not State.FAILED:
                return unit, True
        raise DeployError(f"the same revision of '{wanted.name}' has failed a hundred times")

    def _tidy(self, place: Place, name: str) -> None:
        """Delete revisions that are neither called nor in the history; what cannot go goes later."""
        standing = self.read(place, name)
        if standing is None:
            return
        needed = standing.kept.units | set(_shares(standing))
        for one in self._revisions(place, name):
            if _short(one["name"]) in needed:
                continue
            what = f"delete the revision '{_short(one['name'])}'"
            with suppress(NotFoundError, NotNowError):
                operation = place.google.call(f"{_API}.revisions.delete", what, name=one["name"])
                place.google.finish("run", operation, what, _CHANGE_S)

    def _again(self, place: Place, name: str) -> Standing:
        standing = self.read(place, name)
        if standing is None:
            raise DeployError(f"the service '{resource_id(name)}' is gone")
        return standing

    def _revision(self, place: Place, name: str, unit: str) -> Mapping[str, Any] | None:
        try:
            return place.google.call(
                f"{_API}.revisions.get",
                f"read the revision '{unit}'",
                name=f"{_name(place, name)}/revisions/{unit}",
            )
        except NotFoundError:
            return None

    def _revisions(self, place: Place, name: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = {"parent": _name(place, name)}
        while True:
            page = place.google.call(f"{_API}.revisions.list", "list the revisions", **asked)
            found += [one for one in page.get("revisions") or () if not one.get("deleteTime")]
            if not page.get("nextPageToken"):
                return found
            asked["pageToken"] = page["nextPageToken"]


def _name(place: Place, name: str) -> str:
    return f"{place.parent}/services/{resource_id(name)}"


def _short(name: str) -> str:
    return str(name).rpartition("/")[2]


def _mask(change: Mapping[str, Any]) -> str:
    return ",".join(sorted(change))


def _goes(standing: Standing, traffic: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the calls go, by what Cloud Run observes, as they were to."""
    rows = standing.body.get("trafficStatuses") or ()
    seen = {_short(one.get("revision", "")): one["percent"] for one in rows if one.get("percent")}
    return seen == {one["revision"]: one["percent"] for one in traffic if one["percent"]}


def _shares(standing: Standing) -> dict[str, int]:
    """Return percent of the calls by revision, without those that get none."""
    rows = standing.body.get("traffic") or ()
    return {_short(one["revision"]): int(one["percent"]) for one in rows if one.get("percent")}


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
        ingress = standing.body.get("ingress")
        is_public = ingress == "INGRESS_TRAFFIC_ALL"
        if is_public != settings.public:
            facts["public"] = "yes" if is_public else "no"
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
