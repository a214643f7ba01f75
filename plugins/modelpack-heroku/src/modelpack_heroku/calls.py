"""The Platform API behind two calls, each checked before it leaves.

    Calls(endpoint, token_file)
        call("PATCH", "/apps/words/formation", what, body) ──strict──► Heroku ──► JSON
        listed("/apps", what)       ──page by page──► all of them
        stream(url)                 ──► lines, as they come

What always holds: reading is tried again, what changes something only when Heroku says that it did
nothing (429, 503); a connection is closed with its call; the key goes to the API alone, and to no place
that an answer names.  Source: Heroku Platform API reference ("Clients", "Ranges", "Rate Limits").
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.deploy import Clock, one_line
from modelpack.errors import DeployError, UnreachableError
from modelpack_heroku import strict
from modelpack_heroku.credentials import key_of
from modelpack_heroku.refusals import refusal

API = "https://api.heroku.com"
VERSION = "application/vnd.heroku+json; version=3"
DOCKER = "application/vnd.heroku+json; version=3.docker-releases"
"""What the release of an image is asked for with."""

_TIMEOUT_S = 60.0
_STREAM_S = 600.0
_SAFE = frozenset({429, 503})
_SAFE_TO_READ = _SAFE | {500, 502, 504}
_MOST_PAGES = 100


class Heroku(Protocol):
    """Who asks Heroku: ``Calls``."""

    clock: Clock

    def call(
        self, method: str, path: str, what: str, body: Any = None, *, docker: bool = False
    ) -> Any:
        """Make a request; raises in our words what keeps it from ``what``."""

    def listed(self, path: str, what: str, *, newest: int | None = None) -> list[Mapping[str, Any]]:
        """Return all of a list; ``newest``: the last so many releases alone, newest first."""

    def stream(self, url: str) -> Iterator[str]:
        """Yield the lines that come from a URL until it ends."""

    def key(self) -> str:
        """Return the key; raises CredentialsError."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """Where Heroku is and who asks."""

    endpoint: str | None = None
    """Another address of the API, such as that of a stand-in."""
    token_file: str | None = None
    clock: Clock = field(default_factory=Clock)
    attempts: int = 4
    """How often something is asked that may be asked again."""
    _opener: Any = field(default=None, init=False, repr=False)

    def key(self) -> str:
        """Return the key of whoever asks."""
        return key_of(self.token_file)

    def call(
        self, method: str, path: str, what: str, body: Any = None, *, docker: bool = False
    ) -> Any:
        """Make a request and return the JSON of its answer, None for an empty one.

        Raises UsageError for what the schema does not allow, before anything is sent,
        UnreachableError, and what ``refusals`` says.
        """
        headers = {"Accept": DOCKER if docker else VERSION}
        return self._call(method, path, what, body, headers)[0]

    def listed(self, path: str, what: str, *, newest: int | None = None) -> list[Mapping[str, Any]]:
        """Return all of a list, page by page."""
        found: list[Mapping[str, Any]] = []
        asked = f"version ..; order=desc,max={newest}" if newest else ""
        for _ in range(_MOST_PAGES):
            headers = {"Accept": VERSION, **({"Range": asked} if asked else {})}
            page, asked = self._call("GET", path, what, None, headers)
            found += page or ()
            if newest or not asked:
                break
        return found[:newest]

    def stream(self, url: str) -> Iterator[str]:
        """Yield the lines of a log session; it ends when Heroku ends it."""
        if not url.startswith(("https://", "http://")):
            raise DeployError("cannot read the log: what answered is not Heroku")
        request = urllib.request.Request(url, headers={"User-Agent": "modelpack"})  # noqa: S310  looked at
        with _reached("read the log"), self._open(request, _STREAM_S) as answer:
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\r\n")

    def _call(
        self, method: str, path: str, what: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[Any, str]:
        strict.require(method, path, body)
        again = _SAFE_TO_READ if method == "GET" else _SAFE
        for attempt in range(self.attempts):
            is_last = attempt + 1 == self.attempts
            try:
                status, following, data = self._once(method, path, what, body, headers)
            except UnreachableError:
                if method != "GET" or is_last:
                    raise
            else:
                if status < 300:
                    return _json(data, what), following
                if status not in again or is_last:
                    raise refusal(status, data, what)
            self.clock.sleep(2.0**attempt)
        raise AssertionError(what)

    def _once(
        self, method: str, path: str, what: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        data = None if body is None else json.dumps(body).encode()
        own = {"Authorization": f"Bearer {self.key()}", "User-Agent": "modelpack"}
        kind = {"Content-Type": "application/json"} if data is not None else {}
        request = urllib.request.Request(  # noqa: S310  an address that was looked at
            (self.endpoint or API).rstrip("/") + path,
            data=data,
            method=method,
            headers={**headers, **own, **kind},
        )
        with _reached(what):
            try:
                with self._open(request, _TIMEOUT_S) as answer:
                    return answer.status, _next(answer), answer.read()
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, "", refused.read()

    def _open(self, request: urllib.request.Request, timeout_s: float) -> Any:
        if self._opener is None:
            direct = [urllib.request.ProxyHandler({})] if self.endpoint is not None else []
            self._opener = urllib.request.build_opener(_StayHere, *direct)
        return self._opener.open(request, timeout=timeout_s)


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows nobody: a redirect would take the key along."""

    def redirect_request(self, *_: Any) -> None:
        return None


@contextmanager
def _reached(what: str) -> Iterator[None]:
    """Say in our words that Heroku was not reached."""
    try:
        yield
    except (OSError, http.client.HTTPException) as cause:
        if isinstance(cause, urllib.error.HTTPError):
            cause.close()
        why = getattr(cause, "reason", None) or cause
        told = one_line(str(getattr(why, "strerror", None) or why)) or type(cause).__name__
        raise UnreachableError(
            f"cannot {what}: {told}",
            hint="see whether this machine has a network, and what '--option endpoint' says",
        ) from cause


def _next(answer: Any) -> str:
    """Return the range of the page that follows; empty for the last one."""
    return str(answer.headers.get("Next-Range") or "")


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data) if data.strip() else None
    except ValueError as cause:
        raise DeployError(
            f"cannot {what}: what answered is not Heroku", hint="see what '--option endpoint' is"
        ) from cause
