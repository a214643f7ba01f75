"""The API server's HTTP: paths, parameters, watches that stay open.  See ``stand_in``."""

from __future__ import annotations

import json
import re
import select
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from . import discovery, refusals, serving
from .kinds import Kind
from .patching import patched
from .proxying import proxied
from .refusals import Refused
from .schema import schema_of
from .store import Json, Store
from .watching import check, chosen, watched

_RESOURCE = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<ns>[^/]+)(?=/[^/]))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|scale|log|proxy)(?P<rest>/.*)?)?"
)
_NOT_STARTED = (
    "ContainerCreating",
    "ImagePullBackOff",
    "ErrImagePull",
    "CreateContainerConfigError",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a resource."""

    verb: str
    kind: Kind
    namespace: str | None
    name: str | None
    sub: str
    rest: str
    query: dict[str, str]
    body: bytes
    type: str
    agent: str = "unknown"
    """What the client calls itself."""

    @property
    def is_dry(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def manager(self) -> str:
        return self.query.get("fieldManager") or self.agent


def parse(store: Store, method: str, url: str, body: bytes, headers: Any) -> Asked:
    """Read a request; raises Refused for a path that leads nowhere."""
    parts = urlsplit(url)
    match = _RESOURCE.fullmatch(parts.path)
    if match is None:
        raise refusals.no_such_page()
    kind = store.kind_of(match["group"] or "", match["plural"])
    if (match["core"] or match["version"]) != kind.version:
        raise refusals.no_such_page()
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    name = unquote(match["name"]) if match["name"] else None
    verb = _verb(method, name, query)
    namespace = match["ns"] or ("" if not kind.is_namespaced else None)
    sub = match["sub"] or ""
    type_ = (headers.get("content-type") or "").partition(";")[0]
    agent = (headers.get("user-agent") or "unknown").partition("/")[0]
    rest = match["rest"] or "/"
    return Asked(verb, kind, namespace, name, sub, rest, query, body, type_, agent)


def _verb(method: str, name: str | None, query: dict[str, str]) -> str:
    if method == "GET":
        if query.get("watch") in ("true", "1"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}[method]


def do(store: Store, asked: Asked) -> tuple[int, Json]:
    """Do what is asked for, but for watches, logs and proxies; raises Refused."""
    kind, space = asked.kind, asked.namespace or ""
    if asked.sub == "scale":
        return 200, _scale(store, asked)
    if asked.verb == "get":
        return 200, store.get(kind, space, str(asked.name)).to_json()
    if asked.verb == "list":
        return 200, _list(store, asked)
    if asked.verb == "create":
        value = _body(asked)
        space = asked.namespace or value.get("metadata", {}).get("namespace") or ""
        item = store.create(kind, space, value, asked.manager, dry_run=asked.is_dry)
        return 201, item.to_json()
    if asked.verb == "update":
        value = _body(asked)
        item = store.replace(
            kind,
            space,
            str(asked.name),
            value,
            asked.manager,
            subresource=asked.sub,
            dry_run=asked.is_dry,
        )
        return 200, item.to_json()
    if asked.verb == "patch":
        return _patch(store, asked)
    if asked.verb == "deletecollection":
        for item in chosen(store, asked):
            store.delete(kind, item.namespace, item.name, dry_run=asked.is_dry)
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
    options = _body(asked) if asked.body else {}
    propagation = options.get("propagationPolicy") or asked.query.get("propagationPolicy")
    item = store.delete(
        kind,
        space,
        str(asked.name),
        propagation=propagation or "Background",
        preconditions=options.get("preconditions"),
        dry_run=asked.is_dry,
    )
    return 200, item.to_json()


def _body(asked: Asked) -> Json:
    value = _read(asked)
    if not isinstance(value, dict):
        raise refusals.bad("the body of the request is no object")
    return value


def _read(asked: Asked) -> Any:
    if asked.type == "application/vnd.kubernetes.protobuf":
        raise Refused(
            415, "UnsupportedMediaType", "the body was in protobuf, and JSON is read here"
        )
    try:
        return yaml.load(asked.body, yaml.CSafeLoader) if asked.body else {}
    except yaml.YAMLError as cause:
        raise refusals.bad("the body of the request cannot be read") from cause


def _patch(store: Store, asked: Asked) -> tuple[int, Json]:
    kind, space, name = asked.kind, asked.namespace or "", str(asked.name)
    if asked.type == "application/apply-patch+yaml":
        if "fieldManager" not in asked.query:
            raise refusals.bad("fieldManager: Required value: is required for apply patch")
        is_there = (kind.key, space, name) in store.items
        config = _body(asked)
        if (config.get("apiVersion"), config.get("kind")) != (kind.api_version, kind.kind):
            raise refusals.bad("the API version in the data does not match the expected one")
        item = store.apply(
            kind,
            space,
            name,
            config,
            asked.manager,
            force=asked.query.get("force") in ("true", "1"),
            dry_run=asked.is_dry,
        )
        return (200 if is_there else 201), item.to_json()
    former = store.get(kind, space, name)
    value = patched(former.value, _read(asked), asked.type, schema_of(kind))
    item = store.replace(
        kind, space, name, value, asked.manager, subresource=asked.sub, dry_run=asked.is_dry
    )
    return 200, item.to_json()


def _scale(store: Store, asked: Asked) -> Json:
    space, name = asked.namespace or "", str(asked.name)
    item = store.get(asked.kind, space, name)
    if asked.verb in ("update", "patch"):
        count = _body(asked)["spec"]["replicas"]
        value = {**item.value, "spec": {**item.value["spec"], "replicas": count}}
        item = store.replace(asked.kind, space, name, value, asked.manager, dry_run=asked.is_dry)
    meta = {"name": name, "namespace": space}
    meta["resourceVersion"] = item.value["metadata"]["resourceVersion"]
    count = item.value["spec"].get("replicas", 1)
    status = {"replicas": item.value.get("status", {}).get("replicas", 0)}
    head = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta}
    return {**head, "spec": {"replicas": count}, "status": status}


def _list(store: Store, asked: Asked) -> Json:
    items = chosen(store, asked)
    begin, version = 0, store.version
    if token := asked.query.get("continue"):
        begin, version = (int(one) for one in token.split("-"))
        if version < store.compacted:
            raise Refused(410, "Expired", "the provided continue parameter is too old")
    limit = int(asked.query.get("limit") or 0) or len(items)
    meta: Json = {"resourceVersion": str(version)}
    if begin + limit < len(items):
        meta["continue"] = f"{begin + limit}-{version}"
    return {
        "kind": f"{asked.kind.kind}List",
        "apiVersion": asked.kind.api_version,
        "metadata": meta,
        "items": [item.to_json() for item in items[begin : begin + limit]],
    }


class Handler(BaseHTTPRequestHandler):
    """One connection; ``server.cluster`` is the stand-in."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Any

    def log_message(self, *_: object) -> None:
        return

    def _handle(self) -> None:
        cluster = self.server.cluster
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        try:
            self._answer_to(cluster, body)
        except Refused as refused:
            self._json(refused.code, refused.to_json())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _answer_to(self, cluster: Any, body: bytes) -> None:
        path = urlsplit(self.path).path
        if self.server.tls is None:
            self._ingress(cluster, path)
            return
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if token != cluster.token:
            raise Refused(401, "Unauthorized", "Unauthorized")
        known = discovery.pages(cluster.store.kinds).get(path)
        if known is not None and self.command == "GET":
            self._json(200, known)
            return
        asked = parse(cluster.store, self.command, self.path, body, self.headers)
        self._allowed(cluster, asked)
        fault = cluster.fault(asked)
        if fault == "refused":
            raise Refused(500, "InternalError", "etcdserver: request timed out")
        if asked.verb == "watch":
            self._stream(cluster, asked)
        elif asked.sub == "log":
            self._log(cluster, asked)
        elif asked.sub == "proxy":
            with cluster.store.changed:
                pod = proxied(cluster.store, asked)
            more = {"body": asked.body or None, "host": self.headers.get("host") or ""}
            status, data = cluster.node.answer_of(pod, asked.rest, **more)
            self._send(status, data, "application/json")
        else:
            with cluster.store.changed:
                status, value = do(cluster.store, asked)
            if fault == "lost":
                self.close_connection = True
                return
            self._json(status, value)

    def _allowed(self, cluster: Any, asked: Asked) -> None:
        plural = asked.kind.plural + (f"/{asked.sub}" if asked.sub else "")
        if (asked.verb, plural) in cluster.forbidden or ("*", plural) in cluster.forbidden:
            where = f' in API group "{asked.kind.group}" in the namespace "{asked.namespace}"'
            what = f'User "tester" cannot {asked.verb} resource "{plural}"{where}'
            name = f'"{asked.name}" ' if asked.name else ""
            raise Refused(403, "Forbidden", f"{plural} {name}is forbidden: {what}")

    def _ingress(self, cluster: Any, path: str) -> None:
        with cluster.store.changed:
            status, data = serving.answer(cluster.store, path)
        self._send(status, data, "application/json")

    def _stream(self, cluster: Any, asked: Asked) -> None:
        check(asked.query)
        with cluster.store.changed:
            cluster.watches += 1
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.flush()  # a client that waits for the head could not leave before an event
        is_over = lambda: cluster.is_over.is_set() or self._has_left()  # noqa: E731
        try:
            for event in watched(cluster.store, asked, is_over):
                self._chunk(json.dumps(event).encode() + b"\n")
            self._chunk(b"")
        finally:
            with cluster.store.changed:
                cluster.watches -= 1

    def _has_left(self) -> bool:
        """Return whether whoever watches has ended the connection; nothing else comes from there."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _log(self, cluster: Any, asked: Asked) -> None:
        with cluster.store.changed:
            pod = cluster.store.get(asked.kind, asked.namespace or "", str(asked.name))
        state = pod.value.get("status", {}).get("containerStatuses", [{}])[0].get("state", {})
        why = state.get("waiting", {}).get("reason", "")
        if not state or why in _NOT_STARTED:
            raise refusals.bad(f'container in pod "{pod.name}" is waiting to start: {why}')
        lines = cluster.node.log_of(pod)
        if tail := asked.query.get("tailLines"):
            lines = lines[-int(tail) :] if int(tail) else []
        stamp = f"{pod.value['metadata']['creationTimestamp'][:-1]}.000000000Z "
        lines = [stamp + one if asked.query.get("timestamps") == "true" else one for one in lines]
        self._send(200, "".join(f"{one}\n" for one in lines).encode(), "text/plain")

    def _json(self, status: int, value: Json) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, data: bytes, type_: str) -> None:
        self.send_response(status)
        self.send_header("content-type", type_)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
