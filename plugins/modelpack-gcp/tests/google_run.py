"""Cloud Run of the small Google: services, their revisions, and where the calls go.

* A template that names its revision makes that revision; a name that is taken by other content gets
  409.  Without a template nothing new is made.
* Percents come to 100, and name revisions that are there or that are being made.
* A revision is ready, or failed, when the operation ends; what failed gets no calls, and its operation
  ends with the reason.  While the newest revision is failed, the service is not ready, and every
  operation on it says so, although calls go where they should.
* A revision that gets calls, has a tag, or is the newest is not deleted (400 FAILED_PRECONDITION).
* ``generation`` counts changes, ``observedGeneration`` those that are done; the etag goes with each.
* A service answers below ``/serve/NAME``, a tag below ``/serve/TAG---NAME``, paths that end in ``z`` get
  404, and what may not be reached from the internet gets 404 too, unless this machine is inside.
"""

from __future__ import annotations

import json
from typing import Any

from .fake_google import (
    PARENT,
    FakeGoogle,
    Json,
    Refusal,
    invalid,
    not_found,
    not_now,
    openapi,
    taken,
)

READY = {"type": "Ready", "state": "CONDITION_SUCCEEDED"}
WHY = "The user-provided container failed the configured startup probe checks. error: it crashes"


class FakeRun(FakeGoogle):
    """With services of Cloud Run."""

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[str, Json] = {}
        self.revisions: dict[str, Json] = {}
        self.policies: dict[str, Json] = {}
        self.moves: list[dict[str, int]] = []
        """Every distribution of calls that there was, oldest first."""
        self.is_inside = True

    def resources(self) -> list[str]:
        with self._lock:
            found = super().resources()
            found += [f"service {name.rpartition('/')[2]}" for name in self.services]
            found += [f"revision {name.rpartition('/')[2]}" for name in self.revisions]
            return sorted(found)

    # Services

    def run_projects_locations_services_create(
        self, parent: str, serviceId: str, body: Json
    ) -> Json:
        name = f"{parent}/services/{serviceId}"
        if name in self.services:
            raise taken(name)
        if len(serviceId) > 49:
            raise invalid("service_id: at most 49 characters")
        self.services[name] = {"name": name, "generation": "0", "createTime": self.now()}
        try:
            return self._change(name, body)
        except Refusal:
            del self.services[name]
            raise

    def run_projects_locations_services_get(self, name: str, **_: Any) -> Json:
        return self._service(name)

    def run_projects_locations_services_list(self, parent: str, **_: Any) -> Json:
        found = [one for one in self.services.values() if one["name"].startswith(parent)]
        return {"services": found}

    def run_projects_locations_services_patch(self, name: str, body: Json, updateMask: str) -> Json:
        service = self._service(name)
        if body.get("etag") not in (None, "", service["etag"]):
            raise Refusal(409, "ABORTED", "the etag is not the newest")
        masked = updateMask.split(",")
        unknown = [one for one in masked if one not in body]
        if unknown:
            raise invalid(f"update_mask: {unknown[0]} is not in the request")
        return self._change(name, {key: body[key] for key in masked})

    def run_projects_locations_services_delete(self, name: str, **_: Any) -> Json:
        self._service(name)

        def end() -> Json:
            self.services.pop(name, None)
            self.policies.pop(name, None)
            for one in [key for key in self.revisions if key.startswith(f"{name}/")]:
                del self.revisions[one]
            return {}

        return self.start(PARENT, end)

    def run_projects_locations_services_setIamPolicy(self, resource: str, body: Json) -> Json:
        self._service(resource)
        self.policies[resource] = body["policy"]
        return dict(body["policy"])

    def run_projects_locations_services_revisions_get(self, name: str, **_: Any) -> Json:
        if name not in self.revisions:
            raise not_found(name)
        return self.revisions[name]

    def run_projects_locations_services_revisions_list(self, parent: str, **_: Any) -> Json:
        below = [one for key, one in self.revisions.items() if key.startswith(f"{parent}/")]
        return {"revisions": below}

    def run_projects_locations_services_revisions_delete(self, name: str, **_: Any) -> Json:
        if name not in self.revisions:
            raise not_found(name)
        service = self._service(name.partition("/revisions/")[0])
        short = name.rpartition("/")[2]
        called = [one for one in service["traffic"] if one["revision"] == short]
        if called or service["latestCreatedRevision"] == name:
            raise not_now(f"Revision '{short}' is in use or is the newest")

        def end() -> Json:
            self.revisions.pop(name, None)
            return {}

        return self.start(PARENT, end)

    def _service(self, name: str) -> Json:
        if name not in self.services:
            raise not_found(name)
        return self.services[name]

    def _change(self, name: str, change: Json) -> Json:
        service = self.services[name]
        template = change.get("template")
        made = None if template is None else self._revision(name, template)
        self._check_traffic(name, change.get("traffic", []), made)
        if made is not None:
            service["latestCreatedRevision"] = made["name"]
            self.revisions[made["name"]] = made
        service |= change
        service["generation"] = str(int(service["generation"]) + 1)
        service["etag"] = f'"{service["generation"]}"'
        service["reconciling"] = True
        generation = service["generation"]

        def end() -> Json:
            for one in self.revisions.values():
                if one["name"].startswith(f"{name}/") and "conditions" not in one:
                    one["conditions"] = [self.condition(one)]
            if service["generation"] == generation and name in self.services:
                service["reconciling"] = False
                service["observedGeneration"] = generation
                self._observe(service)
            newest = self.revisions.get(service.get("latestCreatedRevision", ""))
            if newest is not None and newest["conditions"][0]["state"] != "CONDITION_SUCCEEDED":
                short = newest["name"].rpartition("/")[2]
                raise Refusal(400, "", f"Revision '{short}' is not ready. {WHY}")
            return service

        return self.start(PARENT, end)

    def _revision(self, name: str, template: Json) -> Json:
        short = template["revision"]
        if not short.startswith(name.rpartition("/")[2] + "-") or len(short) > 63:
            raise invalid(f"template.revision: '{short}' does not begin with the service's name")
        full = f"{name}/revisions/{short}"
        if full in self.revisions:
            raise taken(full)
        content = {key: value for key, value in template.items() if key != "revision"}
        return {**json.loads(json.dumps(content)), "name": full, "createTime": self.now()}

    def _check_traffic(self, name: str, traffic: list[Json], made: Json | None) -> None:
        if not traffic:
            return
        if sum(one.get("percent", 0) for one in traffic) != 100:
            raise invalid("traffic: percents do not come to 100")
        for one in traffic:
            full = f"{name}/revisions/{one['revision']}"
            if full not in self.revisions and (made is None or made["name"] != full):
                raise invalid(f"traffic: there is no revision '{one['revision']}'")

    def _observe(self, service: Json) -> None:
        """Let the calls go as they should, unless one of them would fail."""
        name, rows = service["name"], service["traffic"]
        called = [one for one in rows if one.get("percent")]
        states = [self.revisions[f"{name}/revisions/{one['revision']}"] for one in called]
        short = name.rpartition("/")[2]
        service["uri"] = f"{self.url}/serve/{short}"
        if all(one["conditions"][0]["state"] == "CONDITION_SUCCEEDED" for one in states):
            service["trafficStatuses"] = [
                {
                    **one,
                    **({"uri": f"{self.url}/serve/{one['tag']}---{short}"} if "tag" in one else {}),
                }
                for one in rows
            ]
            self.moves.append({one["revision"]: one["percent"] for one in called})

    # What answers

    def serve(self, verb: str, path: str, data: bytes) -> tuple[int, Any] | None:
        if not path.startswith("serve/"):
            return super().serve(verb, path, data)
        host, _, way = path.removeprefix("serve/").partition("/")
        tag, _, short = host.rpartition("---")
        service = self.services.get(f"{PARENT}/services/{short}")
        if service is None or way.endswith("z"):
            return 404, {}
        if service["ingress"] != "INGRESS_TRAFFIC_ALL" and not self.is_inside:
            return 404, {}
        rows = service.get("trafficStatuses", [])
        chosen = [one for one in rows if one.get("tag", "") == tag] if tag else rows
        if not chosen:
            return 404, {}
        row = max(chosen, key=lambda one: int(one.get("percent", 0)))
        revision = self.revisions[f"{service['name']}/revisions/{row['revision']}"]
        return self.respond(revision, verb, way, data)

    # What a revision is and does: here by its variables alone.

    def condition(self, revision: Json) -> Json:
        """Start a revision, and say how that ended."""
        if variables(revision["containers"][0]["env"]).get("FAKE_MODE") == "crash":
            return {"type": "Ready", "state": "CONDITION_FAILED", "message": WHY}
        return READY

    def respond(self, revision: Json, verb: str, way: str, _: bytes) -> tuple[int, Any]:
        """Answer as a revision."""
        return respond(variables(revision["containers"][0]["env"]), verb, way)


def respond(env: dict[str, str], verb: str, way: str) -> tuple[int, Any]:
    """Answer as a service of ours does."""
    if way == "health/ready":
        return 200, {"status": "ready"}
    if way == "openapi.json":
        return 200, openapi(env["MODELPACK_TAG"].partition(":")[2])
    if verb == "POST":
        return (500, {}) if env.get("FAKE_MODE") == "wrong" else (200, {"doubled": [2]})
    return 404, {}


def variables(env: list[Json]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in env}
