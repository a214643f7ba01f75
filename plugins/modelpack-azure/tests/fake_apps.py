"""The container apps of the small Azure; its rules stand in ``fake_azure``."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from modelpack_azure.strict import problems

EXAMPLE = {"content": {"application/json": {"example": {"x": [1.0]}}}}
_APP = re.compile(
    r"(?i).*/providers/Microsoft\.App/containerApps(/(?P<name>[^/]+)(?P<rest>/.*)?)?$"
)
_DOMAIN = "wise-sea.westeurope.azurecontainerapps.io"
_STREAMS = "westeurope.azurecontainerapps.dev"


def env_of(template: Any) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in template["containers"][0]["env"]}


def merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    return {**old, **{key: merged(old.get(key), one) for key, one in new.items()}}


class Apps:
    """Apps by name, with their revisions."""

    def __init__(self, azure: Any) -> None:
        self.azure = azure
        self.apps: dict[str, dict[str, Any]] = {}
        self.revisions: dict[str, dict[str, dict[str, Any]]] = {}
        self.busy: set[str] = set()
        self.moves: list[dict[str, int]] = []
        """Shares of the calls, each time they were changed."""
        self.flaws: dict[str, str] = {}
        """By revision: what it says of itself once it gets calls."""

    def names(self) -> list[str]:
        active = [
            revision
            for found in self.revisions.values()
            for revision, one in found.items()
            if one["active"]
        ]
        return [*(f"app {name}" for name in self.apps), *(f"revision {name}" for name in active)]

    def takes(self, path: str) -> bool:
        return _APP.match(path) is not None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        found = _APP.match(path)
        assert found is not None
        name, rest = found["name"], (found["rest"] or "")
        if name is None:
            return 200, {}, {"value": [self._shown(one) for one in self.apps]}
        if name not in self.apps and method != "PUT":
            if method == "DELETE":
                return 204, {}, None
            raise Refused(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        if rest:
            return self._below(method, name, rest.strip("/").split("/"))
        if method == "GET":
            return 200, {}, self._shown(name)
        if name in self.busy:
            raise Refused(409, "ContainerAppOperationInProgress", "another operation is under way")
        return {"PUT": self._put, "PATCH": self._patch, "DELETE": self._delete}[method](name, body)

    def _put(self, name: str, body: Any) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        if found := problems("ContainerApp", body):
            raise Refused(400, "InvalidRequestContent", "; ".join(found))
        if not re.fullmatch(r"[a-z](?!.*--)[a-z0-9-]{0,30}[a-z0-9]", name):
            raise Refused(400, "ContainerAppInvalidName", f"'{name}' is no name")
        self._refuse_bad(body)
        is_new = name not in self.apps
        template = body["properties"]["template"]
        revision = f"{name}--{template['revisionSuffix']}"
        shares = body["properties"]["configuration"]["ingress"]["traffic"]
        self._check_shares(name, shares, revision)
        first_by_name = is_new and not shares[0].get("latestRevision")
        self.apps[name] = copy.deepcopy(body)
        self.revisions.setdefault(name, {})
        self.busy.add(name)

        def end() -> str | None:
            self.busy.discard(name)
            if first_by_name:
                return (
                    f"Failed to provision revision for container app '{name}'. Operation expired."
                )
            if revision in self.revisions[name]:
                return None  # nothing happens, and nobody says so
            problem = self.azure.pull_problem(
                template["containers"][0]["image"], body["identity"]["userAssignedIdentities"]
            )
            self.revisions[name][revision] = {
                "createdTime": self.azure.now(),
                "fqdn": f"{revision}.{_DOMAIN}",
                "template": copy.deepcopy(template),
                "active": True,
                "looks": 0,
                "problem": problem,
            }
            self._note(name)
            return f"Failed to provision revision '{revision}': {problem}" if problem else None

        return 201 if is_new else 200, self.azure.operation(end), self._shown(name, "InProgress")

    def _refuse_bad(self, body: Any) -> None:
        from .fake_azure import ENVIRONMENT, Refused

        if body["properties"]["environmentId"].lower() != ENVIRONMENT.lower():
            raise Refused(400, "ManagedEnvironmentNotFound", "there is no such environment")
        container = body["properties"]["template"]["containers"][0]
        size = container["resources"]
        if (
            size["memory"] != f"{size['cpu'] * 2:g}Gi"
            and "workloadProfileName" not in body["properties"]
        ):
            raise Refused(400, "ContainerAppInvalidResourceTotal", f"not a pair: {size}")
        for probe in container["probes"]:
            if (
                not 1 <= probe.get("failureThreshold", 3) <= 10
                or not 1 <= probe["periodSeconds"] <= 240
            ):
                raise Refused(400, "ContainerAppProbeInvalid", f"not a probe: {probe}")
        names = {one["name"] for one in body["properties"]["configuration"]["secrets"]}
        used = {one["secretRef"] for one in container["env"] if "secretRef" in one}
        if not used <= names:
            raise Refused(400, "ContainerAppSecretRefNotFound", f"no secret {used - names}")

    def _check_shares(self, name: str, shares: Any, coming: str | None) -> None:
        from .fake_azure import Refused

        if sum(one["weight"] for one in shares) != 100:
            raise Refused(400, "InvalidTrafficWeight", "The traffic weights must sum to 100.")
        there = {key for key, one in self.revisions.get(name, {}).items() if one["active"]}
        for one in shares:
            wanted = one.get("revisionName")
            if wanted and wanted not in there | {coming}:
                raise Refused(400, "RevisionNotFound", f"'{wanted}' is not there or not active")

    def _patch(self, name: str, body: Any) -> tuple[int, dict[str, str], Any]:
        tags = body.get("tags", self.apps[name]["tags"])
        shares = body["properties"]["configuration"]["ingress"].get("traffic")
        if shares is not None:
            self._check_shares(name, shares, None)
        self.busy.add(name)

        def end() -> None:
            self.busy.discard(name)
            self.apps[name] = merged(self.apps[name], body) | {"tags": tags}
            self._note(name)

        return 202, self.azure.operation(end), self._shown(name, "InProgress")

    def _delete(self, name: str, _: Any) -> tuple[int, dict[str, str], Any]:
        self.busy.add(name)

        def end() -> None:
            self.busy.discard(name)
            self.apps.pop(name, None)
            self.revisions.pop(name, None)

        return 202, self.azure.operation(end), None

    def _below(self, method: str, name: str, words: list[str]) -> tuple[int, dict[str, str], Any]:
        from .fake_azure import Refused

        if words == ["getAuthToken"]:
            return 200, {}, {"properties": {"token": f"stream of {name}"}}
        revisions = self.revisions[name]
        if words == ["revisions"]:
            return 200, {}, {"value": [self._revision(name, one) for one in revisions]}
        one = revisions.get(words[1])
        if one is None:
            raise Refused(404, "RevisionNotFound", f"no revision '{words[1]}'")
        if words[2] == "replicas":
            return 200, {}, {"value": [self._replica(name, words[1])] if one["active"] else []}
        if words[2] == "deactivate" and self.shares(name).get(words[1]):
            raise Refused(400, "RevisionHasTraffic", "a revision with traffic stays active")
        one["active"] = words[2] == "activate"
        one["looks"] = 0
        return 200, {}, {}

    def shares(self, name: str) -> dict[str, int]:
        """Return who gets which share of the calls."""
        configuration = self.apps[name]["properties"]["configuration"]
        latest = list(self.revisions[name])[-1:]
        found: dict[str, int] = {}
        for one in configuration["ingress"]["traffic"]:
            revision = one.get("revisionName") or (latest[0] if latest else "")
            found[revision] = found.get(revision, 0) + one["weight"]
        return found

    def _note(self, name: str) -> None:
        shares = {key: one for key, one in self.shares(name).items() if one}
        if self.moves[-1:] != [shares]:
            self.moves.append(shares)

    def _shown(self, name: str, state: str = "Succeeded") -> Any:
        app = copy.deepcopy(self.apps[name])
        app["properties"]["provisioningState"] = "InProgress" if name in self.busy else state
        app["properties"]["configuration"]["ingress"]["fqdn"] = f"{name}.{_DOMAIN}"
        return {"id": name, "name": name, **app}

    def _revision(self, name: str, revision: str) -> Any:
        one = self.revisions[name][revision]
        one["looks"] += 1
        is_bad = one["problem"] or env_of(one["template"]).get("FAKE_MODE") == "crash"
        flaw = self.flaws.get(revision) if self.shares(name).get(revision) else None
        runs, health, made = "Running", "Healthy", "Provisioned"
        if one["looks"] < 2:
            runs, health = "Processing", "None"
        if is_bad:
            runs, health, made = "Failed", "Unhealthy", "Failed"
        if flaw:
            runs, health = "Degraded", "Unhealthy"
        if not one["active"]:
            runs, health = "Stopped", "None"
        properties = {
            **{key: one[key] for key in ("createdTime", "fqdn", "template", "active")},
            "runningState": runs,
            "healthState": health,
            "provisioningState": made,
            "trafficWeight": self.shares(name).get(revision, 0),
        }
        if is_bad or flaw:
            properties["provisioningError"] = one["problem"] or flaw or "error: it crashes"
        return {"name": revision, "properties": copy.deepcopy(properties)}

    def _replica(self, name: str, revision: str) -> Any:
        where = f"https://{_STREAMS}/{name}/revisions/{revision}/logstream"
        container = {"name": "service", "restartCount": 0, "logStreamEndpoint": where}
        return {"name": f"{revision}-x1", "properties": {"containers": [container]}}

    def served(
        self, method: str, host: str, parts: Any, headers: Any, data: bytes
    ) -> tuple[int, dict[str, str], Any] | None:
        """Answer for a log stream or a service of an app."""
        if host == _STREAMS:
            name = parts.path.split("/")[1]
            assert headers["Authorization"] == f"Bearer stream of {name}"
            assert "output=json" in parts.query
            lines = ["this is it", "asked for /readyz"]
            text = "".join(
                json.dumps({"TimeStamp": f"2026-01-01T00:00:0{number}", "Log": f"{line}\n"}) + "\n"
                for number, line in enumerate(lines)
            )
            return 200, {}, text.encode()
        word = host.removesuffix(f".{_DOMAIN}")
        if word == host:
            return None
        name = word.partition("--")[0]
        if name not in self.apps:
            return 404, {}, {}
        revision = word if "--" in word else max(self.shares(name).items(), key=lambda s: s[1])[0]
        one = self.revisions[name].get(revision)
        if one is None or not one["active"]:
            return 404, {}, {}
        if method == "POST":
            return 200, {}, {"doubled": [2]}
        version = env_of(one["template"])["MODELPACK_TAG"].partition(":")[2]
        info = {"title": "fake", "version": version}
        paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
        return 200, {}, {"openapi": "3.1.0", "info": info, "paths": paths}
