"""The dashboard of a Ray cluster over HTTP, and what it answers in our words.

    Dashboard(address, token) ──GET, PUT──► /api/serve/applications/ · /api/packages · /api/v0/logs
        401, 403 ► CredentialsError   400 ► DeployError   nobody there ► UnreachableError

The token is that of Ray's own tools: ``RAY_AUTH_TOKEN``, else the file that ``RAY_AUTH_TOKEN_PATH``
names, else ``~/.ray/auth_token``.  It is read when something is asked, sent as a bearer token, and
never shown or written down.

Sources: Ray's documentation, "Serve REST API", "State API", "Token authentication"; what a dashboard
shows to browsers has variables masked, and this client is none (``dashboard/runtime_env_redaction.py``).
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import (
    CredentialsError,
    DeployError,
    ModelpackError,
    ToolMissingError,
    UnreachableError,
    UsageError,
)

Json = dict[str, Any]

_APPLICATIONS = "/api/serve/applications/"
_TIMEOUT_S = 30.0
_SEND_TIMEOUT_S = 600.0
_WAITS_S = (0.2, 0.6, 1.5)
_MOST_SAID = 240
_AGAIN = {502, 503, 504}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Asks the head node of a cluster."""

    address: str
    """Such as ``http://127.0.0.1:8265``."""
    sleep: Callable[[float], None] = time.sleep

    def applications(self) -> Json:
        """Return what Serve says of itself and its applications (``ServeInstanceDetails``)."""
        found = self._json(_APPLICATIONS)
        if not isinstance(found.get("applications"), dict):
            raise _no_dashboard(self.address)
        return found

    def put_applications(self, config: Mapping[str, Any]) -> None:
        """Make these the applications of the cluster (``ServeDeploySchema``): others are deleted."""
        hidden = _values_of(config)
        body = json.dumps(config).encode()
        self._call("PUT", _APPLICATIONS, body=body, hidden=hidden)

    def has_package(self, name: str) -> bool:
        """Return whether the cluster keeps a package; it keeps it ten minutes longer then."""
        return self._call("GET", f"/api/packages/gcs/{name}", absent_ok=True) is not None

    def put_package(self, name: str, data: bytes) -> None:
        """Give a package to the cluster."""
        path = f"/api/packages/gcs/{name}"
        self._call("PUT", path, body=data, kind="application/octet-stream")

    def nodes(self) -> list[str]:
        """Return the ids of the nodes that are up."""
        found = self._json("/api/v0/nodes?limit=1000")
        rows = found.get("data", {}).get("result", {}).get("result", [])
        return sorted(str(row["node_id"]) for row in rows if row.get("state") == "ALIVE")

    def log_files(self, node: str, glob: str) -> list[str]:
        """Return the log files of a node whose names fit."""
        query = urllib.parse.urlencode({"node_id": node, "glob": glob})
        found = self._json(f"/api/v0/logs?{query}").get("data", {}).get("result", {})
        return sorted(str(name) for names in found.values() for name in names)

    def log_lines(self, node: str, file: str, most: int) -> list[str]:
        """Return the last lines of a log file."""
        query = urllib.parse.urlencode(
            {"node_id": node, "filename": file, "lines": most, "format": "text"}
        )
        data = self._call("GET", f"/api/v0/logs/file?{query}", absent_ok=True) or b""
        return data.decode("utf-8", "replace").splitlines()

    def _json(self, path: str) -> Json:
        data = self._call("GET", path)
        try:
            found = json.loads(data or b"")
        except ValueError as cause:
            raise _no_dashboard(self.address) from cause
        if not isinstance(found, dict):
            raise _no_dashboard(self.address)
        return found

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        kind: str = "application/json",
        absent_ok: bool = False,
        hidden: frozenset[str] = frozenset(),
    ) -> bytes | None:
        """Make one call, three times more while nobody answers; None: not there."""
        for wait_s in (*_WAITS_S, None):
            try:
                return self._once(method, path, body, kind)
            except urllib.error.HTTPError as cause:
                with cause:
                    if cause.code == 404 and absent_ok:
                        return None
                    if cause.code not in _AGAIN or wait_s is None:
                        raise self._refusal(cause, hidden) from cause
            except (OSError, http.client.HTTPException) as cause:
                if wait_s is None:
                    raise UnreachableError(
                        f"no Ray dashboard answers at '{self.address}': {_reason(cause)}",
                        hint="see 'ray status' there, and whether its port is open to this machine",
                    ) from cause
            self.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        request = urllib.request.Request(  # noqa: S310  http or https, see ``checked_address``
            self.address.rstrip("/") + path, data=body, method=method
        )
        request.add_header("user-agent", "modelpack")
        if body is not None:
            request.add_header("content-type", kind)
        if (token := _token()) is not None:
            request.add_header("authorization", f"Bearer {token}")
        timeout_s = _TIMEOUT_S if body is None else _SEND_TIMEOUT_S
        handlers: list[Any] = [_NoRedirect]
        if _is_loopback(self.address):  # whatever proxy the environment names
            handlers.append(urllib.request.ProxyHandler({}))
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as answer:
            return bytes(answer.read())

    def _refusal(self, cause: urllib.error.HTTPError, hidden: frozenset[str]) -> ModelpackError:
        text = cause.read(1 << 20).decode("utf-8", "replace")
        for value in hidden:
            text = text.replace(value, "(hidden)")
        said = last_line(text)
        if cause.code in (401, 403):
            return CredentialsError(
                f"the Ray cluster at '{self.address}' does not let us in: {said}",
                hint="set RAY_AUTH_TOKEN to its token, or write it to ~/.ray/auth_token",
            )
        if cause.code == 501:
            return ToolMissingError(
                f"the Ray cluster at '{self.address}' has no Ray Serve",
                hint="install 'ray[serve]' on its nodes",
            )
        if cause.code == 413:
            return DeployError(
                "the Ray dashboard refuses the package: it is too large",
                hint="let '--option packages=/FOLDER' name a folder that every node sees",
            )
        if cause.code == 404:
            return _no_dashboard(self.address)
        if cause.code in _AGAIN:
            return UnreachableError(f"the Ray cluster does not answer: {said or cause.code}")
        return DeployError(f"Ray refuses: {said or f'HTTP {cause.code}'}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the token is for this address alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def checked_address(text: str) -> str:
    """Return the address of a dashboard; raises UsageError for what is none."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"'{text}' is not the address of a Ray dashboard",
            hint="such as http://HOST:8265: not the port that 'ray start --address' takes",
        )
    return text.rstrip("/")


def last_line(text: str) -> str:
    """Return the last line that says something, short enough to be read and fit for a terminal."""
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    lines = [" ".join(line.split()) for line in plain.splitlines()]
    line = next((line for line in reversed(lines) if line), "")
    return line if len(line) <= _MOST_SAID else line[: _MOST_SAID - 1] + "…"


def _token() -> str | None:
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return value
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path("~/.ray/auth_token").expanduser()
    try:
        return file.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as cause:
        if named:
            raise CredentialsError(
                "the file that RAY_AUTH_TOKEN_PATH names cannot be read",
                hint="mend the variable, or set RAY_AUTH_TOKEN",
            ) from cause
        return None


def _values_of(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the values of all variables that a config holds: an error must not repeat them."""
    found = set()
    for app in config.get("applications", ()):
        runtime = app.get("runtime_env") or {}
        found |= {str(value) for value in (runtime.get("env_vars") or {}).values() if value}
    return frozenset(found)


def _is_loopback(address: str) -> bool:
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(cause: BaseException) -> str:
    inner = getattr(cause, "reason", cause)
    return str(getattr(inner, "strerror", None) or inner or type(cause).__name__)


def _no_dashboard(address: str) -> UnreachableError:
    return UnreachableError(
        f"what answers at '{address}' is no Ray dashboard",
        hint="name the dashboard of the head node, such as http://HOST:8265",
    )
