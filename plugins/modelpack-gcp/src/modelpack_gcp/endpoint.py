"""One endpoint of Vertex AI and what is deployed to it: the calls, each safe to repeat.

    read ─► Standing     create, deploy, undeploy, scale ─► waited for     ask ─► notes, or DeployError

An endpoint does one thing at a time: ``rest`` waits for what is under way there, such as what a killed
apply has begun.  A patch names the etag that was read.  Source: Vertex AI API v1, ``endpoints``
(``deployModel``, ``undeployModel``, ``mutateDeployedModel``, ``rawPredict``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import apis_of
from modelpack.deploy.samples import default_api
from modelpack.errors import ConflictError, DeployError, NotFoundError
from modelpack_gcp import vertex_body
from modelpack_gcp.kept import Kept
from modelpack_gcp.modes import Place, Standing
from modelpack_gcp.refusals import AlreadyThereError
from modelpack_gcp.samples import instance
from modelpack_gcp.wanted import Wanted, refuse_foreign, resource_id

API = "aiplatform.projects.locations.endpoints"
ASKED_AT = ":rawPredict"
REPLICAS = ("minReplicaCount", "maxReplicaCount")

_CHANGE_S = 3600.0
_ASK_S = 60.0
_METRICS = "autoscalingMetricSpecs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The endpoint of a deployment."""

    place: Place
    name: str
    """Of the deployment."""

    @property
    def id(self) -> str:
        """Name of the endpoint."""
        return resource_id(self.name)

    @property
    def full(self) -> str:
        """Name of the endpoint with project and region."""
        return f"{self.place.parent}/endpoints/{self.id}"

    @property
    def url(self) -> str:
        """Where it answers."""
        google = self.place.google
        root = google.endpoint or f"https://{google.region}-aiplatform.googleapis.com"
        return f"{root.rstrip('/')}/v1/{self.full}{ASKED_AT}"

    def read(self) -> Standing | None:
        """Return what stands, None for nothing; raises ConflictError for what is not ours."""
        try:
            body = self._call("get", f"read the endpoint '{self.id}'", name=self.full)
        except NotFoundError:
            return None
        what = f"endpoint '{self.id}'"
        refuse_foreign(what, self.name, body.get("labels"), self.place.target)
        kept = Kept.read(body.get("description"))
        return Standing(body=body, kept=kept or Kept(name=self.name, target=self.place.target))

    def again(self) -> Standing:
        """Return what stands now; raises DeployError when it is gone."""
        standing = self.read()
        if standing is None:
            raise DeployError(f"the endpoint '{self.id}' is gone")
        return standing

    def create(self, wanted: Wanted) -> None:
        """Make the endpoint if it is not there."""
        if self.read() is not None:
            return
        what = f"make the endpoint '{self.id}'"
        kept = Kept(name=self.name, target=self.place.target)
        body = vertex_body.endpoint(wanted, kept.text())
        with suppress(AlreadyThereError):  # of an apply whose answer was lost
            operation = self._call(
                "create", what, body, parent=self.place.parent, endpointId=self.id
            )
            self._finish(operation, what)

    def patch(self, standing: Standing, change: Mapping[str, Any]) -> None:
        """Change the endpoint as it was read; raises ConflictError when somebody was faster."""
        what = f"change the endpoint '{self.id}'"
        body = {**change, "etag": standing.etag}
        self._call("patch", what, body, name=self.full, updateMask=",".join(sorted(change)))

    def deploy(self, wanted: Wanted, body: Mapping[str, Any]) -> None:
        """Deploy a version, and wait until its machines answer; raises DeployError."""
        what = f"deploy to the endpoint '{self.id}'"
        operation = self._call("deployModel", what, dict(body), endpoint=self.full)
        limit_s = vertex_body.deployment_s(wanted) + 600.0
        self.place.google.finish("aiplatform", operation, what, limit_s)

    def undeploy(self, unit: str, more: Mapping[str, Any]) -> None:
        """Take a deployed model off the endpoint; one that is not there is no mistake."""
        what = f"take '{unit}' off the endpoint '{self.id}'"
        with suppress(NotFoundError):
            body = {"deployedModelId": unit, **more}
            self._finish(self._call("undeployModel", what, body, endpoint=self.full), what)

    def scale(self, standing: Standing, wanted: Wanted, unit: str) -> None:
        """Change the number of machines in place, where it is another one."""
        resources = vertex_body.replicas(wanted)
        one = deployed(standing).get(unit)
        found = {} if one is None else one.get("dedicatedResources") or {}
        masked = (*REPLICAS, _METRICS)
        if one is None or all(found.get(key) == resources.get(key) for key in masked):
            return
        what = f"change the number of machines of '{self.id}'"
        body = {
            "deployedModel": {"id": unit, "dedicatedResources": resources},
            "updateMask": ",".join(f"dedicatedResources.{key}" for key in masked),
        }
        self._finish(self._call("mutateDeployedModel", what, body, endpoint=self.full), what)

    def rest(self) -> None:
        """Wait for what is under way at the endpoint, however it ends."""
        what = "see what is under way at the endpoint"
        found = self._call("operations.list", what, name=self.full, filter="done=false")
        for one in found.get("operations") or ():
            if not one.get("done"):
                with suppress(DeployError, ConflictError, NotFoundError):
                    self._finish(one, "end what is under way at the endpoint")

    def ask(self, bundle: str) -> tuple[str, ...]:
        """Send an instance; returns what is to be noted, raises DeployError when the model fails."""
        api = default_api(apis_of(bundle))
        if api is None:
            return ("no request was made: the bundle is not in the store of this machine",)
        body = json.dumps({"instances": [instance(api)]}).encode()
        path = f"v1/{self.full}{ASKED_AT}"
        try:
            answer = self.place.google.ask("aiplatform", path, body, _ASK_S)
        except OSError as cause:
            raise DeployError(f"the endpoint '{self.id}' gives no answer: {cause}") from cause
        if answer.status >= 500:
            raise DeployError(
                f"the endpoint '{self.id}' answers an instance with HTTP {answer.status}",
                hint="see 'modelpack deployments logs'",
            )
        if answer.status >= 400:
            why = f"with HTTP {answer.status}"
            return (f"the endpoint refuses an instance made from the schema {why}",)
        return ()

    def remove(self) -> bool:
        """Undeploy all and delete the endpoint; returns whether there was one."""
        if self.read() is None:
            return False
        self.rest()
        for unit in deployed(self.again()):
            self.undeploy(unit, {"trafficSplit": {}})
        what = f"delete the endpoint '{self.id}'"
        with suppress(NotFoundError):
            self._finish(self._call("delete", what, name=self.full), what)
        return True

    def _call(self, method: str, what: str, body: Any = None, **parameters: Any) -> dict[str, Any]:
        return self.place.google.call(f"{API}.{method}", what, body, **parameters)

    def _finish(self, operation: Mapping[str, Any], what: str) -> None:
        self.place.google.finish("aiplatform", operation, what, _CHANGE_S)


def deployed(standing: Standing) -> dict[str, Mapping[str, Any]]:
    """Return the deployed models by their ids."""
    return {str(one["id"]): one for one in standing.body.get("deployedModels") or ()}


def split_of(standing: Standing) -> dict[str, int]:
    """Return percent of the calls by deployed model, without those that get none."""
    found = standing.body.get("trafficSplit") or {}
    return {str(unit): int(percent) for unit, percent in found.items() if percent}
