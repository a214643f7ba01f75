"""A small Heroku on loopback: what our calls of the Platform API need, over real HTTP.

Rules that it keeps, as Heroku's documentation has them:

* Whoever asks has the key; a key for reading changes nothing (403).  A request that is none of the
  schema's is refused with 422, and so is a body that does not fit.
* An app has a name that no other app has, its own dynos, and releases: ``v1`` and ``v2`` when it is made.
* A change of config vars is a release, and starts all dynos anew; null takes a variable away; there is
  room for 32 KB, and none for names that begin with ``HEROKU_``.
* An image is released by its id, only one that was pushed to the app's own repository, and only with
  the version ``3.docker-releases``; the first one makes the process ``web`` with one Basic dyno.
* Number and size of dynos are of no release.  Of Eco and Basic dynos there is one.
* Of these there is no preboot, which new dynos start by before the old ones end.
* Going back to a release is a new release with its image and its config vars.
* A dyno is ``starting`` at the first look and ``up`` at the next, unless its image crashes.
* Lists come in pages of two, newest release first when that is asked for.
* A log session is a URL that gives lines, and wants no key.

What of Heroku is not here: add-ons, teams' rights, the router's queue, time.  Apps answer below
``/serve/APP``.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from modelpack_heroku import strict
from modelpack_heroku.calls import DOCKER, VERSION, Calls
from modelpack_heroku.sizes import SIZES

from modelpack.testing import Hours

Json = dict[str, Any]

KEY = "key-of-the-tests"
READ_KEY = "key-for-reading"
REGISTRY = "registry.heroku.com"
EXAMPLE = {"content": {"application/json": {"example": {"x": 1}}}}


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status, self.word = status, word


class App:
    """One app, with its releases."""

    def __init__(self, name: str, body: Json, url: str, now: Callable[[], str]) -> None:
        self.name, self.url, self.now = name, url, now
        self.stack, self.region = body.get("stack", "heroku-24"), body.get("region", "us")
        self.team = body.get("team")
        self.config: dict[str, str] = {}
        self.image: str | None = None
        self.web: Json | None = None
        self.preboot = False
        self.releases: list[Json] = []
        self.looks = 0
        for said in ("Initial release", "Enable Logplex"):
            self.release(said)

    def release(self, said: str) -> None:
        self.looks = 0
        version = len(self.releases) + 1
        self.releases.append(
            {
                "id": f"{self.name}-release-{version}",
                "version": version,
                "description": said,
                "status": "succeeded",
                "created_at": self.now(),
                "kept": (dict(self.config), self.image),
            }
        )

    def described(self) -> Json:
        return {
            "id": f"id-of-{self.name}",
            "name": self.name,
            "region": {"name": self.region},
            "stack": {"name": self.stack},
            "web_url": f"{self.url}/serve/{self.name}/",
        }

    def state(self) -> str:
        mode = self.config.get("FAKE_MODE", "")
        where = "trial" if self.name.endswith("-trial") else "main"
        if mode in ("crash", f"crash in {where}"):
            return "crashed"
        return "starting" if self.looks < 2 else "up"

    def dynos(self) -> list[Json]:
        self.looks += 1
        count = 0 if self.web is None else int(self.web["quantity"])
        newest = {key: self.releases[-1][key] for key in ("id", "version")}
        return [
            {"type": "web", "name": f"web.{n + 1}", "state": self.state(), "release": newest}
            for n in range(count)
        ]


class FakeHeroku:
    """One account; ``fault`` decides what becomes of a call."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.apps: dict[str, App] = {}
        self.others = {"modelpack-taken"}
        """Names of apps that are somebody else's."""
        self.images: dict[str, set[str]] = {}
        """By app: the ids of the images in its repository."""
        self.calls: list[str] = []
        self.sent: list[tuple[str, str, Any]] = []
        self.fault: Callable[[str], str | None] = lambda _: None
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, *, attempts: int = 1) -> Calls:
        """Return who asks, with a clock that waits for nothing."""
        return Calls(endpoint=self.url, clock=Hours().clock(), attempts=attempts)

    def resources(self) -> list[str]:
        return sorted(self.apps)

    def push(self, spec: Any, reference: str, *, find_login: Any, **_: Any) -> Any:
        from modelpack.deploy.pushing import Pushed
        from modelpack.errors import UnreachableError

        self.calls.append("push")
        fault = self.fault("push")
        if fault == "refused":
            raise UnreachableError("cannot push: the registry went away")
        host, app, rest = reference.split("/")
        assert (host, rest) == (REGISTRY, "web:latest")
        assert (find_login(REGISTRY).username, find_login("other")) == ("_", None)
        assert self.apps[app].stack == "container"
        image = "sha256:" + (spec.version.encode().hex() * 64)[:64]
        self.images.setdefault(app, set()).add(image)
        if fault == "lost":
            raise UnreachableError("cannot push: the answer was lost")
        return Pushed("sha256:" + "0" * 64, 1, image)

    def now(self) -> str:
        self._moment += timedelta(seconds=1)
        return self._moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    # HTTP.

    def answer(self, method: str, path: str, headers: Any, data: bytes) -> tuple[int, Json, Any]:
        if path.startswith("/logs/"):
            return 200, {}, self._log(path)
        if path.startswith("/serve/"):
            return self._serve(method, path)
        key = str(headers["Authorization"]).removeprefix("Bearer ")
        if key not in (KEY, READ_KEY):
            raise Refused(401, "unauthorized", "Invalid credentials provided.")
        if key == READ_KEY and method != "GET":
            raise Refused(
                403, "forbidden", "The scope of this OAuth authorization doesn't allow it"
            )
        if headers["Accept"] not in (VERSION, DOCKER):
            raise Refused(406, "bad_version", "no such version")
        body = json.loads(data) if data else None
        if wrong := strict.problems(method, path, body):
            raise Refused(422, "invalid_params", "; ".join(wrong))
        if method != "GET":
            self.sent.append((method, path, body))
        if path in ("/apps", "/teams/apps"):
            return self._all(method, headers, body)
        _, _, name, *below = path.split("/")
        if name in self.others:
            raise Refused(403, "forbidden", f"You do not have access to the app {name}.")
        if name not in self.apps:
            raise Refused(404, "not_found", "Couldn't find that app.")
        word = (below or ["app"])[0].replace("-", "_")
        act = getattr(self, f"_{method.lower()}_{word}")
        status, found = act(self.apps[name], body, headers)
        return self._page(found, headers) if isinstance(found, list) else (status, {}, found)

    def _all(self, method: str, headers: Any, body: Any) -> tuple[int, Json, Any]:
        if method == "GET":
            return self._page([self.apps[name].described() for name in sorted(self.apps)], headers)
        name = body["name"]
        if name in self.apps or name in self.others:
            raise Refused(422, "invalid_params", f"Name {name} is already taken")
        if "xx" in body.get("team", ""):
            raise Refused(404, "not_found", "Couldn't find that team.")
        self.apps[name] = App(name, body, self.url, self.now)
        return 201, {}, self.apps[name].described()

    def _page(self, found: list[Any], headers: Any) -> tuple[int, Json, Any]:
        asked = headers.get("Range") or ""
        if most := re.search(r"max=(\d+)", asked):
            return 206, {}, found[: int(most[1])]
        start = int(asked or 0)
        more = {"Next-Range": str(start + 2)} if start + 2 < len(found) else {}
        return (206 if more else 200), more, found[start : start + 2]

    def _get_app(self, app: App, *_: Any) -> tuple[int, Any]:
        return 200, app.described()

    def _delete_app(self, app: App, *_: Any) -> tuple[int, Any]:
        del self.apps[app.name]
        self.images.pop(app.name, None)
        return 200, app.described()

    def _get_config_vars(self, app: App, *_: Any) -> tuple[int, Any]:
        return 200, app.config

    def _patch_config_vars(self, app: App, body: Json, *_: Any) -> tuple[int, Any]:
        if any(name.startswith("HEROKU_") for name in body):
            raise Refused(422, "invalid_params", "Config var names may not start with HEROKU_")
        config = {key: one for key, one in {**app.config, **body}.items() if one is not None}
        if sum(len(key) + len(one) for key, one in config.items()) > 32768:
            raise Refused(422, "invalid_params", "Config vars are too large")
        app.config = config
        app.release("Set config vars")
        return 200, config

    def _get_formation(self, app: App, *_: Any) -> tuple[int, Any]:
        return 200, [] if app.web is None else [app.web]

    def _patch_formation(self, app: App, body: Json, headers: Any) -> tuple[int, Any]:
        [update] = body["updates"]
        if "docker_image" in update:
            if headers["Accept"] != DOCKER:
                raise Refused(422, "invalid_params", "Unknown parameter: docker_image")
            if update["docker_image"] not in self.images.get(app.name, set()):
                raise Refused(404, "not_found", "Couldn't find that image.")
            app.image = update["docker_image"]
            app.web = app.web or {"type": "web", "quantity": 1, "size": "Basic"}
            app.release("Deployed web")
        if app.web is None:
            raise Refused(404, "not_found", "Couldn't find that process type (web).")
        size = str(update.get("size", app.web["size"])).lower()
        quantity = update.get("quantity", app.web["quantity"])
        if size not in SIZES:
            raise Refused(422, "invalid_params", f"No such size as {size}")
        if quantity > SIZES[size].most:
            raise Refused(422, "cannot_update", f"Cannot scale {size} dynos above 1")
        if app.preboot and SIZES[size].most == 1:
            raise Refused(422, "cannot_update", f"Preboot is not available on {size} dynos")
        if size != app.web["size"].lower():
            app.looks = 0
        app.web = {"type": "web", "quantity": quantity, "size": size.capitalize()}
        return 200, [app.web]

    def _patch_features(self, app: App, body: Json, *_: Any) -> tuple[int, Any]:
        if body["enabled"] and (app.web is None or SIZES[app.web["size"].lower()].most == 1):
            raise Refused(422, "invalid_params", "Preboot is not available on these dynos")
        app.preboot = body["enabled"]
        return 200, {"name": "preboot", "enabled": app.preboot}

    def _get_dynos(self, app: App, *_: Any) -> tuple[int, Any]:
        return 200, app.dynos()

    def _get_releases(self, app: App, _: Any, headers: Any) -> tuple[int, Any]:
        assert "order=desc" in headers["Range"]
        told = [{k: v for k, v in one.items() if k != "kept"} for one in app.releases]
        return 200, told[::-1]

    def _post_releases(self, app: App, body: Json, *_: Any) -> tuple[int, Any]:
        found = next((one for one in app.releases if one["id"] == body["release"]), None)
        if found is None:
            raise Refused(404, "not_found", "Couldn't find that release.")
        app.config, app.image = dict(found["kept"][0]), found["kept"][1]
        app.release(f"Rollback to v{found['version']}")
        return 201, {"id": app.releases[-1]["id"]}

    def _post_log_sessions(self, app: App, body: Json, *_: Any) -> tuple[int, Any]:
        assert body["source"] == "app"
        tail = "follow" if body["tail"] else "end"
        return 201, {"logplex_url": f"{self.url}/logs/{app.name}/{body['lines']}/{tail}"}

    def _log(self, path: str) -> bytes:
        name, lines, tail = path.split("/")[2:5]
        head = "2026-01-01T00:00:01.500000+00:00 app[web.1]: "
        written = ["this is it", '{"event":"ready"}', f"asked in {name}"]
        if self.apps[name].config.get("FAKE_MODE") == "crash":
            written.append('{"event":"crash","error":"no such file: weights"}')
        found = [head + one for one in written][-int(lines) :]
        return "\n".join([*found, *([head + "and on"] if tail == "follow" else [])]).encode()

    def _serve(self, method: str, path: str) -> tuple[int, Json, Any]:
        _, _, name, *way = path.split("/")
        app = self.apps.get(name)
        if app is None or app.image is None or app.state() != "up" or not app.web:
            return 503, {}, {}
        if way == ["openapi.json"]:
            info = {"title": "fake", "version": app.config["MODELPACK_TAG"].partition(":")[2]}
            paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
            return 200, {}, {"openapi": "3.1.0", "info": info, "paths": paths}
        if method == "POST" and app.config.get("FAKE_MODE") == "wrong":
            return 500, {}, {}
        return 200, {}, {"doubled": 2}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        heroku = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet

            def handle_any(self) -> None:
                data = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = urlsplit(self.path).path
                word = f"{self.command} {path}"
                with heroku.lock:
                    fault = None
                    if not path.startswith("/serve/"):
                        heroku.calls.append(word)
                        fault = heroku.fault(word)
                    if fault == "refused":
                        self.send(500, {}, {"id": "internal", "message": "go away"})
                        return
                    if fault == "throttled":
                        self.send(429, {}, {"id": "rate_limit", "message": "too fast"})
                        return
                    try:
                        status, more, value = heroku.answer(self.command, path, self.headers, data)
                    except Refused as refused:
                        told = {"id": refused.word, "message": str(refused)}
                        status, more, value = refused.status, {}, told
                if fault == "lost":
                    self.close_connection = True
                    return
                self.send(status, more, value)

            do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = handle_any

            def send(self, status: int, more: Json, value: Any) -> None:
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for key, one in more.items():
                    self.send_header(key, one)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                return

        return Handler
