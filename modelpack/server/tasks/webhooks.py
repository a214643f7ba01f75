"""Tells somebody that a task is over: a signed POST, tried again until it is taken.

    Notice ──message──► body ──signed──► headers ──deliver──► 2xx: told
                                                       └────► anything else: again, later and later

Form and signature are those of Standard Webhooks (standard-webhooks/standard-webhooks,
spec/standard-webhooks.md): ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``,
``v1,`` and the base64 of HMAC-SHA256 over ``ID.TIMESTAMP.BODY``.

Clients choose the URL, so it is the server that decides whom it speaks to (request forgery,
OWASP SSRF): only hosts that the operator named, in the scheme and port that were named; the address
is looked up once and that one is connected to; no redirect is followed, no proxy asked, nothing of
the answer is shown to anybody but its status.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import os
import random
import re
import socket
import ssl
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from modelpack.errors import UsageError
from modelpack.server.tasks.documents import task_document
from modelpack.server.tasks.record import Notice
from modelpack.version import __version__

SECRET = "MODELPACK_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable
TIMEOUT_S = 10.0
"""Longest pause of a receiver that is waited for."""

MAX_URL = 2048
MAX_RESULT_BYTES = 64 * 1024
"""Longest JSON result that is sent along."""

DELAYS_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 3600.0 * 4)
"""Pauses before the second, third ... try; after the last the receiver is given up."""

_LONGEST_PAUSE_S = 3600.0 * 4
_JITTER = 0.2
_ENTRY = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_PORTS = {"https": 443, "http": 80}

Place = tuple[str, str, int]
"""Scheme, host in lower case, port."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The receivers that the operator allows."""

    places: frozenset[Place] = frozenset()

    @classmethod
    def of(cls, text: str) -> Hosts:
        """Return those of a setting: ``hooks.example.com,http://10.0.0.7:8080``; raises ValueError."""
        places = set()
        for entry in filter(None, map(str.strip, text.split(","))):
            found = _ENTRY.fullmatch(entry)
            if found is None:
                raise ValueError(f"must be hosts such as hooks.example.com:8443, got {entry!r}")
            scheme = found[1] or "https"
            port = int(found[3]) if found[3] else _PORTS[scheme]
            places.add((scheme, found[2].strip("[]").lower(), port))
        return cls(frozenset(places))

    def check(self, url: str) -> str | None:
        """Return why a URL is not one that may be called; None: it may."""
        if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
            return f"expected a URL of at most {MAX_URL} printable characters"
        try:
            place = _place(url)
        except ValueError as error:
            return str(error)
        if place not in self.places:
            return f"'{place[1]}' is not a host that the operator allows"
        return None


def secrets_from(environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the keys in ``MODELPACK_WEBHOOK_SECRET``; several, while they change, by spaces.

    Raises UsageError when there is none, or one is too short.
    """
    hint = f"set {SECRET} to 'whsec_' and the base64 of 24 random bytes or more"
    keys = []
    for text in environ.get(SECRET, "").split():
        try:
            digits = text.removeprefix("whsec_")
            key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        except (NotBase64, ValueError):
            key = b""
        if len(key) < 24:
            raise UsageError(f"{SECRET} is not a secret of 24 bytes or more", hint=hint)
        keys.append(key)
    if not keys:
        raise UsageError("webhooks are signed, and there is no secret to sign them with", hint=hint)
    return tuple(keys)


def message(notice: Notice) -> bytes:
    """Return the body: what happened and when, the task, and its result where it is short JSON."""
    task, result = notice.task, notice.result
    data = task_document(task)
    if (
        result is not None
        and result.status == 200
        and result.content_type == "application/json"
        and len(result.body) <= MAX_RESULT_BYTES
    ):
        data["result"] = orjson.Fragment(result.body)
    about = {"type": f"task.{task.status}", "timestamp": data["finished_at"], "data": data}
    return orjson.dumps(about)


def signed(
    message_id: str, body: bytes, secrets: tuple[bytes, ...], *, timestamp: int
) -> dict[str, str]:
    """Return the header fields of a message."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        for key in secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json",
        "user-agent": f"modelpack/{__version__}",
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said."""

    status: int
    """0: nothing, it could not be reached."""
    why: str = ""
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """True when the message need not be sent again."""
        return 200 <= self.status < 300

    @property
    def is_final(self) -> bool:
        """True when the receiver wants no more of them."""
        return self.status == 410


def deliver(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a message; returns what the receiver said, and never raises."""
    try:
        scheme, host, port = _place(url)
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = _Pinned(scheme, host, port)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            wait = answer.getheader("retry-after", "")
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
    retry_after_s = min(float(wait), _LONGEST_PAUSE_S) if wait.isdigit() else None
    return Answer(answer.status, retry_after_s=retry_after_s)


def pause_s(tries: int, answer: Answer) -> float | None:
    """Return how long to wait after so many tries; None: it is not tried again."""
    if answer.is_taken or answer.is_final or tries > len(DELAYS_S):
        return None
    delay_s = max(DELAYS_S[tries - 1], answer.retry_after_s or 0.0)
    return delay_s * random.uniform(1, 1 + _JITTER)  # noqa: S311 - only to spread them


def _place(url: str) -> Place:
    """Return whom a URL names; raises ValueError for what may not be called at all."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("expected a URL such as https://hooks.example.com/done") from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or parts.fragment:
        raise ValueError("expected a URL such as https://hooks.example.com/done")
    return parts.scheme, host, _PORTS[parts.scheme] if port is None else port


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was looked at, whatever the name means a moment later."""

    def __init__(self, scheme: str, host: str, port: int) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._is_tls = scheme == "https"
        self.default_port = _PORTS[scheme]  # which the Host header leaves out

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = socket.create_connection((self._address(), self.port), self.timeout)
        if self._is_tls:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def _address(self) -> str:
        is_literal = _is_address(self.host)
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for *_, place in found:
            address = str(place[0])
            # A name has no business with the addresses of a cloud's own metadata.
            if is_literal or not _is_special(address):
                return address
        raise OSError(f"'{self.host}' has no address that may be called")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_special(address: str) -> bool:
    one = ipaddress.ip_address(address.partition("%")[0])
    one = getattr(one, "ipv4_mapped", None) or one
    return one.is_link_local or one.is_multicast or one.is_unspecified


def secrets_here() -> tuple[bytes, ...]:
    """Return the keys of this process; raises UsageError."""
    return secrets_from(os.environ)
