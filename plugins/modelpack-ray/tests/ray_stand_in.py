"""A stand-in for a Ray cluster: the dashboard's API and a proxy of Serve, over real HTTP.

    StandIn ── dashboard  http://127.0.0.1:PORT    /api/serve/applications/ · /api/packages · /api/v0
            └─ proxy      http://127.0.0.1:PORT    routes ──► what a bundle of that version answers

Its rules, as Ray 2.60 has them:

* PUT takes the whole list: applications that are not in it are deleted, which takes ``going`` reads; those of
  ``serve.run`` (``imperative``) are in no list and stay.  No two of a list may have one route (400), fields that
  there are not are refused (400), and so is a list while a deployment asks for both ``num_replicas`` and
  ``autoscaling_config``.
* GET gives every config as it was sent.  What is on its way is DEPLOYING for ``slow`` reads, then RUNNING.
* Another ``import_path``, ``runtime_env`` or ``args`` builds the application anew: ``builds`` counts that.  A change
  of anything else only sets new numbers: the application says RUNNING all the while, and one replica a read comes or
  goes, as long as there is ``room``.
* A build fails (DEPLOY_FAILED) when a package of its ``runtime_env`` is not there, and when its ``args.env`` has
  BREAKS, with a traceback as Serve writes it that ends with ``said``.
* A package stays while it was sent less than ten minutes ago, so here: always.
* With ``token`` set, calls without it get 401 and with another one 403.
* A route leads to one application at a time: the proxy takes the longest one that fits.

Not here: nodes, actors, real replicas.  ``test_cluster`` has the real thing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_APP_FIELDS = {"name", "route_prefix", "import_path", "runtime_env", "args", "deployments"}
_DEPLOYMENT_FIELDS = {
    "name",
    "num_replicas",
    "autoscaling_config",
    "max_ongoing_requests",
    "max_replicas_per_node",
    "user_config",
    "graceful_shutdown_timeout_s",
    "health_check_period_s",
    "ray_actor_options",
}
_TOP_FIELDS = {"applications", "target_capacity", "http_options", "grpc_options", "proxy_location"}
_TRACEBACK = """Deployment 'service' in application '{name}' failed 3 times in a row. Error:
ray::ServeReplica:{name}:service.initialize_and_get_metadata() (pid=1, ip=127.0.0.1)
  File "/x/service.py", line 50, in __init__
{said}
"""
_NO_WEIGHTS = (
    "RuntimeError: modelpack: the server has ended before it was ready: no weights for you"
)

Fault = Callable[[str, str], str | None]
"""Gets method and path of a call; None, ``before``, ``after`` (done, and the answer lost) or a status."""


class StandIn:
    """A cluster; ``close`` it."""

    def __init__(self) -> None:
        self.apps: dict[str, dict[str, Any]] = {}
        self.imperative: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.lines: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.puts: list[dict[str, Any]] = []
        self.builds = 0
        self.token: str | None = None
        self.slow = 1
        self.going = 1
        self.room = 100
        self.said = _NO_WEIGHTS
        self.is_running = True
        self.fault: Fault | None = None
        self._lock = threading.RLock()
        self._servers = [_serve(_dashboard(self)), _serve(_proxy(self))]
        self.address, self.proxy = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )

    def close(self) -> None:
        """End both servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def resources(self) -> list[str]:
        """Name all that stands: what is being deleted, too."""
        with self._lock:
            return [f"application/{name}" for name in self.apps]

    def route_of(self, path: str) -> dict[str, Any] | None:
        """Return the application behind a path."""
        with self._lock:
            fitting = [
                app
                for app in self.apps.values()
                if app["status"] == "RUNNING"
                and (path + "/").startswith(app["config"]["route_prefix"].rstrip("/") + "/")
            ]
        return max(fitting, key=lambda app: len(app["config"]["route_prefix"]), default=None)

    def read(self) -> dict[str, Any]:
        """Return what Serve says, and let what is on its way go on."""
        with self._lock:
            said = {name: self._details(name, app) for name, app in self.apps.items()}
            for name, app in list(self.apps.items()):
                self._go_on(name, app)
            for name, one in self.imperative.items():
                said[name] = {**one, "status": "RUNNING", "deployed_app_config": None}
        if not self.is_running:
            return {
                "controller_info": {},
                "proxies": {},
                "applications": {},
                "target_capacity": None,
            }
        port = int(self.proxy.rpartition(":")[2])
        return {
            "proxy_location": "EveryNode",
            "http_options": {"host": "127.0.0.1", "port": port, "root_path": ""},
            "grpc_options": {"port": 9000, "grpc_servicer_functions": []},
            "target_capacity": None,
            "applications": json.loads(json.dumps(said)),
        }

    def put(self, request: dict[str, Any]) -> str | None:
        """Take a list; return what is wrong with it."""
        if wrong := _wrong(request):
            return wrong
        with self._lock:
            self.is_running = True
            self.puts.append(request)
            wanted = {one["name"]: one for one in request["applications"]}
            for name, app in self.apps.items():
                if name not in wanted and app["status"] != "DELETING":
                    app.update(status="DELETING", left=self.going)
            for name, config in wanted.items():
                self._take(name, config)
        return None

    def _take(self, name: str, config: dict[str, Any]) -> None:
        app = self.apps.get(name)
        code = [config.get(key) for key in ("import_path", "runtime_env", "args")]
        if app is None or app["status"] == "DELETING" or app["code"] != code:
            self.builds += 1
            app = {"code": code, "message": "", "replicas": 0, "status": "DEPLOYING"}
        elif app["config"] == config and app["status"] != "DEPLOY_FAILED":
            return
        app["config"] = config
        if app["status"] != "RUNNING":
            app |= {"status": "DEPLOYING", "left": self.slow}
        self.apps[name] = app
        service = f"serve/modelpack_{name}_service_r1.log"
        self.lines.setdefault(service, [f'{{"time":"1","event":"ready","app":"{name}"}}', "two"])

    def _go_on(self, name: str, app: dict[str, Any]) -> None:
        if app["status"] == "RUNNING":
            missing = min(_wanted(app), self.room) - app["replicas"]
            app["replicas"] += (missing > 0) - (missing < 0)
        if app["status"] not in ("DEPLOYING", "DELETING"):
            return
        if app["left"] > 0:
            app["left"] -= 1
        elif app["status"] == "DELETING":
            del self.apps[name]
        else:
            runtime = app["config"]["runtime_env"]
            uris = [runtime["working_dir"], *runtime["py_modules"]]
            missing = [
                one for one in uris if one.startswith("gcs") and one[6:] not in self.packages
            ]
            breaks = "BREAKS" in app["config"]["args"]["env"]
            app["status"] = "DEPLOY_FAILED" if missing or breaks else "RUNNING"
            app["message"] = _TRACEBACK.format(name=name, said=self.said) if breaks else ""
            app["replicas"] = 0 if missing or breaks else min(_wanted(app), self.room)
            if missing:
                app["message"] = f"RuntimeEnvSetupError: Failed to download {missing[0]}"

    def _details(self, name: str, app: dict[str, Any]) -> dict[str, Any]:
        config = app["config"]
        up = app["status"] == "RUNNING"
        return {
            "name": name,
            "route_prefix": config["route_prefix"],
            "status": app["status"],
            "message": app["message"],
            "deployed_app_config": None if app["status"] == "DELETING" else config,
            "deployments": {
                "service": {
                    "message": "",
                    "target_num_replicas": _wanted(app),
                    "replicas": [{"state": "RUNNING"}] * app["replicas"] if up else [],
                }
            },
        }


def _wanted(app: dict[str, Any]) -> int:
    service = app["config"]["deployments"][0]
    count = service.get("num_replicas")
    return int(service["autoscaling_config"]["initial_replicas"] if count is None else count)


def _wrong(request: dict[str, Any]) -> str | None:
    if extra := set(request) - _TOP_FIELDS:
        return f"no such field: {sorted(extra)}"
    routes = [one["route_prefix"] for one in request["applications"]]
    if len(set(routes)) < len(routes):
        return f"ValidationError: Found duplicate route prefixes: {routes}"
    for app in request["applications"]:
        if extra := set(app) - _APP_FIELDS:
            return f"no such field: {sorted(extra)}"
        for one in app["deployments"]:
            if extra := set(one) - _DEPLOYMENT_FIELDS:
                return f"no such field: {sorted(extra)}"
            if "num_replicas" in one and "autoscaling_config" in one:
                return "ValidationError: Manually setting num_replicas is not allowed"
            if "num_replicas" in one and one["num_replicas"] < 1:
                return "ValidationError: num_replicas must be above 0"
    return None


def _serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def say(self, status: int, value: object) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _dashboard(cluster: StandIn) -> type[BaseHTTPRequestHandler]:
    class Dashboard(_Handler):
        def do_GET(self) -> None:
            self.answer("GET", b"")

        def do_PUT(self) -> None:
            self.answer("PUT", self.body())

        def answer(self, method: str, body: bytes) -> None:
            path = unquote(self.path)
            cluster.calls.append(f"{method} {path}")
            fault = cluster.fault(method, path) if cluster.fault is not None else None
            if fault == "before":
                self.close_connection = True
                return
            if fault is not None and fault != "after":
                self.say(int(fault), b"something went wrong")
                return
            status, value = self.done(method, path, body)
            if fault == "after":
                self.close_connection = True
                return
            self.say(status, value)

        def done(self, method: str, path: str, body: bytes) -> tuple[int, object]:
            given = self.headers.get("authorization")
            if cluster.token is not None and given != f"Bearer {cluster.token}":
                return (401 if given is None else 403), b"Unauthorized: authentication token"
            if path == "/api/serve/applications/":
                return self.applications(method, body)
            if path.startswith("/api/packages/gcs/"):
                return self.package(method, path.rpartition("/")[2], body)
            query = {key: one[0] for key, one in parse_qs(urlsplit(path).query).items()}
            if path.startswith("/api/v0/nodes"):
                rows = [{"node_id": "n1", "state": "ALIVE"}, {"node_id": "n0", "state": "DEAD"}]
                return 200, {"data": {"result": {"result": rows}}}
            if path.startswith("/api/v0/logs/file"):
                lines = cluster.lines[query["filename"]][-int(query["lines"]) :]
                return 200, "".join(f"{line}\n" for line in lines).encode()
            if path.startswith("/api/v0/logs"):
                begin = query["glob"].rstrip("*")
                names = [one for one in cluster.lines if one.startswith(begin)]
                return 200, {"data": {"result": {"internal": names}}}
            return 404, b"404: Not Found"

        def applications(self, method: str, body: bytes) -> tuple[int, object]:
            if method == "GET":
                return 200, cluster.read()
            wrong = cluster.put(json.loads(body))
            return (200, b"") if wrong is None else (400, wrong.encode())

        def package(self, method: str, name: str, body: bytes) -> tuple[int, object]:
            if method == "PUT":
                cluster.packages[name] = body
            return (200, b"") if name in cluster.packages else (404, b"Package does not exist")

    return Dashboard


def _proxy(cluster: StandIn) -> type[BaseHTTPRequestHandler]:
    class Proxy(_Handler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.body()
            self.answer()

        def answer(self) -> None:
            if self.path == "/-/routes":
                apps = cluster.read()["applications"]
                self.say(200, {one["route_prefix"]: name for name, one in apps.items()})
                return
            app = cluster.route_of(self.path)
            if app is None:
                self.say(404, b"Path not found")
                return
            version = app["config"]["args"]["bundle"].partition(":")[2]
            rest = self.path.removeprefix(app["config"]["route_prefix"].rstrip("/"))
            if rest == "/openapi.json":
                self.say(200, {"info": {"version": version}, "paths": {}})
            else:
                self.say(200, {"version": version})

    return Proxy
