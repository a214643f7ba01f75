"""A small Google over real HTTP on the loopback: a stand-in of ours, by these rules.

    request ──► method of a discovery document ──► its schema, strictly ──► rules of its service
                                                                   └──► operations, done when asked again

Every service
* A request that no discovery document has gets 404; a body that its schema does not allow, and a
  parameter that it does not know, get 400 INVALID_ARGUMENT.
* What takes time answers with an operation.  It is done when it has been asked for ``SLOWLY`` times, and
  only then has anything changed; its error is that of ``google.rpc.Status``.
* A name that is taken gets 409 ALREADY_EXISTS, one that is not there 404 NOT_FOUND, an etag that is not
  the newest 409 ABORTED.
* ``fault(method)`` may say ``refused`` (503 with nothing done; asked again, it works) or ``denied`` (403),
  or ``lost``: it is done, and the connection closes without an answer.

Artifact Registry  ``registryUri`` leads here; ``push`` puts an image under a tag.
Kubernetes Engine  says of ``clusters`` where they are; what they do is none of its.
Cloud Logging      entries by text of the filter: a log, a revision, a deployed model.
Cloud Run          in ``google_run``, Vertex AI in ``google_vertex``.

A service whose variable ``FAKE_MODE`` says ``crash`` is made without complaint and never gets ready.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from modelpack.deploy.pushing import Pushed

from . import google_schema

Json = dict[str, Any]
PROJECT, REGION = "demo-project", "europe-west1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
SLOWLY = 2
EXAMPLE = {"content": {"application/json": {"example": {"x": [1.0]}}}}


class Refusal(Exception):
    """What Google answers instead of doing it."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message


def not_found(name: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", f"Resource '{name}' was not found")


def taken(name: str) -> Refusal:
    return Refusal(409, "ALREADY_EXISTS", f"Resource '{name}' already exists")


def not_now(message: str) -> Refusal:
    return Refusal(400, "FAILED_PRECONDITION", message)


def invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)


@dataclass
class Operation:
    name: str
    end: Callable[[], Json]
    """Does it; raises Refusal for how it ends."""
    asked: int = 0
    done: bool = False
    result: Json = field(default_factory=dict)

    def look(self) -> Json:
        if not self.done:
            self.asked += 1
            if self.asked < SLOWLY:
                return {"name": self.name}
            self.finish()
        return {"name": self.name, "done": True, **self.result}

    def finish(self) -> None:
        if not self.done:
            self.done = True
            try:
                self.result = {"response": self.end()}
            except Refusal as cause:
                self.result = {"error": {"code": 9, "message": cause.message}}


class FakeGoogle:
    """One project and region; ``with`` closes its port."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.repositories: dict[str, Json] = {}
        self.tags: dict[str, str] = {}
        self.clusters: dict[str, Json] = {}
        self.calls: list[str] = []
        self.callers: set[str | None] = set()
        """What was sent as who calls."""
        self.access_token = "ya29.mine"
        self.bodies: list[tuple[str, Json]] = []
        self.fault: Callable[[str], str | None] = lambda _: None
        self.denied_because: list[Json] = []
        self.failing_requests = 0
        """How many of a revision's last 100 requests the log says have failed."""
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._number = 0
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self.images_at = self.address
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # What a test says and asks

    def push(self, spec: Any, reference: str, **_: Any) -> Pushed:
        """Put the image of a spec into the registry, as a push does."""
        repository, _, tag = reference.rpartition(":")
        digest = "sha256:" + spec.digest.removeprefix("sha256:")
        name = repository.rpartition("/")[2]
        with self._lock:
            self.tags[f"{PARENT}/repositories/{name}/packages/{name}/tags/{tag}"] = digest
        return Pushed(digest, 1)

    def resources(self) -> list[str]:
        """Name all that stands, operations that go on brought to their end."""
        with self._lock:
            self.rest()
            return sorted(f"repository {name.rpartition('/')[2]}" for name in self.repositories)

    def rest(self) -> None:
        """Bring every operation to its end."""
        for one in list(self.operations.values()):
            one.finish()

    # HTTP

    def answer(self, verb: str, target: str, data: bytes) -> tuple[int, Any] | None:
        """Return status and JSON for a request; None: the connection closes without an answer."""
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        query.pop("alt", None)
        path = unquote(parts.path).lstrip("/")
        with self._lock:
            if (served := self.serve(verb, path, data)) is not None:
                return served
            found = google_schema.find(verb, path)
            if found is None:
                return _error(not_found(path))
            name, said, known = found
            self.calls.append(name)
            fault = self.fault(name)
            if fault == "refused":
                return _error(Refusal(503, "UNAVAILABLE", "try again"))
            if fault == "denied":
                refusal = Refusal(403, "PERMISSION_DENIED", "the caller may not")
                return _error(refusal, self.denied_because)
            try:
                answer = self._do(name, said, query, known, data)
            except Refusal as cause:
                return _error(cause)
            return None if fault == "lost" else (200, answer)

    def serve(self, verb: str, path: str, data: bytes) -> tuple[int, Any] | None:
        """Answer as a service that runs here; None when the path is none of one."""
        return self._give_token(data) if (verb, path) == ("POST", "token") else None

    def _give_token(self, data: bytes) -> tuple[int, Any]:
        """Answer as the token server of a service account: an identity token for an audience."""
        assertion = parse_qs(data.decode())["assertion"][0].split(".")[1]
        asked = json.loads(base64.urlsafe_b64decode(assertion + "=="))
        if "target_audience" not in asked:
            return 200, {"access_token": self.access_token, "expires_in": 3600}
        claims = {"aud": asked["target_audience"], "exp": 4102444800}
        parts = (base64.urlsafe_b64encode(json.dumps(one).encode()) for one in ({}, claims, {}))
        return 200, {"id_token": b".".join(part.rstrip(b"=") for part in parts).decode()}

    def account(self, folder: Path) -> Path:
        """Write the file of a service account whose tokens come from here."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        value = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": f"me@{PROJECT}.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }
        file = folder / "account.json"
        file.write_text(json.dumps(value))
        return file

    def _do(self, name: str, said: Json, query: Json, known: Json, data: bytes) -> Any:
        for key in query:
            if key not in known.get("parameters", {}):
                raise invalid(f"Invalid JSON payload received. Unknown name '{key}'")
        service, schema = name.partition(".")[0], known.get("request", {}).get("$ref")
        body = json.loads(data or b"{}")
        if schema is not None:
            is_whole = "updateMask" not in query and "updateMask" not in body
            wrong = google_schema.mistakes(service, schema, body, is_whole=is_whole)
            if wrong:
                raise invalid(wrong[0])
            self.bodies.append((name, body))
        do = getattr(self, name.replace(".", "_"), None)
        if do is None:
            raise Refusal(501, "UNIMPLEMENTED", f"this stand-in has no {name}")
        return do(body=body, **said, **query)

    def start(self, below: str, end: Callable[[], Json]) -> Json:
        """Begin an operation below a resource."""
        self._number += 1
        name = f"{below}/operations/{self._number}"
        self.operations[name] = Operation(name, end)
        return {"name": name}

    def now(self) -> str:
        self._moment += timedelta(seconds=1)
        return self._moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _operation(self, name: str, **_: Any) -> Json:
        if name not in self.operations:
            raise not_found(name)
        return self.operations[name].look()

    run_projects_locations_operations_get = _operation
    artifactregistry_projects_locations_operations_get = _operation
    aiplatform_projects_locations_operations_get = _operation
    aiplatform_projects_locations_endpoints_operations_get = _operation
    aiplatform_projects_locations_models_operations_get = _operation

    # Artifact Registry

    def artifactregistry_projects_locations_repositories_create(
        self, parent: str, repositoryId: str, body: Json
    ) -> Json:
        name = f"{parent}/repositories/{repositoryId}"
        if name in self.repositories:
            raise taken(name)

        def end() -> Json:
            uri = f"{self.images_at}/{PROJECT}/{repositoryId}"
            self.repositories[name] = {**body, "name": name, "registryUri": uri}
            return self.repositories[name]

        return self.start(PARENT, end)

    def artifactregistry_projects_locations_repositories_get(self, name: str, **_: Any) -> Json:
        if name not in self.repositories:
            raise not_found(name)
        return self.repositories[name]

    def artifactregistry_projects_locations_repositories_delete(self, name: str, **_: Any) -> Json:
        if name not in self.repositories:
            raise not_found(name)

        def end() -> Json:
            self.repositories.pop(name, None)
            for tag in [one for one in self.tags if one.startswith(f"{name}/")]:
                del self.tags[tag]
            return {}

        return self.start(PARENT, end)

    def artifactregistry_projects_locations_repositories_packages_tags_get(
        self, name: str, **_: Any
    ) -> Json:
        if name not in self.tags:
            raise not_found(name)
        package = name.partition("/tags/")[0]
        return {"name": name, "version": f"{package}/versions/{self.tags[name]}"}

    # Kubernetes Engine: where clusters are, no more.

    def container_projects_locations_clusters_get(self, name: str, **_: Any) -> Json:
        if name not in self.clusters:
            raise not_found(name)
        return self.clusters[name]

    # Cloud Logging

    def logging_entries_list(self, body: Json) -> Json:
        chosen = body["filter"]
        if "requests" in chosen:
            statuses = [500] * self.failing_requests + [200] * (100 - self.failing_requests)
            entries = [
                {"insertId": str(n), "timestamp": f"2026-01-01T00:00:{n % 60:02}Z",
                 "httpRequest": {"status": status}}
                for n, status in enumerate(statuses)
            ]  # fmt: skip
            return {"entries": entries}
        entries = [
            {"insertId": "1", "timestamp": "2026-01-01T00:00:01.5Z", "textPayload": "this is it"},
            {"insertId": "2", "timestamp": "2026-01-01T00:00:02Z",
             "jsonPayload": {"event": "ready"}},
            {"insertId": "3", "timestamp": "2026-01-01T00:00:03Z", "textPayload": "asked"},
        ]  # fmt: skip
        if body.get("orderBy") == "timestamp desc":
            entries.reverse()
        start = int(body.get("pageToken") or 0)
        size = min(int(body["pageSize"]), 2)
        more = {"nextPageToken": str(start + size)} if start + size < len(entries) else {}
        return {"entries": entries[start : start + size], **more}


def _error(cause: Refusal, details: list[Json] | None = None) -> tuple[int, Any]:
    error = {"code": cause.code, "status": cause.status, "message": cause.message}
    return cause.code, {"error": error | ({"details": details} if details else {})}


def openapi(version: str) -> Json:
    """Return what a service says of itself."""
    paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
    return {"openapi": "3.1.0", "info": {"title": "fake", "version": version}, "paths": paths}


def _handler(google: FakeGoogle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            google.callers.add(self.headers.get("authorization"))
            answer = google.answer(self.command, self.path, data)
            self.close_connection = True
            if answer is None:
                return
            status, value = answer
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *_: object) -> None:
            return

    return Handler
