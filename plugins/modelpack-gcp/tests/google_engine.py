"""The small Google with a container engine behind it: what is deployed really runs.

    push ─► a registry of its own ─► the engine pulls by digest ─► a container, started as the service says

Cloud Run  has ``PORT``, ``K_SERVICE``, ``K_REVISION`` and ``K_CONFIGURATION``, the variables and limits
           of its revision, and is ready when its start-up probe says so, asked as often as that allows.
Vertex AI  has ``AIP_HTTP_PORT``, the routes and the names of what it is; ready when its health route
           answers 200.  ``rawPredict`` goes to its predict route.

Containers listen at free ports of the loopback; ``close`` leaves neither containers nor images.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from .fake_google import PARENT, PROJECT, Json, Refusal, not_found
from .google_registry import ImageRegistry
from .google_run import READY, WHY, FakeRun, variables
from .google_vertex import FakeVertex

PROBED_S = 60.0


class Containers:
    """Containers of one engine, by the names of what they run."""

    def __init__(self) -> None:
        import docker

        self.client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST"))
        self.running: dict[str, Any] = {}
        self.images: set[str] = set()

    def start(self, name: str, image: str, port: int, env: Json, **limits: Any) -> None:
        """Start a container as a platform that gives it memory alone to write to."""
        self.client.images.pull(image)
        self.images.add(image)
        self.running[name] = self.client.containers.run(
            image,
            detach=True,
            environment=env,
            ports={f"{port}/tcp": ("127.0.0.1", None)},
            labels={"dev.modelpack.test": "1"},
            **limits,
        )

    def port(self, name: str, port: int) -> int:
        container = self.running[name]
        container.reload()
        found = container.attrs["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        return int(found[0]["HostPort"]) if found else 0

    def ask(self, name: str, port: int, verb: str, path: str, data: bytes = b"") -> tuple[int, Any]:
        """Ask a container; 0 for one that does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(name, port), timeout=30)
        try:
            head = {"content-type": "application/json"} if data else {}
            connection.request(verb, path, body=data or None, headers=head)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException):
            return 0, None
        except ValueError:
            return response.status, None
        finally:
            connection.close()

    def is_ready(self, name: str, port: int, path: str) -> bool:
        """Return whether a path answers 200 within a minute, while the container lives."""
        deadline = time.monotonic() + PROBED_S
        while time.monotonic() < deadline:
            if self.ask(name, port, "GET", path)[0] == 200:
                return True
            if self.running[name].status == "exited":
                return False
            time.sleep(0.1)
        return False

    def lines(self, name: str) -> list[tuple[str, str]]:
        """Return what a container wrote, each line with its time."""
        rows = self.running[name].logs(timestamps=True).decode(errors="replace").splitlines()
        return [(at, text) for at, _, text in (row.partition(" ") for row in rows)]

    def close(self) -> None:
        for one in self.running.values():
            one.remove(force=True)
        for image in self.images:
            self.client.images.remove(image, force=True)
        self.client.close()


def _is_chosen(name: str, chosen: str) -> bool:
    """Return whether a filter of Cloud Logging is for a container; without a name it is for all."""
    short = name.rpartition("/")[2]
    is_named = "revision_name=" in chosen or "deployed_model_id=" in chosen
    return "%2Frequests" not in chosen and (not is_named or f'"{short}"' in chosen)


class RealGoogle(FakeRun, FakeVertex):
    """Cloud Run and Vertex AI with containers that really run."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = ImageRegistry()
        self.images_at = self.registry.host
        self.containers = Containers()

    def close(self) -> None:
        super().close()
        self.containers.close()
        self.registry.close()

    def artifactregistry_projects_locations_repositories_packages_tags_get(
        self, name: str, **_: Any
    ) -> Json:
        below, _, tag = name.removeprefix(f"{PARENT}/repositories/").partition("/tags/")
        repository, _, package = below.partition("/packages/")
        digest = self.registry.digest(f"{PROJECT}/{repository}/{package}", tag)
        if digest is None or f"{PARENT}/repositories/{repository}" not in self.repositories:
            raise not_found(name)
        return {"name": name, "version": f"{name.partition('/tags/')[0]}/versions/{digest}"}

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def logging_entries_list(self, body: Json) -> Json:
        """What the containers wrote, those of one revision where the filter names it."""
        entries = [
            {"insertId": f"{name}-{number}", "timestamp": at, "textPayload": text}
            for name in list(self.containers.running)
            for number, (at, text) in enumerate(self.containers.lines(name))
            if _is_chosen(name, body["filter"])
        ]
        entries.sort(key=lambda one: str(one["timestamp"]), reverse="desc" in body["orderBy"])
        return {"entries": entries[: int(body["pageSize"])]}

    # Cloud Run

    def condition(self, revision: Json) -> Json:
        [container] = revision["containers"]
        port = container["ports"][0]["containerPort"]
        service, _, name = revision["name"].partition("/revisions/")
        short = service.rpartition("/")[2]
        limits = container["resources"]["limits"]
        own = {"PORT": str(port), "K_SERVICE": short, "K_REVISION": name, "K_CONFIGURATION": short}
        self.containers.start(
            revision["name"],
            container["image"],
            port,
            variables(container["env"]) | own,
            mem_limit=limits["memory"].removesuffix("i").lower(),
            nano_cpus=int(limits["cpu"]) * 10**9,
        )
        probe = container["startupProbe"]["httpGet"]
        if self.containers.is_ready(revision["name"], probe["port"], probe["path"]):
            return READY
        return {
            "type": "Ready",
            "state": "CONDITION_FAILED",
            "message": WHY.partition(" error:")[0],
        }

    def respond(self, revision: Json, verb: str, way: str, data: bytes) -> tuple[int, Any]:
        port = revision["containers"][0]["ports"][0]["containerPort"]
        return self.containers.ask(revision["name"], port, verb, f"/{way}", data)

    # Vertex AI

    def begin(self, endpoint: str, unit: str, version: Json) -> None:
        spec = version["containerSpec"]
        port = spec["ports"][0]["containerPort"]
        own = {
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": spec["healthRoute"],
            "AIP_PREDICT_ROUTE": spec["predictRoute"],
            "AIP_ENDPOINT_ID": endpoint.rpartition("/")[2],
            "AIP_DEPLOYED_MODEL_ID": unit,
            "AIP_MODE": "PREDICTION",
            "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        }
        self.containers.start(unit, spec["imageUri"], port, variables(spec["env"]) | own)
        if not self.containers.is_ready(unit, port, spec["healthRoute"]):
            raise Refusal(400, "", "Model server never became ready.")

    def predict(self, unit: str, version: Json, data: bytes) -> tuple[int, Any]:
        spec = version["containerSpec"]
        self.asked.append(variables(spec["env"])["MODELPACK_TAG"])
        port = spec["ports"][0]["containerPort"]
        return self.containers.ask(unit, port, "POST", spec["predictRoute"], data)
