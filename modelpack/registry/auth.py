"""Proves to a registry who asks: Basic, or a token fetched where the registry says.

    401 WWW-Authenticate: Basic                       ──► user and password
    401 WWW-Authenticate: Bearer realm, service, scope ──► realm?service&scope ──► token
                                                           (kept until it expires)

The password goes to the registry or to the realm it names, over TLS unless the registry itself is
spoken to in the open; a token goes to its registry alone.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from modelpack.errors import LoginNeededError, RefusedError, RegistryError
from modelpack.registry.credentials import Credentials
from modelpack.registry.names import is_loopback

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?:\s+|$)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_DEFAULT_LIFE_S = 60.0
_MARGIN_S = 5.0
_CLIENT = "modelpack"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which a server wants to be told who asks."""

    scheme: str
    """Lower case."""
    parameters: Mapping[str, str]


class Fetch(Protocol):
    """Makes one request to a token server and returns status and body."""

    def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Return status and body, whatever they are."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until: float


def read_challenges(header: str) -> list[Challenge]:
    """Read a ``WWW-Authenticate`` header; what cannot be read is left out."""
    found: list[Challenge] = []
    at = 0
    while match := _SCHEME.match(header, at):
        at = match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(header, at):
            quoted = pair[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
            parameters.setdefault(pair[1].lower(), value)
            at = pair.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found


class Authority:
    """What one registry was told and what it gave for it; any thread may ask."""

    def __init__(
        self,
        host: str,
        credentials: Callable[[], Credentials | None],
        fetch: Fetch,
        *,
        allow_plain: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._fetch = fetch
        self._allow_plain = allow_plain
        self._clock = clock
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._known: list[Credentials | None] = []

    def header(self, scopes: Sequence[str]) -> str | None:
        """Return the ``Authorization`` that is expected to do; None before the first challenge."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                found = self._find()
                return found.basic if found else None
            token = self._tokens.get(tuple(scopes))
            if token is None or token.until < self._clock():
                token = self._new_token(self._challenge, scopes)
            return f"Bearer {token.value}"

    def answer(self, header: str, scopes: Sequence[str], used: str | None) -> str | None:
        """Return the ``Authorization`` for a challenge; None when there is nothing more to say.

        ``used`` is what the refused request carried.  Raises LoginNeededError, RegistryError.
        """
        challenges = {one.scheme: one for one in read_challenges(header)}
        chosen = challenges.get("bearer") or challenges.get("basic")
        if chosen is None:
            return None
        with self._lock:
            self._challenge = chosen
            if chosen.scheme == "basic":
                found = self._find()
                return found.basic if found and found.basic != used else None
            token = self._tokens.get(tuple(scopes))
            if token is None or f"Bearer {token.value}" == used or token.until < self._clock():
                token = self._new_token(chosen, scopes)
            return f"Bearer {token.value}"

    def _find(self) -> Credentials | None:
        if not self._known:
            self._known.append(self._credentials())
        return self._known[0]

    def _new_token(self, challenge: Challenge, scopes: Sequence[str]) -> _Token:
        realm = self._checked_realm(challenge)
        service = challenge.parameters.get("service", "")
        asked = list(scopes) or challenge.parameters.get("scope", "").split()
        found = self._find()
        if found is not None and found.is_identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": found.secret,
                "service": service,
                "scope": " ".join(asked),
                "client_id": _CLIENT,
            }
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = self._fetch("POST", realm, headers=kind, body=urlencode(form).encode())
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in asked]
            query += [("client_id", _CLIENT), *([("account", found.username)] if found else [])]
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            headers = {"Authorization": found.basic} if found else {}
            status, body = self._fetch("GET", url, headers=headers, body=b"")
        token = self._read_token(status, body)
        self._tokens[tuple(scopes)] = token
        return token

    def _read_token(self, status: int, body: bytes) -> _Token:
        if status in (400, 401, 403):
            raise LoginNeededError(
                f"'{self._host}' does not accept the login, or wants one",
                hint=f"run 'modelpack login {self._host}'",
            )
        try:
            value = json.loads(body) if status == 200 else {}
            token = value.get("token") or value.get("access_token")
            life = float(value.get("expires_in") or _DEFAULT_LIFE_S)
        except (ValueError, TypeError, AttributeError) as cause:
            raise self._no_token(status) from cause
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._no_token(status)
        # Counted from now: the clock of the server may be another one.
        return _Token(token, self._clock() + max(life - _MARGIN_S, life / 2))

    def _no_token(self, status: int) -> RegistryError:
        return RegistryError(
            f"the token server of '{self._host}' gave no token (status {status})",
            hint="try again later, or ask who runs it",
        )

    def _checked_realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        try:
            parts = urlsplit(realm)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        may_be_plain = self._allow_plain and (
            is_loopback(parts.netloc) or not is_loopback(self._host)
        )
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and may_be_plain)):
            raise RefusedError(
                f"'{self._host}' wants the login sent to '{realm[:80]}', which is not safe",
                hint="it has to name a server that speaks TLS",
            )
        return realm
