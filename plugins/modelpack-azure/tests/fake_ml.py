"""The online endpoints of the small Azure; its rules stand in ``fake_azure``, and these:

* An endpoint's calls are shared among deployments that are there, in sum 100, or nobody gets any; a copy
  of at most half of them goes to one deployment, which has no share.
* A deployment with calls is not deleted.  One whose image crashes fails and stays behind, failed.
* An environment version never gets another image; a deployment names one that is there.
* Scoring wants the endpoint's key; a header chooses the deployment.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from modelpack_azure.strict import problems

_PATH = re.compile(
    r"(?i)(?P<workspace>.*/Microsoft\.MachineLearningServices/workspaces/[^/]+)"
    r"/(?P<kind>onlineEndpoints|environments)(/(?P<name>[^/]+)(?P<rest>/.*)?)?$"
)
_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{1,30}[a-zA-Z0-9]")
_HOST = ".westeurope.inference.ml.azure.com"


class Endpoints:
    """Endpoints by name, with their deployments; environment versions by path."""

    def __init__(self, azure: Any) -> None:
        self.azure = azure
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, dict[str, Any]]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.busy: set[str] = set()
        self.moves: list[dict[str, int]] = []
        """Shares of the calls, each time they were changed."""
        self.copies: list[dict[str, int]] = []
        self.flaws: set[str] = set()
        """Deployments that fail once they get calls."""
        self.answers = 200
        """Status of every prediction."""
        self.scored: list[str] = []

    def names(self) -> list[str]:
        found = [one for group in self.deployments.values() for one in group]
        return [
            *(f"endpoint {name}" for name in self.endpoints),
            *(f"deployment {name}" for name in found),
        ]

    def takes(self, path: str) -> bool:
        return _PATH.match(path) is not None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        found = _PATH.match(path)
        assert found is not None
        name, words = found["name"], (found["rest"] or "").strip("/").split("/")
        if found["kind"].lower() == "environments":
            return self._version(method, path, body)
        if name is None:
            return 200, {}, {"value": [self._shown(one) for one in self.endpoints]}
        if name not in self.endpoints and method != "PUT":
            if method == "DELETE":
                return 204, {}, None
            raise Refused(404, "NotFound", f"no endpoint '{name}'")
        if words[0] == "deployments":
            return self._deployment(method, name, words[1:], body)
        if words == ["listKeys"]:
            return 200, {}, {"primaryKey": f"key of {name}", "secondaryKey": "s"}
        if method == "GET":
            return 200, {}, self._shown(name)
        if name in self.busy:
            raise Refused(409, "Conflict", "another operation is in progress")
        self.busy.add(name)
        if method == "DELETE":
            return 202, self.azure.operation(lambda: self._gone(name)), None
        try:
            self._check(name, body)
        except Refused:
            self.busy.discard(name)
            raise
        is_new = name not in self.endpoints
        if is_new:
            self.endpoints[name] = copy.deepcopy(body) | {"createdAt": self.azure.now()}
            self.deployments[name] = {}

        def end() -> None:
            self.busy.discard(name)
            created = self.endpoints[name]["createdAt"]
            self.endpoints[name] = copy.deepcopy(body) | {"createdAt": created}
            self._note(name)

        return 201 if is_new else 200, self.azure.operation(end), self._shown(name)

    def _check(self, name: str, body: Any) -> None:
        from .fake_azure import Refused

        if found := problems("OnlineEndpoint", body):
            raise Refused(400, "UserError", "; ".join(found))
        if not _NAME.fullmatch(name):
            raise Refused(400, "UserError", f"'{name}' is no name of an endpoint")
        there = self.deployments.get(name, {})
        traffic = body["properties"].get("traffic") or {}
        mirror = body["properties"].get("mirrorTraffic") or {}
        if not set(traffic) | set(mirror) <= set(there):
            raise Refused(400, "UserError", f"no such deployment among {sorted(traffic)}")
        if sum(traffic.values()) not in (0, 100):
            raise Refused(400, "UserError", "traffic must sum to 0 or 100")
        if len(mirror) > 1 or any(one > 50 or traffic.get(key) for key, one in mirror.items()):
            raise Refused(400, "UserError", "mirror traffic is at most 50, without live traffic")

    def _note(self, name: str) -> None:
        properties = self.endpoints[name]["properties"]
        shares = {key: one for key, one in (properties.get("traffic") or {}).items() if one}
        if self.moves[-1:] != [shares]:
            self.moves.append(shares)
        if properties.get("mirrorTraffic"):
            self.copies.append(properties["mirrorTraffic"])

    def _gone(self, name: str) -> None:
        self.busy.discard(name)
        self.endpoints.pop(name, None)
        self.deployments.pop(name, None)

    def _shown(self, name: str) -> Any:
        found = copy.deepcopy(self.endpoints[name])
        created = found.pop("createdAt")
        found["properties"]["provisioningState"] = "Updating" if name in self.busy else "Succeeded"
        found["properties"]["scoringUri"] = f"https://{name}{_HOST}/score"
        return {"name": name, **found, "systemData": {"createdAt": created}}

    def _deployment(
        self, method: str, name: str, words: list[str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        there = self.deployments[name]
        if not words:
            return 200, {}, {"value": [self._deployed(name, one) for one in there]}
        one = words[0]
        if method == "PUT":
            return self._deploy(name, one, body)
        if one not in there:
            if method == "DELETE":
                return 204, {}, None
            raise Refused(404, "NotFound", f"no deployment '{one}'")
        if words[1:] == ["getLogs"]:
            if found := problems("DeploymentLogsRequest", body):
                raise Refused(400, "UserError", "; ".join(found))
            lines = ["this is it", "asked for /readyz"][-body["tail"] :]
            return 200, {}, {"content": "\n".join(lines) + "\n"}
        if method == "GET":
            return 200, {}, self._deployed(name, one)
        if (self.endpoints[name]["properties"].get("traffic") or {}).get(one):
            raise Refused(409, "Conflict", "a deployment with traffic cannot be deleted")
        return 202, self.azure.operation(lambda: self._drop(name, one)), None

    def _drop(self, name: str, one: str) -> None:
        self.deployments[name].pop(one, None)

    def _deploy(self, name: str, one: str, body: Any) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        if found := problems("OnlineDeployment", body):
            raise Refused(400, "UserError", "; ".join(found))
        if not _NAME.fullmatch(one):
            raise Refused(400, "UserError", f"'{one}' is no name of a deployment")
        environment = self.versions.get(body["properties"]["environmentId"].lower())
        if environment is None:
            raise Refused(400, "UserError", "no such environment version")
        image = environment["properties"]["image"]
        identities = self.endpoints[name]["identity"]["userAssignedIdentities"]
        created = self.deployments[name].get(one, {}).get("createdAt") or self.azure.now()
        made = {**copy.deepcopy(body), "createdAt": created, "state": "Creating"}
        self.deployments[name][one] = made

        def end() -> str | None:
            problem = self.azure.pull_problem(image, identities)
            if body["properties"]["environmentVariables"].get("FAKE_MODE") == "crash":
                problem = problem or "error: it crashes"
            made["state"] = "Failed" if problem else "Succeeded"
            return problem

        return 201, self.azure.operation(end), self._deployed(name, one)

    def _deployed(self, name: str, one: str) -> Any:
        found = copy.deepcopy(self.deployments[name][one])
        created, state = found.pop("createdAt"), found.pop("state")
        properties = self.endpoints[name]["properties"]
        calls = {**(properties.get("traffic") or {}), **(properties.get("mirrorTraffic") or {})}
        if one in self.flaws and calls.get(one):
            state = "Failed"
        found["properties"]["provisioningState"] = state
        return {"name": one, **found, "systemData": {"createdAt": created}}

    def _version(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        key = path.lower()
        if key.endswith("/versions"):
            found = [
                {"name": other.rpartition("/")[2], **one}
                for other, one in self.versions.items()
                if other.startswith(f"{key}/")
            ]
            return (
                (200, {}, {"value": found}) if found else (404, {}, {"error": {"code": "NotFound"}})
            )
        if method == "DELETE":
            return (200 if self.versions.pop(key, None) else 204), {}, None
        if method == "GET":
            if key not in self.versions:
                raise Refused(404, "NotFound", "no such environment version")
            return 200, {}, {"id": path, **self.versions[key]}
        if found := problems("EnvironmentVersion", body):
            raise Refused(400, "UserError", "; ".join(found))
        known = self.versions.get(key)
        if known and known["properties"]["image"] != body["properties"]["image"]:
            raise Refused(409, "Conflict", "an environment version never changes")
        created = known["systemData"] if known else {"createdAt": self.azure.now()}
        self.versions[key] = {**copy.deepcopy(body), "systemData": created}
        return (200 if known else 201), {}, {"id": path, **self.versions[key]}

    def served(
        self, method: str, host: str, parts: Any, headers: Any, data: bytes
    ) -> tuple[int, dict[str, str], Any] | None:
        """Answer a prediction."""
        name = host.removesuffix(_HOST)
        if name == host or name not in self.endpoints:
            return None
        assert (method, parts.path) == ("POST", "/score")
        if headers["Authorization"] != f"Bearer key of {name}":
            return 401, {}, {}
        chosen = headers["azureml-model-deployment"]
        assert chosen in self.deployments[name]
        self.scored.append(chosen)
        return self.answers, {}, {}
