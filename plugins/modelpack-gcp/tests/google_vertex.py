"""Vertex AI of the small Google: models with versions, endpoints, and who gets the calls.

* An endpoint does one thing at a time: while an operation on it is under way, another one, and a patch,
  get 400 FAILED_PRECONDITION.
* A version is deployed only when it is there; its operation ends with an error when the container
  crashes, and nothing is deployed then.  ``trafficSplit`` names deployed models and comes to 100; "0" is
  the one that is being deployed; a model with calls is not undeployed, unless it is the last.
* Only the number of machines can be mutated.  An endpoint to which something is deployed is not deleted,
  nor is a version that is deployed, nor the only version of a model.
* An alias stands for one version; the first version of a model also has ``default``, which must not go.
* ``rawPredict`` is answered by the deployed model with the largest share.
"""

from __future__ import annotations

import json
from typing import Any

from .fake_google import FakeGoogle, Json, Refusal, invalid, not_found, not_now, taken
from .google_run import variables


class FakeVertex(FakeGoogle):
    """With models and endpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, Json] = {}
        self.models: dict[str, list[Json]] = {}
        """Versions by model, oldest first."""
        self.moves: list[dict[str, int]] = []
        """Every distribution of calls that there was, oldest first."""
        self.asked: list[str] = []
        """Versions that answered, in order."""

    def resources(self) -> list[str]:
        with self._lock:
            found = super().resources()
            for name, one in self.endpoints.items():
                found.append(f"endpoint {name.rpartition('/')[2]}")
                found += [f"deployed {each['id']}" for each in one["deployedModels"]]
            for name, versions in self.models.items():
                short = name.rpartition("/")[2]
                found += [f"version {short}@{one['versionId']}" for one in versions]
            return sorted(found)

    # Models

    def aiplatform_projects_locations_models_upload(self, parent: str, body: Json) -> Json:
        model = body["model"]
        name = body.get("parentModel") or f"{parent}/models/{body['modelId']}"
        if "parentModel" in body and name not in self.models:
            raise not_found(name)
        if "modelId" in body and name in self.models:
            raise taken(name)

        def end() -> Json:
            versions = self.models.setdefault(name, [])
            number = str(int(versions[-1]["versionId"]) + 1 if versions else 1)
            aliases = list(model.get("versionAliases", ()))
            for one in versions:
                one["versionAliases"] = [a for a in one["versionAliases"] if a not in aliases]
            aliases += [] if versions else ["default"]
            made = {**json.loads(json.dumps(model)), "name": name, "versionId": number}
            versions.append({**made, "versionAliases": aliases})
            return {"model": name, "modelVersionId": number}

        return self.start(name if name in self.models else parent, end)

    def aiplatform_projects_locations_models_get(self, name: str, **_: Any) -> Json:
        return self._version(name)

    def aiplatform_projects_locations_models_listVersions(self, name: str, **_: Any) -> Json:
        if name not in self.models:
            raise not_found(name)
        return {"models": self.models[name]}

    def aiplatform_projects_locations_models_deleteVersion(self, name: str, **_: Any) -> Json:
        version, versions = self._version(name), self.models[name.partition("@")[0]]
        if len(versions) == 1 or self._is_deployed(version):
            raise not_now("the version is deployed, or the only one")

        def end() -> Json:
            if version in versions:
                versions.remove(version)
                if "default" in version["versionAliases"]:
                    versions[-1]["versionAliases"].append("default")
            return {}

        return self.start(name.partition("@")[0], end)

    def aiplatform_projects_locations_models_delete(self, name: str, **_: Any) -> Json:
        self._version(name)
        if any(self._is_deployed(one) for one in self.models[name]):
            raise not_now("a version of the model is deployed")

        def end() -> Json:
            self.models.pop(name, None)
            return {}

        return self.start(name, end)

    def aiplatform_projects_locations_models_operations_list(self, name: str, **_: Any) -> Json:
        if name not in self.models:
            raise not_found(name)
        return self._under_way(name)

    def _version(self, name: str) -> Json:
        model, _, word = name.partition("@")
        for one in self.models.get(model, ()):
            if (word or "default") in (one["versionId"], *one["versionAliases"]):
                return one
        raise not_found(name)

    def _is_deployed(self, version: Json) -> bool:
        full = f"{version['name']}@{version['versionId']}"
        return any(
            full == one["model"] for end in self.endpoints.values() for one in end["deployedModels"]
        )

    # Endpoints

    def aiplatform_projects_locations_endpoints_create(
        self, parent: str, endpointId: str, body: Json
    ) -> Json:
        name = f"{parent}/endpoints/{endpointId}"
        if name in self.endpoints:
            raise taken(name)

        def end() -> Json:
            if name in self.endpoints:
                raise taken(name)
            made = {**body, "name": name, "deployedModels": [], "trafficSplit": {}, "etag": "1"}
            self.endpoints[name] = made
            return made

        return self.start(parent, end)

    def aiplatform_projects_locations_endpoints_get(self, name: str, **_: Any) -> Json:
        return self._endpoint(name)

    def aiplatform_projects_locations_endpoints_list(self, parent: str, **_: Any) -> Json:
        return {"endpoints": list(self.endpoints.values())}

    def aiplatform_projects_locations_endpoints_operations_list(self, name: str, **_: Any) -> Json:
        self._endpoint(name)
        return self._under_way(name)

    def aiplatform_projects_locations_endpoints_patch(
        self, name: str, body: Json, updateMask: str
    ) -> Json:
        one = self._endpoint(name)
        if body.get("etag") not in (None, "", one["etag"]):
            raise Refusal(409, "ABORTED", "the etag is not the newest")
        self._require_rest(name)
        allowed = {"description", "displayName", "labels", "trafficSplit"}
        masked = updateMask.split(",")
        if not set(masked) <= allowed or not set(masked) <= set(body):
            raise invalid(f"update_mask: {updateMask}")
        if "trafficSplit" in masked:
            self._share(one, body["trafficSplit"])
        self._touch(one, **{key: body[key] for key in masked})
        return one

    def aiplatform_projects_locations_endpoints_deployModel(
        self, endpoint: str, body: Json
    ) -> Json:
        one, model = self._endpoint(endpoint), body["deployedModel"]
        self._require_rest(endpoint)
        version = self._version(model["model"])
        if not (model["id"].isdigit() and 1 <= len(model["id"]) <= 10):
            raise invalid("deployed_model.id: 1 to 10 digits")
        if model["id"] in [each["id"] for each in one["deployedModels"]]:
            raise taken(model["id"])
        least = model["dedicatedResources"]["minReplicaCount"]
        if least < 1 or model["dedicatedResources"]["maxReplicaCount"] < least:
            raise invalid("dedicated_resources: one replica at least")

        def end() -> Json:
            self.begin(endpoint, model["id"], version)
            full = f"{version['name']}@{version['versionId']}"
            status = {"availableReplicaCount": least}
            made = {**model, "model": full, "createTime": self.now(), "status": status}
            one["deployedModels"].append(made)
            if split := body.get("trafficSplit"):
                self._share(
                    one, {model["id"] if key == "0" else key: v for key, v in split.items()}
                )
            self._touch(one)
            return {"deployedModel": made}

        return self.start(endpoint, end)

    def aiplatform_projects_locations_endpoints_undeployModel(
        self, endpoint: str, body: Json
    ) -> Json:
        one, unit = self._endpoint(endpoint), body["deployedModelId"]
        self._require_rest(endpoint)
        if unit not in [each["id"] for each in one["deployedModels"]]:
            raise not_found(unit)
        is_last = len(one["deployedModels"]) == 1
        if one["trafficSplit"].get(unit) and not (is_last or "trafficSplit" in body):
            raise not_now("the deployed model has traffic")

        def end() -> Json:
            one["deployedModels"] = [each for each in one["deployedModels"] if each["id"] != unit]
            one["trafficSplit"].pop(unit, None)
            self._touch(one)
            return {}

        return self.start(endpoint, end)

    def aiplatform_projects_locations_endpoints_mutateDeployedModel(
        self, endpoint: str, body: Json
    ) -> Json:
        one, change = self._endpoint(endpoint), body["deployedModel"]
        self._require_rest(endpoint)
        found = next(each for each in one["deployedModels"] if each["id"] == change["id"])
        allowed = {"minReplicaCount", "maxReplicaCount", "autoscalingMetricSpecs"}
        masked = [key.removeprefix("dedicatedResources.") for key in body["updateMask"].split(",")]
        if not set(masked) <= allowed:
            raise invalid(f"update_mask: {body['updateMask']}")

        def end() -> Json:
            for key in masked:
                found["dedicatedResources"].pop(key, None)
                if key in change["dedicatedResources"]:
                    found["dedicatedResources"][key] = change["dedicatedResources"][key]
            self._touch(one)
            return {}

        return self.start(endpoint, end)

    def aiplatform_projects_locations_endpoints_delete(self, name: str, **_: Any) -> Json:
        one = self._endpoint(name)
        self._require_rest(name)
        if one["deployedModels"]:
            raise not_now("the endpoint has deployed models")

        def end() -> Json:
            self.endpoints.pop(name, None)
            return {}

        return self.start(name, end)

    def serve(self, verb: str, path: str, data: bytes) -> tuple[int, Any] | None:
        if not path.endswith(":rawPredict"):
            return super().serve(verb, path, data)
        one = self.endpoints.get(path.removeprefix("v1/").removesuffix(":rawPredict"))
        if one is None or not one["trafficSplit"]:
            return 404, {}
        unit = max(one["trafficSplit"], key=lambda key: one["trafficSplit"][key])
        if "instances" not in json.loads(data):
            return 400, {}
        found = next(each for each in one["deployedModels"] if each["id"] == unit)
        return self.predict(unit, self._version(found["model"]), data)

    # What a version is and does: here by its variables alone.

    def begin(self, endpoint: str, unit: str, version: Json) -> None:
        """Start a version as a deployed model; raises Refusal for how it ends."""
        if variables(version["containerSpec"]["env"]).get("FAKE_MODE") == "crash":
            raise Refusal(400, "", "Model server never became ready. error: it crashes")

    def predict(self, unit: str, version: Json, _: bytes) -> tuple[int, Any]:
        """Answer as a deployed model."""
        env = variables(version["containerSpec"]["env"])
        self.asked.append(env["MODELPACK_TAG"])
        return (500, {}) if env.get("FAKE_MODE") == "wrong" else (200, {"predictions": [2]})

    def _endpoint(self, name: str) -> Json:
        if name not in self.endpoints:
            raise not_found(name)
        return self.endpoints[name]

    def _share(self, one: Json, split: Json) -> None:
        known = [each["id"] for each in one["deployedModels"]]
        if split and (sum(split.values()) != 100 or not set(split) <= set(known)):
            raise invalid(f"traffic_split: {split}")
        one["trafficSplit"] = dict(split)
        if not self.moves or self.moves[-1] != one["trafficSplit"]:
            self.moves.append(dict(split))

    def _touch(self, one: Json, **more: Any) -> None:
        one |= more
        one["etag"] = str(int(one["etag"]) + 1)

    def _under_way(self, name: str) -> Json:
        found = [
            {"name": one.name}
            for one in self.operations.values()
            if not one.done and one.name.startswith(f"{name}/")
        ]
        return {"operations": found} if found else {}

    def _require_rest(self, name: str) -> None:
        if self._under_way(name):
            raise not_now("There are other operations running on the Endpoint")
