"""A small Azure on loopback: what our calls of Azure Resource Manager need, over real HTTP.

Rules that it keeps, as Azure's documentation has them:

* Every call names an ``api-version`` that the kind has; a body that the service's own model does not
  take is refused with 400, and so is a kind that nobody knows.
* A call that takes long answers 201 or 202 with ``Azure-AsyncOperation``; its operation is ``InProgress``
  at the first look and ``Succeeded`` or ``Failed`` at the next, or after some other calls.  Meanwhile
  another change is 409.
* ``PATCH`` merges objects and replaces lists; tags as a whole.
* Container apps: a template that differs makes a revision; a suffix that was used makes none and says
  nothing; traffic names revisions that are there and active, in sum 100; a revision with calls cannot be
  deactivated; a first revision takes its calls as the latest one, or the app never comes up; a revision
  is ``Processing`` at its first look and runs at the next, unless its image crashes.
* An image is pulled by an identity that has the role for it, and only one that was pushed.
* A role is given to a principal that exists, once; a role whose identity is gone stays behind.
* A cluster gives its users a kubeconfig, base64 in JSON.
* Online endpoints, deployments and environment versions: see ``fake_ml``.

Whoever asks by another host name than its own asks a service, a log stream or the registry.
What of Azure is not here: permissions, quotas, machines, time.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator
from modelpack_azure.arm import Arm

from .fake_apps import Apps
from .fake_ml import Endpoints

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/modelpack"
REGISTRY = f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/images"
ENVIRONMENT = f"{GROUP}/providers/Microsoft.App/managedEnvironments/env"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/work"
REGISTRY_HOST = "images.azurecr.io"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"

APIS = {
    "microsoft.app": "2026-07-01",
    "microsoft.managedidentity": "2023-01-31",
    "microsoft.authorization": "2022-04-01",
    "microsoft.containerregistry": "2023-07-01",
    "microsoft.machinelearningservices": "2023-04-01",
    "microsoft.insights": "2022-10-01",
    "microsoft.containerservice": "2024-09-01",
}


RESOURCES = json.loads((Path(__file__).parent / "data" / "resources.json").read_text())
_CHECKS = {kind.lower(): Draft202012Validator(schema) for kind, schema in RESOURCES.items()}


def body_problems(kind: str, body: Any) -> list[str]:
    """Return what a body of a kind has that Azure does not take; nothing for kinds with a model."""
    check = _CHECKS.get(kind.lower())
    return [] if check is None else [one.message for one in check.iter_errors(body)]


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": str(self)}}


class FakeAzure:
    """One resource group; ``fault`` decides what becomes of a call."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.things: dict[str, dict[str, Any]] = {}
        """By lower-case path: what stands there, but for what others hold."""
        self.images: set[str] = set()
        self.calls: list[str] = []
        self.sent: list[tuple[str, str, Any]] = []
        """Method, path and body of every change."""
        self.fault: Callable[[str], str | None] = lambda _: None
        self.kubeconfigs: dict[str, bytes] = {}
        """By cluster: what its users are given."""
        self.role_lag = 0
        """How many pulls are refused until the registry knows of a role."""
        self.apps = Apps(self)
        self.endpoints = Endpoints(self)
        self._arms: list[Arm] = []
        self._operations: dict[str, dict[str, Any]] = {}
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        self.netloc = f"127.0.0.1:{self._server.server_port}"
        self.endpoint = f"http://{self.netloc}"
        self.stock()

    def stock(self) -> None:
        """Put there what a deployment shares with others."""
        self.things[REGISTRY.lower()] = {
            "location": "westeurope",
            "properties": {"loginServer": REGISTRY_HOST},
        }
        self.things[ENVIRONMENT.lower()] = {
            "location": "West Europe",
            "properties": {"defaultDomain": "wise-sea.westeurope.azurecontainerapps.io"},
        }
        self.things[WORKSPACE.lower()] = {
            "location": "westeurope",
            "properties": {"containerRegistry": REGISTRY},
        }

    def arm(self, *, retries: int = 0) -> Arm:
        made = Arm(endpoint=self.endpoint, poll_s=0.01, retries=retries)
        self._arms.append(made)
        return made

    def close(self) -> None:
        for arm in self._arms:
            arm.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def resources(self) -> list[str]:
        """Name all that stands and is not shared, but for images."""
        shared = {REGISTRY.lower(), ENVIRONMENT.lower(), WORKSPACE.lower()}
        kept = [path for path in self.things if path not in shared]
        return [*kept, *self.apps.names(), *self.endpoints.names()]

    def push(self, spec: Any, reference: str, *, find_login: Any, **_: Any) -> Any:
        from modelpack.deploy.pushing import Pushed
        from modelpack.errors import UnreachableError

        self.calls.append("push")
        if self.fault("push"):
            raise UnreachableError("cannot push: the registry went away")
        assert find_login(REGISTRY_HOST).password == "refresh"
        where, _, tag = reference.rpartition(":")
        digest = "sha256:" + (tag.encode().hex() * 64)[:64]
        self.images.add(f"{where}@{digest}")
        return Pushed(digest, 1)

    # What the parts need.

    def now(self) -> str:
        self._moment += timedelta(seconds=1)
        return self._moment.strftime("%Y-%m-%dT%H:%M:%S.1234567+00:00")

    def operation(self, end: Callable[[], str | None]) -> dict[str, str]:
        """Begin a call that takes long; ``end`` does it, and returns why it failed."""
        number = str(len(self._operations))
        self._operations[number] = {"looks": 0, "age": 0, "end": end, "status": "InProgress"}
        path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.App/operations/{number}"
        return {"Azure-AsyncOperation": f"{self.endpoint}{path}?api-version=2026-07-01"}

    def pull_problem(self, image: str, identities: Any) -> str | None:
        """Return why an image cannot be pulled by any of the identities."""
        if image not in self.images:
            return f"MANIFEST_UNKNOWN: '{image}' is not there"
        principals = {
            self.things[path.lower()]["properties"]["principalId"]
            for path in identities or ()
            if path.lower() in self.things
        }
        given = {
            one["properties"]["principalId"]
            for path, one in self.things.items()
            if path.startswith(REGISTRY.lower() + "/providers/microsoft.authorization")
        }
        if not principals & given or self.role_lag > 0:
            self.role_lag -= 1
            return "UNAUTHORIZED: authentication required"
        return None

    # HTTP.

    def answer(
        self, method: str, url: str, headers: Any, data: bytes
    ) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(url)
        if headers["Host"] != self.netloc:
            return self._elsewhere(method, headers["Host"], parts, headers, data)
        path = parts.path
        asked = parse_qs(parts.query).get("api-version", [""])[0]
        if "/operations/" in path:
            return 200, {}, self._look(path.rpartition("/")[2])
        provider = path.rpartition("/providers/")[2].partition("/")[0].lower()
        if APIS.get(provider) != asked:
            raise Refused(
                400, "NoRegisteredProviderFound", f"no API version '{asked}' of '{provider}'"
            )
        self._pass_time()
        body = json.loads(data) if data else None
        if method != "GET":
            self.sent.append((method, path, body))
        for part in (self.apps, self.endpoints):
            if part.takes(path):
                return part.answer(method, path, body)
        return self._thing(method, path, body)

    def _pass_time(self) -> None:
        """What is under way ends after some calls, whether anybody asks for it or not."""
        for number, found in self._operations.items():
            if found["status"] == "InProgress":
                found["age"] += 1
                if found["age"] >= 5:
                    found["looks"] = 1
                    self._look(number)

    def _look(self, number: str) -> dict[str, Any]:
        found = self._operations[number]
        found["looks"] += 1
        if found["looks"] == 2:
            problem = found["end"]()
            found["status"] = "Failed" if problem else "Succeeded"
            if problem:
                found["error"] = {"code": "OperationError", "message": problem}
        return {key: found[key] for key in ("status", "error") if key in found}

    def _thing(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        key = path.lower()
        if key.endswith("/listclusterusercredential"):
            found = self.kubeconfigs.get(path.split("/")[-2])
            if found is None:
                raise Refused(404, "ResourceNotFound", f"'{path}' was not found")
            value = base64.b64encode(found).decode()
            return 200, {}, {"kubeconfigs": [{"name": "clusterUser", "value": value}]}
        if method == "DELETE":
            return (204, {}, None) if self.things.pop(key, None) is None else (200, {}, {})
        if method == "GET":
            if key not in self.things:
                raise Refused(404, "ResourceNotFound", f"'{path}' was not found")
            return 200, {}, {"id": path, **self.things[key]}
        is_new = key not in self.things
        if found := body_problems(key.split("/")[-2], body):
            raise Refused(400, "InvalidRequestContent", "; ".join(found))
        if "/roleassignments/" in key:
            self._give_role(key, body)
        elif "/userassignedidentities/" in key:
            principal = self.things.get(key, {}).get("properties", {}).get("principalId")
            properties = {"principalId": principal or f"principal-{self.now()}"}
            self.things[key] = {**body, "properties": properties}
        elif "/autoscalesettings/" in key:
            self.things[key] = body
        else:
            raise Refused(405, "MethodNotAllowed", f"{method} '{path}'")
        return 201 if is_new else 200, {}, {"id": path, **self.things[key]}

    def _give_role(self, key: str, body: Any) -> None:
        asked = body["properties"]
        assert asked["roleDefinitionId"].endswith(ACR_PULL)
        known = [one.get("properties", {}).get("principalId") for one in self.things.values()]
        if asked["principalId"] not in known:
            raise Refused(400, "PrincipalNotFound", "there is no such principal")
        for other, one in self.things.items():
            same = other.rpartition("/")[0] == key.rpartition("/")[0] and one["properties"] == asked
            if same and other != key:
                raise Refused(409, "RoleAssignmentExists", "The role assignment already exists.")
        self.things[key] = body

    def _elsewhere(
        self, method: str, host: str, parts: Any, headers: Any, data: bytes
    ) -> tuple[int, dict[str, str], Any]:
        """Answer for a registry, a log stream or a service."""
        if host == REGISTRY_HOST:
            form = {key: value[0] for key, value in parse_qs(data.decode()).items()}
            if parts.path == "/oauth2/exchange":
                assert form["service"] == REGISTRY_HOST
                return 200, {}, {"refresh_token": "refresh"}
            if parts.path == "/oauth2/token":
                assert form["refresh_token"] == "refresh"
                return 200, {}, {"access_token": f"may {form['scope']}"}
            name = parts.path.removeprefix("/acr/v1/")
            assert method == "DELETE"
            assert headers["Authorization"] == f"Bearer may repository:{name}:delete"
            gone = {one for one in self.images if one.startswith(f"{REGISTRY_HOST}/{name}@")}
            self.images -= gone
            return (202 if gone else 404), {}, {}
        for part in (self.apps, self.endpoints):
            found = part.served(method, host, parts, headers, data)
            if found is not None:
                return found
        return 404, {}, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        azure = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet, or each waits 40 ms for its acknowledgement

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                data = self.rfile.read(length)
                word = f"{self.command} {urlsplit(self.path).path}"
                with azure.lock:
                    azure.calls.append(word)
                    fault = azure.fault(word)
                    if fault == "refused":
                        self.send(500, {}, {"error": {"code": "Internal", "message": "go away"}})
                        return
                    if fault == "throttled":
                        self.send(429, {"Retry-After": "0"}, {"error": {"code": "Slow"}})
                        return
                    try:
                        status, headers, value = azure.answer(
                            self.command, self.path, self.headers, data
                        )
                    except Refused as refused:
                        status, headers, value = refused.status, {}, refused.body()
                if fault == "lost":
                    self.close_connection = True
                    return
                self.send(status, headers, value)

            do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = handle_any

            def send(self, status: int, headers: dict[str, str], value: Any) -> None:
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                if status == 204 or value is None:
                    data = b""
                self.send_response(status)
                for key, one in headers.items():
                    self.send_header(key, one)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        return Handler
