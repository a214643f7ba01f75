"""A stand-in for the Kubernetes API server, over real HTTPS, with its rules written down here.

    StandIn() ──► url, token, kubeconfig(folder) ──► any client of Kubernetes
      server ──► discovery, selectors ──► store ──► schema, defaults, applying (fields)
                                             ▲
                                       controllers, pods   in a thread of their own

No cluster stands behind it, and nobody ran it beside a real one.  What it keeps, by the pages
"Kubernetes API Concepts", "Server-Side Apply", "Garbage Collection" and "Deployments":

1.  Every kind is found by discovery; a kind that is not installed is 404.
2.  Types, required fields, enumerations and unknown fields are checked by Kubernetes' own schemas
    (``kubernetes-validate``), those of other projects by their custom resource definitions; always
    as strictly as ``fieldValidation=Strict``.  Defaults are added, quantities written short.
3.  Every write has its own ``resourceVersion``; one that names another than the newest is 409.
    ``metadata.generation`` counts changes of what is asked for, not of the status.
4.  Server-side apply: each manager owns the fields it applied; another value for a field that
    somebody else owns is 409 with a cause for each field, unless ``force=true``; a field that its
    last owner leaves out goes away; lists are merged by their keys.  Who updates owns what changed.
5.  ``dryRun=All`` answers as if it were done, and nothing is.
6.  A watch gives what came after its ``resourceVersion``, and ends after ``timeoutSeconds`` with a
    bookmark where one is asked for; a version that was compacted away is an event ERROR, 410.  A
    list in parts (``limit``, ``continue``) is 410 too when it was begun before that.  The head of
    its answer leaves at once, before there is any event: a client that waits for it cannot end the
    watch (``kubectl rollout status`` would never return).  ``sendInitialEvents=true`` streams what
    is there, then a bookmark with ``k8s.io/initial-events-end``: newer clients list like that.
7.  What is deleted takes along what it owns (background, foreground), or not (orphan); one with
    finalizers is marked, and goes with the last of them.  ``preconditions`` are kept.
8.  ``status`` is written by its own path alone; ``scale`` reads and writes ``spec.replicas``.
9.  Deployments, services of KServe and Knative, and SeldonDeployments come to life, or fail, as
    ``pods`` says by their variables; a Deployment rolls within ``maxSurge`` and ``maxUnavailable``.
10. Logs of a container that has not started are 400.  The proxy asks a pod that is ready, else 503;
    the pod sees the Host that the client named, which is the API server's own unless it says so.
11. Without the right token everything is 401; what ``forbidden`` names is 403.
12. Patches are server-side apply, strategic merge, JSON merge and JSON patch.  That PATCH of a kind
    takes ``fieldValidation`` and ``dryRun`` is said by OpenAPI 3, as kubectl looks for it.
13. ``fault`` may refuse a request before it is done (500), or lose the answer of one that is done.

Where pods run is an argument: ``pods`` only plays them, another ``node`` may run them for real.

Not here: protobuf (``kubectl create`` is told so), admission webhooks, quotas, RBAC beyond ``forbidden``, conversion between versions, tables,
schemas in OpenAPI, exec and port-forward, nodes, networks, and time as a cluster has it.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from . import pods
from .certificates import certificate, context
from .controllers import Controllers
from .server import Asked, Handler
from .store import Item, Json, Store

__all__ = ["Asked", "Item", "Json", "StandIn", "Store"]

_OWN = ("Namespace", "Event")


class _Server(ThreadingHTTPServer):
    """Ends its open connections when it is closed."""

    daemon_threads = True
    cluster: StandIn
    tls: ssl.SSLContext | None = None
    """None: the way in from outside, which has none."""
    _open: set[socket.socket]

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        if self.tls is None:
            return request, address
        # The handshake is done in the connection's own thread.
        secure = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return secure, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open = getattr(self, "_open", set())
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        getattr(self, "_open", set()).discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        return

    def end_all(self) -> None:
        for one in list(getattr(self, "_open", ())):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class StandIn:
    """One cluster with the namespace ``default``, at a port of its own on 127.0.0.1."""

    def __init__(
        self, *, token: str = "let-me-in", has_custom: bool = True, node: Any = pods
    ) -> None:
        self.token, self.node = token, node
        self.forbidden: set[tuple[str, str]] = set()
        """Verbs and plurals that nobody may, such as ``("create", "leases")``."""
        self.calls: list[str] = []
        self.watches = 0
        """How many watches are open."""
        self.on_call: Callable[[Asked], str | None] = lambda _: None
        """Says what becomes of a call: None, ``refused`` or ``lost``."""
        self.is_over = threading.Event()
        self.store = Store(has_custom=has_custom)
        self._servers = [self._serve(context()), self._serve(None)]
        port, way_in = (one.server_port for one in self._servers)
        self.url = f"https://127.0.0.1:{port}"
        self.way_in = f"http://127.0.0.1:{way_in}"
        """Where services of KServe and Knative are reached from outside."""
        self.add_namespace("default")
        self.controllers = Controllers(self.store, self.way_in, node)
        self._threads = [
            threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
            for one in self._servers
        ]
        for one in self._threads:
            one.start()

    def _serve(self, tls: ssl.SSLContext | None) -> _Server:
        server = _Server(("127.0.0.1", 0), Handler)
        server.cluster, server.tls = self, tls
        return server

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.is_over.set()
        self.controllers.close()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.end_all()
            server.server_close()
            thread.join()

    def reset(self) -> None:
        """Be as new: nothing stands but the namespaces, nothing is forbidden, nothing goes wrong."""
        with self.store.changed:
            kept = [one for one in self.store.items.values() if one.kind.kind == "Namespace"]
            self.store.items.clear()
            for one in kept:
                self.store.items[one.kind.key, one.namespace, one.name] = one
        self.forbidden.clear()
        self.calls.clear()
        self.on_call = lambda _: None
        self.controllers.is_paused = False

    @property
    def authority(self) -> bytes:
        """What has signed its certificate, as PEM."""
        return certificate()[0]

    def fault(self, asked: Asked) -> str | None:
        """Count a call, and ask what becomes of it."""
        sub = f"/{asked.sub}" if asked.sub else ""
        dry = " (dry)" if asked.is_dry else ""
        self.calls.append(f"{asked.verb} {asked.kind.plural}{sub}{dry}")
        return self.on_call(asked)

    def add_namespace(self, name: str) -> None:
        """Make a namespace, as an administrator does."""
        value = {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
        self.store.create(self.store.named("Namespace"), "", value, "admin")

    def resources(self) -> list[str]:
        """Name all that stands, as ``Kind namespace/name``; what others own is left out."""
        with self.store.changed:
            return sorted(
                f"{one.kind.kind} {one.namespace}/{one.name}"
                for one in self.store.items.values()
                if one.kind.kind not in _OWN and not one.value["metadata"].get("ownerReferences")
            )

    def find(self, kind: str, name: str, namespace: str = "default") -> Json:
        """Return one object, as it stands."""
        with self.store.changed:
            found = next(
                one
                for one in self.store.items.values()
                if (one.kind.kind, one.name, one.namespace) == (kind, name, namespace)
            )
            return found.to_json()

    def kubeconfig(self, folder: Path, *, namespace: str | None = None) -> Path:
        """Write a kubeconfig with one context, ``stand-in``."""
        context: Json = {"cluster": "stand-in", "user": "tester"}
        if namespace is not None:
            context["namespace"] = namespace
        authority = base64.b64encode(self.authority).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": cluster}],
            "contexts": [{"name": "stand-in", "context": context}],
            "users": [{"name": "tester", "user": {"token": self.token}}],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(value))
        file.chmod(0o600)
        return file
