"""A registry in a thread, with one bundle in it, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WEIGHT = "application/vnd.cncf.model.weight.v1.tar"
CODE = "application/vnd.cncf.model.code.v1.tar"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar_of(files: Mapping[str, bytes], *, link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link is not None:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    return out.getvalue()


@dataclass
class AtHand:
    """What the registry has, what it wants to see, and what it does wrong."""

    url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    basic: str | None = None
    """Header that the login has to be."""
    ends_after: int | None = None
    """Bytes of a blob after which its first answers end."""
    breaks: int = 0
    """How many answers are still broken off."""
    busy: int = 0
    """How many requests are still answered 503."""
    has_ranges: bool = True
    moved_to: str | None = None
    """Where blobs are kept instead."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def put(self, *layers: tuple[str, str, bytes], kind: str = "bundle") -> str:
        """Have a bundle of layers (type, path, tar); return its digest."""
        listed = []
        for media_type, path, data in layers:
            self.blobs[digest(data)] = data
            notes = {"org.cncf.model.filepath": path}
            one = {"mediaType": media_type, "digest": digest(data), "size": len(data)}
            listed.append({**one, "annotations": notes})
        manifest = {"layers": listed, "annotations": {"dev.modelpack.kind": kind}}
        data = json.dumps(manifest).encode()
        self.blobs[digest(data)] = data
        return digest(data)

    def reference(self, of: str) -> str:
        return f"{self.host}/team/digits@{of}"


@contextmanager
def at_hand() -> Iterator[AtHand]:
    """Run a registry at a port of its own on 127.0.0.1."""
    state = AtHand()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            state.asked.append((self.path, dict(self.headers)))
            _answer(state, self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(state: AtHand, asked: BaseHTTPRequestHandler) -> None:
    given = asked.headers.get("Authorization")
    if asked.path.startswith("/token"):
        is_known = state.basic is None or given == state.basic
        _send(asked, 200 if is_known else 401, json.dumps({"token": state.token}).encode())
        return
    if state.busy:
        state.busy -= 1
        _send(asked, 503, b"")
        return
    if state.token is not None and given != f"Bearer {state.token}":
        wanted = f'Bearer realm="{state.url}/token",service="registry",scope="repository:x:pull"'
        _send(asked, 401, b"", head={"WWW-Authenticate": wanted})
        return
    if state.moved_to is not None and "/blobs/" in asked.path:
        _send(asked, 307, b"", head={"Location": f"{state.moved_to}{asked.path}"})
        return
    data = state.blobs.get(asked.path.rpartition("/")[2])
    if data is None:
        _send(asked, 404, b"")
        return
    _send_part(state, asked, data)


def _send_part(state: AtHand, asked: BaseHTTPRequestHandler, data: bytes) -> None:
    start, status = 0, 200
    if state.has_ranges and (wanted := asked.headers.get("Range")):
        start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
    rest = data[start:]
    if state.breaks and "/blobs/" in asked.path:
        state.breaks -= 1
        _send(asked, status, rest[: state.ends_after], length=len(rest))
        return
    _send(asked, status, rest)


def _send(
    asked: BaseHTTPRequestHandler,
    status: int,
    data: bytes,
    *,
    length: int | None = None,
    head: Mapping[str, str] | None = None,
) -> None:
    asked.send_response(status)
    for name, value in (head or {}).items():
        asked.send_header(name, value)
    asked.send_header("Content-Length", str(len(data) if length is None else length))
    asked.end_headers()
    asked.wfile.write(data)
