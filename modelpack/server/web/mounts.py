"""Applications of the service's author below a path: http and WebSocket, with their lifespan.

    request /ui/… ─► Mounted ─► known host? same origin? ─► the application, untouched
                        └─ before its start-up is over ─► 503

    start: lifespan of each, in order        stop: the same, backwards

The answers of a mounted application get a request id and are otherwise its own.  On a loopback
address a mounted application answers only to hosts that the server knows, as the pages do (threat
model S13): behind a public address it has whatever name people give it.  A WebSocket is opened by
any page in a browser, so there the page must be of this very origin, or of an allowed host.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Route
from starlette.routing import Mount as Below
from starlette.types import Message, Receive, Scope, Send

from modelpack.errors import UserCodeError
from modelpack.sdk.mounts import AsgiApp, Mount
from modelpack.server.observe.logs import log_internal
from modelpack.server.problems import NOT_READY, Problem
from modelpack.server.web.pages import FOREIGN, added_hosts, allowed_hosts, host_name, is_known
from modelpack.server.web.replies import REQUEST_ID, fields_of, problem_reply

_OTHER_ORIGIN = Problem(
    403,
    "origin-refused",
    "origin refused",
    "a page of another origin asked; add its host to MODELPACK_ALLOWED_HOSTS",
)


class Mounts:
    """What is mounted on one version of a service."""

    def __init__(self, mounts: Sequence[Mount], bound_host: str) -> None:
        hosts = allowed_hosts(bound_host)
        self._mounted = [Mounted(one, hosts, is_local=_is_loopback(bound_host)) for one in mounts]

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The beginnings of raw paths below which WebSockets may be opened."""
        return tuple(f"{one.path}/".encode() for one in self._mounted)

    @property
    def routes(self) -> list[BaseRoute]:
        """What leads to the applications; the bare path leads to the one with a slash."""
        routes: list[BaseRoute] = []
        for one in self._mounted:
            routes.append(Route(one.path, _Slash(one.path)))
            routes.append(Below(one.path, app=one))
        return routes

    async def start(self) -> None:
        """Run the start-up of each; raises UserCodeError, those before it being ended again."""
        if self._mounted:
            import modelpack.server.http.websocket  # noqa: F401 (the first WebSocket need not wait)
        try:
            for one in self._mounted:
                await one.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> bool:
        """Run the shut-down of each that was started; returns False when one failed."""
        return all([await one.stop() for one in reversed(self._mounted)])


class Mounted:
    """One application below a path."""

    def __init__(self, mount: Mount, hosts: frozenset[str], *, is_local: bool) -> None:
        self.path = mount.path
        self._app = mount.app
        self._hosts = hosts
        self._partners = added_hosts()
        self._is_local = is_local
        self._lifespan = Lifespan(mount.app, mount.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        problem = self._refusal(scope)
        if problem is not None:
            await refuse(problem, scope, receive, send)
            return
        request_id = (b"x-request-id", scope[REQUEST_ID])

        async def with_id(message: Message) -> None:
            if message["type"] in _STARTS:
                headers = list(message.get("headers", ()))
                if not any(name.lower() == request_id[0] for name, _ in headers):
                    message = {**message, "headers": [*headers, request_id]}
            await send(message)

        scope["state"] = dict(self._lifespan.state)
        await self._app(scope, receive, with_id)

    async def start(self) -> None:
        """Run the application's start-up; raises UserCodeError."""
        await self._lifespan.start()

    async def stop(self) -> bool:
        """Run its shut-down; returns False when that failed."""
        return await self._lifespan.stop()

    def _refusal(self, scope: Scope) -> Problem | None:
        if not self._lifespan.is_open:
            return NOT_READY
        fields = fields_of(scope)
        host = fields.get(b"host", b"").decode("latin-1")
        if self._is_local and not is_known(host_name(host), self._hosts):
            return FOREIGN
        origin = fields.get(b"origin", b"").decode("latin-1")
        if scope["type"] == "websocket" and origin and not self._may_open(origin, host):
            return _OTHER_ORIGIN
        return None

    def _may_open(self, origin: str, host: str) -> bool:
        """Say whether a page of that origin may open a WebSocket to that host."""
        netloc = urlsplit(origin).netloc.lower()
        if netloc and netloc == host.lower():
            return True
        return "*" in self._partners or host_name(netloc) in self._partners


_STARTS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the handshake of a WebSocket, with a problem."""
    if scope["type"] != "websocket":
        await problem_reply(problem, scope)(scope, receive, send)
        return

    async def denied(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await problem_reply(problem, scope)(scope, receive, denied)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Slash:
    """Leads from ``/ui`` to ``/ui/``, wherever the client thinks that is."""

    def __init__(self, path: str) -> None:
        self._path = path.encode()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        query = scope["query_string"]
        location = self._path + b"/" + (b"?" + query if query else b"")
        headers = [
            (b"location", location),
            (b"content-length", b"0"),
            (b"x-request-id", scope[REQUEST_ID]),
        ]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


class Lifespan:
    """Start-up and shut-down of one application, as ASGI has them."""

    def __init__(self, app: AsgiApp, path: str) -> None:
        self._app = app
        self._path = path
        self.state: dict[str, Any] = {}
        """What the application put there for its requests."""
        self.is_open = False
        """True from the end of the start-up to the begin of the shut-down."""
        self._task: asyncio.Task[None] | None = None
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()

    async def start(self) -> None:
        """Return when the application has started; raises UserCodeError when it cannot."""
        self._task = task = asyncio.ensure_future(self._run())
        self._incoming.put_nowait({"type": "lifespan.startup"})
        answer = await self._answer(task)
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise UserCodeError(
                f"the application on '{self._path}' did not start: "
                f"{_last_line(answer.get('message', ''))}",
                hint="its start-up is part of the service's: see what it needs",
            )
        # An application that ends or raises at once has no lifespan, says ASGI.
        self.is_open = True

    async def stop(self) -> bool:
        """Return when the application has shut down; False when it said that it failed."""
        task, self._task = self._task, None
        was_open, self.is_open = self.is_open, False
        if task is None:
            return True
        answer = None
        if was_open:  # else it may still be starting, and would not hear us
            self._incoming.put_nowait({"type": "lifespan.shutdown"})
            answer = await self._answer(task)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return answer is None or answer["type"] != "lifespan.shutdown.failed"

    async def _answer(self, task: asyncio.Task[None]) -> Message | None:
        """Return what the application says next; None when its task has ended."""
        saying = asyncio.ensure_future(self._outgoing.get())
        await asyncio.wait((saying, task), return_when=asyncio.FIRST_COMPLETED)
        if saying.done():
            return saying.result()
        saying.cancel()
        return None if self._outgoing.empty() else self._outgoing.get_nowait()

    async def _run(self) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._incoming.get, self._outgoing.put)
        except Exception as error:
            if self.is_open:
                log_internal(error)


def _last_line(text: str) -> str:
    """Return the last line of what may be a traceback."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it said so"
