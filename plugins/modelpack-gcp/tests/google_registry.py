"""A registry of images in memory, over real HTTP on the loopback: pushes of ours, pulls of an engine.

Only what both of them ask: whole and chunked uploads, blobs and manifests by tag or digest.  A digest
that is not that of the bytes gets 400.  Source: OCI Distribution Specification 1.1.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests)/(?P<what>[^/]*)")


class ImageRegistry:
    """Repositories by name; ``close`` ends it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def digest(self, name: str, reference: str) -> str | None:
        """Return the digest that a tag stands for."""
        found = self.manifests.get((name, reference))
        return None if found is None else _digest(found[1])


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _handler(registry: ImageRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            self.close_connection = True
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            if parts.path == "/v2/":
                return self.answer(200)
            match = _PATH.fullmatch(parts.path)
            if match is None:
                return self.answer(404)
            kind = match["kind"].replace("blobs/uploads", "uploads")
            digest = parse_qs(parts.query).get("digest", [""])[0]
            return getattr(self, kind)(match["name"], match["what"], data, digest)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do

        def blobs(self, _name: str, what: str, _data: bytes, _digest: str) -> None:
            found = registry.blobs.get(what)
            return self.answer(404) if found is None else self.answer(200, found)

        def uploads(self, name: str, what: str, data: bytes, digest: str) -> None:
            if self.command == "POST":
                what = str(len(registry.uploads))
                registry.uploads[what] = bytearray()
            kept = registry.uploads[what]
            kept += data
            if self.command == "PUT":
                if _digest(kept) != digest:
                    return self.answer(400)
                registry.blobs[digest] = bytes(kept)
                kept.clear()
                return self.answer(201, docker_content_digest=digest)
            place, last = f"/v2/{name}/blobs/uploads/{what}", max(len(kept) - 1, 0)
            return self.answer(202, location=place, range=f"0-{last}")

        def manifests(self, name: str, what: str, data: bytes, _: str) -> None:
            if self.command == "PUT":
                found = (str(self.headers["content-type"]), data)
                registry.manifests[name, what] = registry.manifests[name, _digest(data)] = found
                return self.answer(201, docker_content_digest=_digest(data))
            kept = registry.manifests.get((name, what))
            if kept is None:
                return self.answer(404)
            more = {"content_type": kept[0], "docker_content_digest": _digest(kept[1])}
            return self.answer(200, kept[1], **more)

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for key, value in {"content_type": "application/octet-stream", **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler
