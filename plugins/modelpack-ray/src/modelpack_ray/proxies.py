"""Where the proxies of Ray Serve answer, as seen from here, and what they know.

    serve_url, else what Serve says of itself + host of the dashboard ──url──► http://HOST:PORT, None
    GET /-/routes ──know──► whether a route leads to an application

An address that only the nodes can reach is none of ours: the health of Serve decides alone then.

Source: Ray's documentation, "Serve config files" (``http_options``); ``/-/routes`` is answered by every
proxy (``serve/_private/proxy.py``).
"""

from __future__ import annotations

import json
import socket
import urllib.parse
from dataclasses import dataclass
from typing import Protocol

from modelpack.deploy import Answer
from modelpack_ray.rest import Json

_REACH_S = 2.0


class Fetch(Protocol):
    """Makes one call of HTTP; raises OSError."""

    def __call__(self, url: str, timeout_s: float) -> Answer:
        """Return what was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies of one cluster."""

    dashboard: str
    """Address of its dashboard."""
    named: str | None
    """Their URL, if somebody said so."""
    fetch: Fetch

    def url(self, found: Json) -> str | None:
        """Return where they answer; None when that cannot be reached from here."""
        if self.named is not None:
            return self.named
        options = found.get("http_options") or {}
        host = str(options.get("host") or "")
        dashboard = urllib.parse.urlsplit(self.dashboard).hostname or ""
        if host in ("", "0.0.0.0", "::"):  # noqa: S104
            host = dashboard
        elif _is_loopback(host) and not _is_loopback(dashboard):
            return None  # that of its nodes, not ours
        port = int(options.get("port") or 0)
        if not host or not port or not _listens(host, port):
            return None
        scheme = "https" if options.get("ssl_certfile") else "http"
        root = str(options.get("root_path") or "").rstrip("/")
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{root}"

    def know(self, found: Json, route: str, application: str) -> bool:
        """Return whether the one that can be asked sends a route there; True where none can be."""
        base = self.url(found)
        if base is None:
            return True
        try:
            answer = self.fetch(f"{base}/-/routes", _REACH_S)
            routes = json.loads(answer.body)
        except (OSError, ValueError):
            return True
        return answer.status != 200 or routes.get(route) == application


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_REACH_S).close()
    except OSError:
        return False
    return True
