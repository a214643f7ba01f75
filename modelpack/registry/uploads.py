"""Brings one blob into a repository: not at all, by a mount, in one piece, or in chunks.

    HEAD ──200──► there
    POST ?mount&from ──201──► mounted
    POST ──► PUT (small)        or  PATCH chunk, PATCH chunk, … PUT
                                        ▲        │ broken off
                                        └─ GET: how far it came

When an upload was broken off the registry is asked how far it came, and the rest is sent.  Where it
does not say, the blob is sent again from its start; where it got the last byte before the
connection broke, it is found to be there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urljoin

from modelpack.errors import DigestMismatchError, ModelpackError, RegistryError, UnreachableError
from modelpack.registry import problems
from modelpack.registry.backoff import RETRIED
from modelpack.registry.base import Outcome
from modelpack.registry.reader import BlobReader
from modelpack.registry.transport import COMMIT_TIMEOUT_S, EMPTY, Answer, Body, Transport
from modelpack.store.durable import Blob

CHUNK_BYTES = 32 * 1024 * 1024
"""Longest body of one request."""

_OCTETS = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class _BrokenOffError(Exception):
    """A part of an upload did not get through; ``problem`` is what to say if it stays so."""

    def __init__(self, problem: ModelpackError, retry_after: str | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload that has begun."""

    url: str
    at: int
    """How many bytes the registry has."""
    chunk: int
    """Bytes of one request."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Uploads to one repository."""

    transport: Transport
    repository: str
    scopes: tuple[str, ...]
    chunk_bytes: int = CHUNK_BYTES

    def has(self, blob: Blob) -> bool:
        """Ask whether the repository has a blob."""
        answer = self.transport.request(
            "HEAD",
            f"/v2/{self.repository}/blobs/{blob.digest}",
            what=f"push to '{self.repository}'",
            ok=(200, 404),
            scopes=self.scopes,
        )
        size = answer.headers.get("content-length")
        return answer.status == 200 and size in (None, str(blob.size))

    def put(self, reader: BlobReader, mount_from: str | None = None) -> Outcome:
        """Bring a blob here; raises DigestMismatchError, LoginNeededError, RegistryError."""
        if self.has(reader.blob):
            return Outcome.THERE
        if mount_from is not None and self._mount(reader.blob, mount_from):
            return Outcome.MOUNTED
        try:
            return self._upload(reader)
        finally:
            reader.close()

    def _mount(self, blob: Blob, other: str) -> bool:
        """Try to take the blob out of another repository; what does not work costs one request."""
        query = urlencode({"mount": blob.digest, "from": other})
        try:
            answer = self.transport.request(
                "POST",
                f"{self._start_url}?{query}",
                what=f"push to '{self.repository}'",
                ok=(201, 202),
                body=EMPTY,
                scopes=(*self.scopes, f"repository:{other}:pull"),
            )
        except UnreachableError:
            raise
        except ModelpackError:
            return False  # no right to read there, or no such repository
        if answer.status == 202 and (location := answer.headers.get("location")):
            self._give_up(urljoin(answer.url, location))
        return answer.status == 201

    def _upload(self, reader: BlobReader) -> Outcome:
        farthest = failures = 0
        session: _Session | None = None
        while True:
            try:
                if session is None:
                    session = self._start()
                while reader.blob.size - session.at > session.chunk:
                    session = self._send_chunk(session, reader)
                    if session.at > farthest:
                        farthest, failures = session.at, 0
                self._finish(session, reader)
                return Outcome.MOVED
            except _BrokenOffError as broken:
                failures += 1
                if failures >= self.transport.backoff.tries:
                    raise broken.problem from broken
                self.transport.backoff.wait(failures, broken.retry_after)
                if self.has(reader.blob):
                    return Outcome.MOVED  # only the answer to the last request was lost
                session = self._resumed(session) if session else None

    def _start(self) -> _Session:
        answer = self._request("POST", self._start_url, ok=(202,))
        least = answer.headers.get("oci-chunk-min-length", "")
        chunk = max(self.chunk_bytes, int(least) if least.isdigit() else 0)
        return _Session(self._location(answer), 0, chunk)

    def _send_chunk(self, session: _Session, reader: BlobReader) -> _Session:
        start, end = session.at, min(session.at + session.chunk, reader.blob.size)
        answer = self._broken_off(
            "PATCH",
            session.url,
            ok=(202,),
            headers={**_OCTETS, "Content-Range": f"{start}-{end - 1}"},
            body=Body(end - start, lambda: reader.read(start, end)),
        )
        came = _came(answer)
        if came is not None and not start < came <= end:
            raise _BrokenOffError(
                RegistryError(
                    f"'{self.transport.host}' lost what was sent of '{reader.blob.digest}'"
                )
            )
        return replace(session, url=self._location(answer), at=end if came is None else came)

    def _finish(self, session: _Session, reader: BlobReader) -> None:
        """Send what is left, and the digest."""
        blob = reader.blob
        url = f"{session.url}{'&' if '?' in session.url else '?'}digest={blob.digest}"
        body, headers = EMPTY, {"Content-Length": "0"}
        if session.at < blob.size:
            if session.at:
                session = self._send_chunk(replace(session, chunk=blob.size), reader)
                return self._finish(session, reader)
            body, headers = Body(blob.size, reader.read), dict(_OCTETS)
        answer = self._broken_off(
            "PUT", url, ok=(201,), headers=headers, body=body, timeout_s=COMMIT_TIMEOUT_S
        )
        got = answer.headers.get("docker-content-digest", blob.digest)
        if got != blob.digest:
            raise DigestMismatchError(
                f"digest mismatch: '{self.transport.host}' stored '{got[:80]}' for '{blob.digest}'",
                hint="the manifest was not pushed, so nothing shows it",
            )
        return None

    def _resumed(self, session: _Session) -> _Session | None:
        """Ask how far an upload came; None when it has to begin again."""
        try:
            answer = self._request("GET", session.url, ok=(204, 200))
        except UnreachableError:
            raise
        except ModelpackError:
            return None
        came = _came(answer)
        location = answer.headers.get("location")
        if came is None and "range" in answer.headers:
            return None
        return replace(
            session,
            url=urljoin(answer.url, location) if location else session.url,
            at=came or 0,
        )

    def _broken_off(
        self,
        method: str,
        url: str,
        *,
        ok: Sequence[int],
        headers: dict[str, str],
        body: Body,
        timeout_s: float | None = None,
    ) -> Answer:
        """Make a request that is not repeated as it is; raises _BrokenOffError where it may help."""
        more = {"timeout_s": timeout_s} if timeout_s else {}
        try:
            answer = self.transport.request(
                method,
                url,
                what=f"push to '{self.repository}'",
                ok=(*ok, 404, 416, *RETRIED),
                headers=headers,
                body=body,
                scopes=self.scopes,
                tries=1,
                **more,
            )
        except UnreachableError as cause:
            raise _BrokenOffError(cause) from cause
        if answer.status in ok:
            return answer
        problem = problems.refusal(answer, f"push to '{self.repository}'", self.transport.host)
        raise _BrokenOffError(problem, answer.headers.get("retry-after"))

    def _request(self, method: str, url: str, *, ok: Sequence[int]) -> Answer:
        body = EMPTY if method == "POST" else None
        return self.transport.request(
            method,
            url,
            what=f"push to '{self.repository}'",
            ok=ok,
            body=body,
            scopes=self.scopes,
        )

    def _give_up(self, url: str) -> None:
        """Tell the registry that an upload is not gone on with; it need not know how."""
        try:
            self._request("DELETE", url, ok=(200, 202, 204))
        except ModelpackError:
            return

    def _location(self, answer: Answer) -> str:
        location = answer.headers.get("location")
        if not location:
            raise RegistryError(
                f"'{self.transport.host}' does not say where an upload goes on",
                hint="see whether it is a container registry",
            )
        return urljoin(answer.url, location)

    @property
    def _start_url(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/"


def _came(answer: Answer) -> int | None:
    """Return how many bytes an upload has by its ``Range``; None when that does not say.

    An upload without a byte says ``0-0``, as one with a single byte does: the latter is no case,
    for chunks are longer.
    """
    match = _RANGE.fullmatch(answer.headers.get("range", ""))
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last else 0
