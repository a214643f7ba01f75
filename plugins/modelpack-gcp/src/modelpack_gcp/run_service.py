"""One service of Cloud Run and its revisions: the calls, each safe to repeat.

    read ─► Standing     create, patch ─► waited for     await_ready ─► ready, or why not
    unit_for(template) ─► name of its revision, and whether it is there     tidy ─► old ones go

A patch names the etag that was read: Cloud Run refuses it when somebody else was faster.  Source: Cloud
Run Admin API v2, ``services`` and ``services.revisions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import Entry, State
from modelpack.errors import DeployError, NotFoundError
from modelpack_gcp import run_body
from modelpack_gcp.kept import Kept
from modelpack_gcp.modes import Place, Standing
from modelpack_gcp.refusals import AlreadyThereError, NotNowError
from modelpack_gcp.wanted import Wanted, refuse_foreign, resource_id

API = "run.projects.locations.services"
_CHANGE_S = 900.0
_POLL_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunService:
    """The service of a deployment."""

    place: Place
    name: str
    """Of the deployment."""

    @property
    def id(self) -> str:
        """Name of the service."""
        return resource_id(self.name)

    @property
    def full(self) -> str:
        """Name of the service with project and region."""
        return f"{self.place.parent}/services/{self.id}"

    def read(self) -> Standing | None:
        """Return what stands, None for nothing; raises ConflictError for what is not ours."""
        try:
            body = self._call("get", f"read the service '{self.id}'", name=self.full)
        except NotFoundError:
            return None
        if body.get("deleteTime"):
            return None
        what = f"service '{self.id}'"
        refuse_foreign(what, self.name, body.get("labels"), self.place.target)
        kept = Kept.read((body.get("annotations") or {}).get(run_body.KEPT))
        return Standing(body=body, kept=kept or Kept(name=self.name, target=self.place.target))

    def again(self) -> Standing:
        """Return what stands now; raises DeployError when it is gone."""
        standing = self.read()
        if standing is None:
            raise DeployError(f"the service '{self.id}' is gone")
        return standing

    def create(self, wanted: Wanted, entry: Entry, kept: Kept) -> None:
        """Make the service with its first revision, and wait for it; raises DeployError."""
        what = f"make the service '{self.id}'"
        body = run_body.first(wanted, entry.image, unit=entry.unit, kept=kept.text())
        try:
            operation = self._call(
                "create", what, body, parent=self.place.parent, serviceId=self.id
            )
        except AlreadyThereError:
            if self.read() is None:
                raise
            return  # of an apply whose answer was lost
        self._finish(operation, what)

    def patch(self, standing: Standing, change: Mapping[str, Any]) -> None:
        """Change the service as it was read; raises ConflictError when somebody was faster."""
        what = f"change the service '{self.id}'"
        body = {**change, "etag": standing.etag}
        if "annotations" in change:
            body["annotations"] = {
                **(standing.body.get("annotations") or {}),
                **change["annotations"],
            }
        mask = ",".join(sorted(change))
        operation = self._call("patch", what, body, name=self.full, updateMask=mask)
        try:
            self._finish(operation, what)
        except DeployError:
            # A service whose newest revision has failed may stay so, wherever its calls go.
            if "template" in change or not _goes(self.again(), change["traffic"]):
                raise

    def allow(self, policy: Mapping[str, Any]) -> None:
        """Set who may call it."""
        what = f"let callers invoke the service '{self.id}'"
        self._call("setIamPolicy", what, policy, resource=self.full)

    def await_ready(self, unit: str) -> None:
        """Wait until a revision is ready; raises DeployError with Cloud Run's reason."""
        clock = self.place.google.clock
        deadline = clock.now() + _CHANGE_S
        while True:
            revision = self.revision(unit)
            conditions = None if revision is None else revision.get("conditions")
            state, why = run_body.state_of(conditions)
            if state is State.RUNNING:
                return
            if state is State.FAILED or clock.now() >= deadline:
                raise DeployError(
                    f"the revision '{unit}' does not become ready: {why or 'no reason given'}",
                    hint="see 'modelpack deployments logs', or the console of Cloud Run",
                )
            clock.sleep(_POLL_S)

    def unit_for(self, wanted: Wanted, template: Mapping[str, Any]) -> tuple[str, bool]:
        """Return the name of a template's revision, and whether it is there; never a failed one."""
        for attempt in range(100):
            unit = run_body.unit_of(wanted, template, attempt)
            revision = self.revision(unit)
            if revision is None:
                return unit, False
            if run_body.state_of(revision.get("conditions"))[0] is not State.FAILED:
                return unit, True
        raise DeployError(f"the same revision of '{self.name}' has failed a hundred times")

    def revision(self, unit: str) -> Mapping[str, Any] | None:
        """Return a revision as Cloud Run describes it, None when it is not there."""
        what = f"read the revision '{unit}'"
        try:
            return self._call("revisions.get", what, name=f"{self.full}/revisions/{unit}")
        except NotFoundError:
            return None

    def revisions(self) -> list[Mapping[str, Any]]:
        """Return all revisions."""
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = {"parent": self.full}
        while True:
            page = self._call("revisions.list", "list the revisions", **asked)
            found += [one for one in page.get("revisions") or () if not one.get("deleteTime")]
            if not page.get("nextPageToken"):
                return found
            asked["pageToken"] = page["nextPageToken"]

    def tidy(self) -> None:
        """Delete revisions that are neither called nor in the history; what cannot go goes later."""
        standing = self.read()
        if standing is None:
            return
        needed = standing.kept.units | set(shares(standing))
        for one in self.revisions():
            if short(one["name"]) not in needed:
                what = f"delete the revision '{short(one['name'])}'"
                with suppress(NotFoundError, NotNowError):
                    self._finish(self._call("revisions.delete", what, name=one["name"]), what)

    def remove(self) -> bool:
        """Delete the service with its revisions; returns whether there was one."""
        if self.read() is None:
            return False
        what = f"delete the service '{self.id}'"
        with suppress(NotFoundError):
            self._finish(self._call("delete", what, name=self.full), what)
        return True

    def _call(self, method: str, what: str, body: Any = None, **parameters: Any) -> dict[str, Any]:
        return self.place.google.call(f"{API}.{method}", what, body, **parameters)

    def _finish(self, operation: Mapping[str, Any], what: str) -> None:
        self.place.google.finish("run", operation, what, _CHANGE_S)


def short(name: str) -> str:
    """Return the last word of a name."""
    return str(name).rpartition("/")[2]


def shares(standing: Standing) -> dict[str, int]:
    """Return percent of the calls by revision, without those that get none."""
    rows = standing.body.get("traffic") or ()
    return {short(one["revision"]): int(one["percent"]) for one in rows if one.get("percent")}


def _goes(standing: Standing, traffic: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the calls go, by what Cloud Run observes, as they were to."""
    rows = standing.body.get("trafficStatuses") or ()
    seen = {short(one.get("revision", "")): one["percent"] for one in rows if one.get("percent")}
    return seen == {one["revision"]: one["percent"] for one in traffic if one["percent"]}
