"""Requests to one registry: where it is, who asks, what is tried again.

    request(method, path) ──► origin ──► authorization ──► redirects ──► Answer
                  ▲                                                         │
                  └───────── back-off: no answer, 408, 429, 5xx ◄───────────┘

What always holds:

* plain HTTP is spoken with this machine alone, or where ``insecure`` was asked for, and nothing
  that began over TLS goes on without it;
* authorization goes to the registry's own origin and to no place that it redirects to;
* an answer that is read into memory is bounded.
"""

from __future__ import annotations

import itertools
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from modelpack.errors import ModelpackError, RefusedError, RegistryError
from modelpack.registry import credentials, problems
from modelpack.registry.auth import Authority
from modelpack.registry.backoff import RETRIED, Backoff
from modelpack.registry.counts import Counts
from modelpack.registry.credentials import Credentials
from modelpack.registry.names import DOCKER_HUB, is_loopback
from modelpack.store.documents import MAX_DOCUMENT_BYTES
from modelpack.version import __version__

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
COMMIT_TIMEOUT_S = 600.0
"""A registry may read a blob of many gigabytes again before it answers."""

_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    """Found whatever their case is."""
    data: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries; it can be made again when the request is."""

    size: int
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, data: bytes) -> Body:
        """Return a body of few bytes."""
        return cls(len(data), lambda: iter([data]))


EMPTY = Body.of(b"")


@dataclass(frozen=True, slots=True)
class _Call:
    """A request before it has a place and a name."""

    method: str
    headers: Mapping[str, str]
    body: Body | None = None
    scopes: Sequence[str] = ()
    timeout_s: float = READ_TIMEOUT_S


class Transport:
    """The connections to one registry, for any number of threads.

    scheme    ``http`` or ``https`` when it is known; default: found out, TLS wherever it can be
    insecure  speaks plain HTTP with anybody and takes any certificate
    counts    hears of every byte
    """

    def __init__(
        self,
        host: str,
        *,
        scheme: str | None = None,
        insecure: bool = False,
        counts: Counts | None = None,
        backoff: Backoff | None = None,
        find_credentials: Callable[[str], Credentials | None] = credentials.find,
    ) -> None:
        self.host = host
        self.counts = counts or Counts()
        self.backoff = backoff or Backoff()
        self._api_host = _HUB_HOST if host == DOCKER_HUB else host
        self._insecure = insecure
        self._is_local = is_loopback(host)
        self._lock = threading.Lock()
        self._client = self._make_client()
        self._origin = f"{scheme}://{host}" if scheme else None
        if scheme == "http" and not (insecure or self._is_local):
            raise RefusedError(
                f"'{host}' would be spoken to without TLS",
                hint="write 'https://', or permit it with '--insecure'",
            )
        self._authority = Authority(
            host,
            lambda: find_credentials(host),
            self._fetch,
            allow_plain=insecure or self._is_local,
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        what: str,
        ok: Sequence[int],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        scopes: Sequence[str] = (),
        tries: int | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Answer:
        """Make a request and return its answer, read whole.

        ``url`` is a path on the registry or a URL that it gave; ``tries`` 1 is for what may not be
        repeated.  Raises what ``problems`` makes of a status that is not in ``ok``.
        """
        call = _Call(method, headers or {}, body, scopes, timeout_s)
        answer = self._retried(
            lambda: self._read(self._send(call, url), what), tries or self.backoff.tries
        )
        if answer.status not in ok:
            raise problems.refusal(answer, what, self.host)
        return answer

    @contextmanager
    def stream(
        self, url: str, *, headers: Mapping[str, str], scopes: Sequence[str]
    ) -> Iterator[httpx.Response]:
        """Open a GET whose body is read by the caller; tried once, httpx's errors come through."""
        response = self._send(_Call("GET", headers, scopes=scopes), url)
        try:
            yield response
        finally:
            response.close()

    def refused(self, response: httpx.Response, what: str) -> ModelpackError:
        """Return the error for an answer of ``stream``."""
        return problems.refusal(self._read(response, what), what, self.host)

    # One request

    def _retried(self, act: Callable[[], Answer], tries: int) -> Answer:
        import httpx

        for failures in itertools.count(1):
            retry_after = None
            try:
                answer = act()
            except httpx.TransportError as cause:
                if failures >= tries or problems.is_final(cause):
                    raise problems.unreachable(cause, self.host) from cause
            else:
                if answer.status not in RETRIED or failures >= tries:
                    return answer
                retry_after = answer.headers.get("retry-after")
            self.backoff.wait(failures, retry_after)
        raise AssertionError

    def _send(self, call: _Call, url: str) -> httpx.Response:
        """Make one request; answers a challenge, follows redirects of GET and HEAD."""
        target = urljoin(self.origin(), url)
        for _ in range(MAX_REDIRECTS):
            response = self._authorized(call, target)
            location = response.headers.get("location")
            is_moved = response.status_code in (301, 302, 303, 307, 308) and location
            if not is_moved or call.method not in ("GET", "HEAD"):
                return response
            response.close()
            target = urljoin(target, location)
        raise RegistryError(f"'{self.host}' redirects again and again")

    def _authorized(self, call: _Call, url: str) -> httpx.Response:
        is_own = self._checked(url)
        used = self._authority.header(call.scopes) if is_own else None
        response = self._once(call, url, used)
        if response.status_code != 401 or not is_own:
            return response
        challenge = response.headers.get("www-authenticate", "")
        again = self._authority.answer(challenge, call.scopes, used)
        if again is None:
            return response
        response.close()
        return self._once(call, url, again)

    def _once(self, call: _Call, url: str, authorization: str | None) -> httpx.Response:
        import httpx

        headers = dict(call.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        content: Iterator[bytes] | None = None
        if call.body is not None:
            headers["Content-Length"] = str(call.body.size)
            content = self._counted(call.body)
        timeout = httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S)
        request = self._client.build_request(
            call.method, url, headers=headers, content=content, timeout=timeout
        )
        return self._client.send(request, stream=True)

    def _counted(self, body: Body) -> Iterator[bytes]:
        for data in body.chunks():
            self.counts.sent(len(data))
            yield data

    def _read(self, response: httpx.Response, what: str) -> Answer:
        parts: list[bytes] = []
        size = 0
        try:
            for data in response.iter_raw():
                size += len(data)
                self.counts.received(len(data))
                if size > MAX_DOCUMENT_BYTES:
                    raise RefusedError(f"cannot {what}: the answer of '{self.host}' is too long")
                parts.append(data)
        finally:
            response.close()
        return Answer(response.status_code, response.headers, b"".join(parts), str(response.url))

    # Where the registry is

    def origin(self) -> str:
        """Return scheme and host of the registry; raises UnreachableError."""
        if self._origin is None:
            with self._lock:
                if self._origin is None:
                    self._origin = self._find_origin()
        return self._origin

    def _find_origin(self) -> str:
        if not self._is_local and not self._insecure:
            return f"https://{self._api_host}"
        schemes = ("http", "https") if self._is_local else ("https", "http")
        for failures in itertools.count(1):
            problem: ModelpackError | None = None
            may_help = False
            for scheme in schemes:
                try:
                    if self._speaks(scheme):
                        return f"{scheme}://{self._api_host}"
                except _SilentError as silent:
                    problem = problem or silent.problem
                    may_help = may_help or silent.may_help
            if failures >= self.backoff.tries or not may_help:
                raise problem or RegistryError(f"'{self.host}' speaks neither HTTP nor HTTPS")
            self.backoff.wait(failures)
        raise AssertionError

    def _speaks(self, scheme: str) -> bool:
        import httpx

        url = f"{scheme}://{self._api_host}/v2/"
        try:
            with self._client.stream("GET", url, timeout=CONNECT_TIMEOUT_S) as response:
                status = response.status_code
        except httpx.TransportError as cause:
            refused = any(isinstance(one, OSError) for one in problems.chain(cause))
            raise _SilentError(problems.unreachable(cause, self.host), not refused) from cause
        # A server that speaks TLS says so with 400 to what is not.
        return scheme == "https" or status != 400

    def _checked(self, url: str) -> bool:
        """Say whether a URL is the registry's own; raises RefusedError for one without TLS."""
        origin, parts = urlsplit(self.origin()), urlsplit(url)
        may_be_plain = self._insecure or (origin.scheme == "http" and is_loopback(parts.netloc))
        if parts.scheme != "https" and not (parts.scheme == "http" and may_be_plain):
            raise RefusedError(
                f"'{self.host}' sends us to '{url.partition('?')[0][:80]}', which is not over TLS",
                hint="nothing was sent there; '--insecure' would",
            )
        return (parts.scheme, parts.netloc) == (origin.scheme, origin.netloc)

    def _fetch(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Make a request to a token server, with no authorization but what ``headers`` hold."""
        call = _Call(method, headers, Body.of(body) if body else None)
        answer = self._retried(
            lambda: self._read(self._once(call, url, None), "get a token"), self.backoff.tries
        )
        return answer.status, answer.data

    def _make_client(self) -> httpx.Client:
        import httpx

        return httpx.Client(
            verify=_tls_context(insecure=self._insecure),
            # No proxy stands between this machine and itself.
            trust_env=not self._is_local,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={
                "User-Agent": f"modelpack/{__version__}",
                "Accept-Encoding": "identity",
                "Accept": "*/*",
            },
        )


class _SilentError(Exception):
    def __init__(self, problem: ModelpackError, may_help: bool) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.may_help = may_help


def _tls_context(*, insecure: bool) -> ssl.SSLContext:
    """Trust what the system trusts (or ``SSL_CERT_FILE``), and the well-known authorities."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
