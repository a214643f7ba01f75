"""The calls that are made to an API server, and what is made of its answers.

    Connect() ──► Cluster ──get, find, apply, create, replace, delete, watch, log, proxy──► JSON
                     │
                     └── not a success ──► ApiError, by the names of ``answers``

``Connect`` makes the client, and is an argument, so that another plugin can bring the address of a
cluster that its cloud keeps (``connecting``).  Nothing is asked before the first call.

Wire facts: Kubernetes documentation, "Kubernetes API Concepts" (paths, watches, 410, dry run, field
validation), "Server-Side Apply", "Access Services Running on Clusters" (``…/proxy``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

from modelpack.deploy import Answer
from modelpack.errors import ModelpackError, UnreachableError
from modelpack_kubernetes.answers import ApiError, as_ours, as_status, not_kubernetes
from modelpack_kubernetes.kinds import EVENT, POD, Kind, kind_of
from modelpack_kubernetes.words import MANAGER, Json

_CALL_S = 30.0
_WATCH_SLACK_S = 10.0
_PAGE = 200
_MOST_BYTES = 8 * 1024 * 1024


class Response(Protocol):
    """An answer whose body is read by and by, as urllib3 has it."""

    status: int

    def read(self, amt: int | None = None) -> bytes:
        """Return the body, or some of it."""

    def stream(self, amt: int) -> Iterator[bytes]:
        """Yield the body as it comes."""

    def release_conn(self) -> None:
        """Let go of the connection."""

    def close(self) -> None:
        """End the connection."""


class Client(Protocol):
    """Makes calls with who we are; the real one is in ``connecting``."""

    @property
    def server(self) -> str:
        """Address of the API server, without a slash at its end."""

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> Response:
        """Make one call; raises UnreachableError, CredentialsError."""


Connect = Callable[[], Client]
"""Makes the client of a cluster, when it is first needed; raises CredentialsError, UsageError,
ToolMissingError."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One API server, and the namespace in which deployments stand there."""

    connect: Connect
    namespace: str
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def client(self) -> Client:
        """The client, made at the first call."""
        if "client" not in self._kept:
            self._kept["client"] = self.connect()
        client: Client = self._kept["client"]
        return client

    # Reading

    def get(self, kind: Kind, name: str) -> Json | None:
        """Return one object, None when there is none, or no such kind."""
        try:
            return self._json("GET", kind.path(self.namespace, name), f"read {kind.title(name)}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise as_ours(error) from error

    def find(self, kind: Kind, selector: Mapping[str, str]) -> tuple[list[Json], str]:
        """Return the objects with these labels, and the version of the list; a kind that is not
        installed has none.
        """
        what = f"list {kind.plural}"
        for _ in range(3):
            try:
                return self._pages(kind, selector, what)
            except ApiError as error:
                if error.status == 404:
                    return [], "0"
                if error.status != 410:  # the list took so long that its version is gone
                    raise as_ours(error) from error
        raise UnreachableError(f"cannot {what}: the cluster forgets faster than it answers")

    def events(self, pod: str) -> list[Json]:
        """Return what the cluster has written about a pod; nothing where that may not be read."""
        query = {"fieldSelector": f"involvedObject.name={pod}"}
        try:
            page = self._json("GET", EVENT.path(self.namespace), "read events", query=query)
        except ApiError:
            return []
        return list(page.get("items") or ())

    def has(self, kind: Kind) -> bool:
        """Return whether the cluster has that kind."""
        known: dict[str, bool] = self._kept.setdefault("kinds", {})
        if kind.api_version not in known:
            root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
            try:
                self._json("GET", root, f"look for {kind.api_version}")
                known[kind.api_version] = True
            except ApiError as error:
                if error.status != 404:
                    raise as_ours(error) from error
                known[kind.api_version] = False
        return known[kind.api_version]

    def watch(
        self, kind: Kind, selector: Mapping[str, str], version: str, *, for_s: int
    ) -> Iterator[Json]:
        """Yield events after a version of a list, for so many seconds at most.

        Raises ApiError with status 410 when that version is gone: list again.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(for_s),
            **_selected(selector),
        }
        path, what = kind.path(self.namespace), f"watch {kind.plural}"
        response = self._call("GET", path, what, query=query, timeout_s=for_s + _WATCH_SLACK_S)
        try:
            for line in _lines(response):
                event: Json = json.loads(line)
                if event.get("type") == "ERROR":
                    said = event.get("object") or {}
                    raise ApiError(int(said.get("code") or 500), said, what)
                yield event
        finally:
            response.close()

    # Writing

    def apply(self, manifest: Json, *, is_trial: bool = False, force: bool = False) -> Json:
        """Apply a manifest server-side, as the field manager ``modelpack``; return the object.

        is_trial  only say what would come out (``dryRun=All``)
        force     take fields that others own

        Raises ApiError: status 409 with ``owners`` when others own what it changes, 422 and 400
        for what the API server does not take.
        """
        kind, name = kind_of(manifest), str(manifest["metadata"]["name"])
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if is_trial else {}
        query |= {"force": "true"} if force else {}
        return self._json(
            "PATCH",
            kind.path(self.namespace, name),
            f"{'check' if is_trial else 'apply'} {kind.title(name)}",
            query=query,
            body=manifest,
            type_="application/apply-patch+yaml",
        )

    def create(self, manifest: Json) -> Json:
        """Make a new object; raises ApiError, status 409 when there is one."""
        kind, what = kind_of(manifest), f"create {manifest['kind']}/{manifest['metadata']['name']}"
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        return self._json("POST", kind.path(self.namespace), what, query=query, body=manifest)

    def replace(self, manifest: Json) -> Json:
        """Write an object as a whole; raises ApiError, status 409 when it has changed since."""
        kind, name = kind_of(manifest), str(manifest["metadata"]["name"])
        query, what = {"fieldManager": MANAGER}, f"update {kind.title(name)}"
        path = kind.path(self.namespace, name)
        return self._json("PUT", path, what, query=query, body=manifest)

    def delete(self, kind: Kind, name: str, *, foreground: bool = False) -> bool:
        """Delete an object and what it owns; return whether it was there."""
        policy = "Foreground" if foreground else "Background"
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        path, what = kind.path(self.namespace, name), f"delete {kind.title(name)}"
        try:
            self._json("DELETE", path, what, body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise as_ours(error) from error
        return True

    # What runs there

    def log(self, pod: str, container: str | None, query: Mapping[str, str]) -> str | None:
        """Return the log of a pod's container; None when it has not started, or is gone."""
        more = {"container": container} if container else {}
        path, what = POD.path(self.namespace, pod, "log"), f"read the log of pod '{pod}'"
        try:
            response = self._call("GET", path, what, query={**query, **more})
            data = response.read()
            response.release_conn()
        except ApiError as error:
            if error.status in (400, 404):
                return None
            raise as_ours(error) from error
        return data.decode("utf-8", "replace")

    def proxy(
        self,
        kind: Kind,
        name: str,
        path: str,
        *,
        body: bytes | None,
        timeout_s: float,
        host: str | None = None,
    ) -> Answer:
        """Ask a service or a pod through the API server; raises OSError when it is not reached.

        host  by which the service is asked; default: that of the API server
        """
        url = self.client.server + kind.path(self.namespace, name, "proxy") + path
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Host": host} if host is not None else {}
        method = "GET" if body is None else "POST"
        try:
            response = self.client.call(
                method, url, headers=headers, body=body, timeout_s=timeout_s
            )
            data = response.read(_MOST_BYTES)
            response.release_conn()
        except (ModelpackError, ValueError) as cause:
            raise OSError(str(cause)) from cause
        if response.status >= 400 and (said := as_status(data)) is not None:
            raise OSError(str(said.get("message") or f"HTTP {response.status}"))
        return Answer(response.status, data)

    # How it is done

    def _pages(self, kind: Kind, selector: Mapping[str, str], what: str) -> tuple[list[Json], str]:
        found: list[Json] = []
        query = {"limit": str(_PAGE), **_selected(selector)}
        while True:
            page = self._json("GET", kind.path(self.namespace), what, query=query)
            head = {"apiVersion": kind.api_version, "kind": kind.name}
            found += [{**head, **one} for one in page.get("items") or ()]
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return found, str(meta.get("resourceVersion") or "0")
            query["continue"] = str(meta["continue"])

    def _json(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        type_: str = "application/json",
    ) -> Json:
        response = self._call(method, path, what, query=query, body=body, type_=type_)
        data = response.read()
        response.release_conn()
        try:
            value = json.loads(data)
        except ValueError as cause:
            raise not_kubernetes(self.client.server) from cause
        if not isinstance(value, dict):
            raise not_kubernetes(self.client.server)
        return value

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        type_: str = "application/json",
        timeout_s: float = _CALL_S,
    ) -> Response:
        client = self.client
        url = client.server + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"], data = type_, json.dumps(body).encode()
        response = client.call(method, url, headers=headers, body=data, timeout_s=timeout_s)
        if response.status < 300:
            return response
        said = response.read(_MOST_BYTES)
        response.release_conn()
        raise ApiError(response.status, as_status(said) or {}, what)


def _selected(selector: Mapping[str, str]) -> dict[str, str]:
    text = ",".join(f"{key}={value}" for key, value in selector.items())
    return {"labelSelector": text} if text else {}


def _lines(response: Response) -> Iterator[bytes]:
    rest = b""
    for data in response.stream(65536):
        *lines, rest = (rest + data).split(b"\n")
        yield from (one for one in lines if one)
