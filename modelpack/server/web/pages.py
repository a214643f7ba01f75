"""Pages for people: a page to try the service, the documentation, and the files they need.

    /                the try-it page, filled with the example of each api; a program that does not
                     ask for HTML gets what a contract has there, if one has something
    /docs            Swagger UI over /openapi.json, without a request to anywhere else
    /static/NAME     the files of the list below; no other name is looked up anywhere
    /openapi.json    the document, made when it is asked for the first time

These pages answer only to hosts they know, so that a page of somebody else cannot reach them by
DNS rebinding (threat model S13), and forbid everything that they do not use.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelpack.server.problems import Headers, Problem
from modelpack.server.web.replies import Reply, fields_of, problem_reply

_FOLDER = Path(__file__).parent / "static"

_SCRIPT = "text/javascript; charset=utf-8"
_SCRIPTS = (
    "try", "try-answer", "try-arrays", "try-client", "try-document", "try-draw", "try-fields",
    "try-html", "try-request", "try-snippets", "try-table", "docs",
)  # fmt: skip

_FILES = {
    "/": ("try.html", "text/html; charset=utf-8"),
    **{f"/static/{name}.js": (f"{name}.js", _SCRIPT) for name in _SCRIPTS},
    "/static/try.css": ("try.css", "text/css; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/static/swagger-ui-bundle.js": ("swagger/swagger-ui-bundle.js", _SCRIPT),
    "/static/swagger-ui.css": ("swagger/swagger-ui.css", "text/css; charset=utf-8"),
    "/static/favicon-32x32.png": ("swagger/favicon-32x32.png", "image/png"),
}

SECURITY_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
            b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    # A page must belong to the server that runs now, not to the one before.
    (b"cache-control", b"no-cache"),
)

VARY = (b"vary", b"accept")
"""Header of what is at ``/``: who asks for something else gets something else."""

FOREIGN = Problem(
    403,
    "host-refused",
    "host refused",
    "this page does not answer to that Host; add it to MODELPACK_ALLOWED_HOSTS",
)


def page_routes(
    bound_host: str, document: Callable[[], bytes], *, home: ASGIApp | None = None
) -> list[Route]:
    """Return the routes of every page; the files are read now.

    document  makes the OpenAPI document, as JSON
    home      answers ``/`` for whoever does not ask for HTML; None: everybody gets the page
    """
    hosts = allowed_hosts(bound_host)
    pages: dict[str, Any] = {
        path: Reply(200, kind.encode(), (_FOLDER / name).read_bytes(), SECURITY_HEADERS)
        for path, (name, kind) in _FILES.items()
    }
    pages["/openapi.json"] = _Made(document)
    pages["/"] = replace(pages["/"], headers=(*SECURITY_HEADERS, VARY))
    if home is not None:
        pages["/"] = _Home(pages["/"], home)
    return [Route(path, KnownHost(page, hosts), methods=["GET"]) for path, page in pages.items()]


class _Home:
    """What is at ``/``: a page for people, who ask for HTML, and something else for programs.

    Probes and clients accept anything (``*/*``), or JSON; browsers always name text/html.
    """

    def __init__(self, page: ASGIApp, other: ASGIApp) -> None:
        self._page = page
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the Accept header asks."""
        is_page = b"text/html" in fields_of(scope).get(b"accept", b"").lower()
        await (self._page if is_page else self._other)(scope, receive, send)


class _Made:
    """A page that is made once, when it is first asked for: most servers never are."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._reply: Reply | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._reply is None:
            self._reply = Reply(200, b"application/json", self._make(), SECURITY_HEADERS)
        await self._reply(scope, receive, send)


def allowed_hosts(bound_host: str) -> frozenset[str]:
    """Return the host names that pages answer to, lower-case, without ports.

    ``MODELPACK_ALLOWED_HOSTS`` adds more, separated by commas; ``*`` allows all.
    """
    return frozenset({"localhost", bound_host.lower()}) | added_hosts()


def added_hosts() -> frozenset[str]:
    """Return the host names in ``MODELPACK_ALLOWED_HOSTS``, lower-case."""
    names = os.environ.get("MODELPACK_ALLOWED_HOSTS", "").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


class KnownHost:
    """Lets a request through when its Host is known, or is an address and not a name.

    An address cannot be rebound: only names can be made to point at this machine.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        host = host_name(fields_of(scope).get(b"host", b"").decode("latin-1"))
        app = self._app if is_known(host, self._hosts) else problem_reply(FOREIGN, scope)
        await app(scope, receive, send)


def is_known(host: str, hosts: frozenset[str]) -> bool:
    """Say whether a host without its port is one of ``hosts``, or an address."""
    return host in hosts or "*" in hosts or _is_address(host)


def host_name(header: str) -> str:
    """Return the host of a Host header, lower-case, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
