"""Asks a registry for a manifest and for blobs, as often as it takes.

    Registry(reference, login) ──manifest()──► JSON that its digest names
                               ──save(blob, file)──► the file, whole; goes on where it was broken off

401 ──► a token, or the login itself ──► once more.  What may be better in a moment (a connection that
breaks off, 429, 5xx) is tried again, with waits that double, as long as attempts bring something.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from modelpack.errors import (
    DigestMismatchError,
    LoginNeededError,
    ModelpackError,
    NotFoundError,
    RegistryError,
    UnreachableError,
)
from modelpack.server.fetch.reference import Login, Reference, is_loopback

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

TRIES = 6
"""Attempts in a row that may bring nothing."""

_FIRST_S, _LONGEST_S = 0.5, 15.0
_TIMEOUT_S = 30.0
_CHUNK = 1024 * 1024
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_WORDS = re.compile(r'([a-z]+)="([^"]*)"')
_LOGIN_HINT = "let the option 'pull_secret' name a Secret with a login for it"


class _AgainError(Exception):
    """Something that another attempt may not meet."""

    def __init__(self, problem: ModelpackError) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where blobs are kept, without the secret, and never into the clear."""

    def redirect_request(  # noqa: PLR0917  as its base has it
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request that follows, None where none does."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is None:
            return None
        if made.type == "http" and not is_loopback(made.host):
            raise RegistryError(f"'{req.host}' leads to '{made.host}' without TLS")
        if made.host != req.host:
            made.remove_header("Authorization")
        return made


@dataclass(slots=True)
class Registry:
    """One repository; not for several threads."""

    reference: Reference
    login: Login | None = None
    sleep: Callable[[float], None] = time.sleep
    received_bytes: int = 0
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(_Redirects())
    )
    _authorization: str | None = field(default=None, repr=False)

    def manifest(self) -> dict[str, Any]:
        """Return the manifest; raises DigestMismatchError, NotFoundError, LoginNeededError …"""
        data = self._patiently(self._manifest_bytes)
        if _digest(data) != self.reference.digest:
            raise DigestMismatchError(
                f"'{self.reference.host}' gave other bytes for '{self.reference.digest}'",
                hint="nothing of it was used; somebody in between may have changed it",
            )
        try:
            found = json.loads(data)
        except ValueError as cause:
            raise RegistryError(f"'{self.reference}' is no manifest") from cause
        if not isinstance(found, dict):
            raise RegistryError(f"'{self.reference}' is no manifest")
        return found

    def save(self, digest: str, size: int, file: Path) -> None:
        """Have a blob in a file; raises DigestMismatchError, after which the file is gone."""
        failures = 0
        while True:
            before = file.stat().st_size if file.exists() else 0
            if before >= size:
                break
            try:
                self._append(digest, size, before, file)
            except _AgainError as again:
                moved = file.exists() and file.stat().st_size > before
                failures = 1 if moved else failures + 1
                if failures >= TRIES:
                    raise again.problem from again
                self._wait(failures)
        if file.stat().st_size != size or _digest_of(file) != digest:
            file.unlink()
            raise DigestMismatchError(
                f"'{self.reference.host}' gave other bytes for '{digest}'",
                hint="nothing of it was used; somebody in between may have changed it",
            )

    def _append(self, digest: str, size: int, at: int, file: Path) -> None:
        """Read on from where the file ends; raises _AgainError when it ends early."""
        head = {"Range": f"bytes={at}-"} if at else {}
        try:
            with self._open(f"blobs/{digest}", head) as answer, file.open("ab") as out:
                if answer.status == 200 and at:  # it knows no ranges, and begins anew
                    out.truncate(0)
                    at = 0
                while data := answer.read(_CHUNK):
                    at += len(data)
                    self.received_bytes += len(data)
                    out.write(data)
                    if at > size:
                        return
        except (OSError, http.client.HTTPException) as cause:
            raise self._translated(cause) from cause
        if at < size:
            host = self.reference.host
            raise _AgainError(
                UnreachableError(f"'{host}' ended too early, at {at} of {size} bytes")
            )

    def _manifest_bytes(self) -> bytes:
        head = {"Accept": MANIFEST_TYPE}
        try:
            with self._open(f"manifests/{self.reference.digest}", head) as answer:
                data: bytes = answer.read(MAX_MANIFEST_BYTES + 1)
        except (OSError, http.client.HTTPException) as cause:
            raise self._translated(cause) from cause
        return data

    def _patiently(self, do: Callable[[], bytes]) -> bytes:
        failures = 0
        while True:
            try:
                return do()
            except _AgainError as again:
                failures += 1
                if failures >= TRIES:
                    raise again.problem from again
                self._wait(failures)

    def _wait(self, failures: int) -> None:
        self.sleep(min(_FIRST_S * 2 ** (failures - 1), _LONGEST_S))

    def _open(self, path: str, head: Mapping[str, str]) -> Any:
        """Return an answer of 200 or 206; raises what it is refused with, OSError."""
        url = f"{self.reference.origin}/v2/{self.reference.repository}/{path}"
        try:
            return self._ask(url, {**head, **self._own()})
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            error.close()
            self._authorization = self._authorize(error.headers)
        return self._ask(url, {**head, **self._own()})

    def _own(self) -> dict[str, str]:
        return {} if self._authorization is None else {"Authorization": self._authorization}

    def _ask(self, url: str, head: Mapping[str, str]) -> Any:
        request = urllib.request.Request(url, headers=dict(head))  # noqa: S310  ours is http or https
        return self._opener.open(request, timeout=_TIMEOUT_S)

    def _authorize(self, headers: Message) -> str:
        """Return the header of who asks, as a 401 wants it; raises LoginNeededError."""
        wanted = headers.get("WWW-Authenticate") or ""
        scheme, words = wanted.partition(" ")[0].lower(), dict(_WORDS.findall(wanted))
        if scheme != "bearer" or "realm" not in words:
            if self.login is None:
                raise self._unknown("")
            return self.login.basic
        realm = urllib.parse.urlsplit(words["realm"])
        if realm.scheme != "https" and not is_loopback(realm.netloc):
            raise RegistryError(f"'{self.reference.host}' has tokens given out without TLS")
        query = {"scope": words.get("scope", f"repository:{self.reference.repository}:pull")}
        if "service" in words:
            query["service"] = words["service"]
        url = f"{words['realm']}?{urllib.parse.urlencode(query)}"
        head = {} if self.login is None else {"Authorization": self.login.basic}
        try:
            with self._ask(url, head) as answer:
                given = json.loads(answer.read(MAX_MANIFEST_BYTES))
            return f"Bearer {given.get('token') or given['access_token']}"
        except (ValueError, KeyError, AttributeError, TypeError) as cause:
            raise RegistryError(f"'{realm.netloc}' gave no token that can be read") from cause

    def _translated(self, cause: Exception) -> Exception:
        """Return what went wrong as callers know it, or as something to try again."""
        host = self.reference.host
        if isinstance(cause, urllib.error.HTTPError):
            cause.close()
            if cause.code in (401, 403):
                return self._unknown(f" ({cause.code})")
            if cause.code == 404:
                return NotFoundError(
                    f"'{host}' has no '{self.reference.repository}@{self.reference.digest[:19]}…'",
                    hint="push the bundle there: modelpack push TAG REGISTRY/REPOSITORY",
                )
            problem = RegistryError(f"'{host}' answers {cause.code}")
            return _AgainError(problem) if cause.code in _AGAIN else problem
        reason = cause.reason if isinstance(cause, urllib.error.URLError) else cause
        if isinstance(reason, ssl.SSLCertVerificationError):
            return UnreachableError(
                f"'{host}' has a certificate that is not trusted: {reason.verify_message}",
                hint="let SSL_CERT_FILE name the file of who signed it",
            )
        return _AgainError(UnreachableError(f"'{host}' is not reached: {reason}"))

    def _unknown(self, said: str) -> LoginNeededError:
        repository = f"pull '{self.reference.repository}'{said}"
        if self.login is None:
            why = f"'{self.reference.host}' lets only those {repository} who log in"
        else:
            why = f"'{self.reference.host}' does not let '{self.login.username}' {repository}"
        return LoginNeededError(why, hint=_LOGIN_HINT)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _digest_of(file: Path) -> str:
    with file.open("rb") as data:
        return f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
