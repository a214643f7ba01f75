"""A registry of ours in this process, for what Debian's lacks: the referrers API, tokens, faults."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Fault:
    """What goes wrong with requests whose ``METHOD path`` fits."""

    fits: str
    status: int | None = None
    """Answered instead; None: the connection is dropped."""
    after: int = 0
    """Bytes of the body, of request or answer, that still get through before the drop."""
    times: int = 1


@dataclass
class StandIn:
    """A registry in memory."""

    host: str = ""
    has_referrers: bool = True
    has_ranges: bool = True
    tells_offset: bool = True
    users: dict[str, str] = field(default_factory=dict)
    """Who may fetch a token; nobody is asked when it is empty."""
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    tamper: Callable[[str, bytes], bytes] = lambda _, data: data
    """Makes the bytes of an answer others, by path."""
    loses_answers: int = 0
    """How many uploads are taken without the answer getting through."""
    said_digest: str | None = None
    extra_referrer: str | None = None
    """The digest of a manifest that is listed whatever it is about."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.fits, line):
                fault.times -= 1
                return fault
        return None

    def lines(self, pattern: str) -> list[str]:
        """Return the requests so far that fit, ``METHOD path``."""
        return [line for line, _ in self.requests if re.search(pattern, line)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError):
            self.close_connection = True

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        line = f"{self.command} {self.path}"
        data = self.stand_in.tamper(line, data)
        self.send_response(status)
        size = headers.pop("size", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", size)
        self.end_headers()
        cut = self.cut
        if self.command != "HEAD":
            self.wfile.write(data if cut is None else data[: cut.after])
        if cut is not None:
            self.drop()

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def body(self) -> bytes | None:
        """Return the body; None when a fault cuts it off, and what came is kept."""
        size = int(self.headers.get("Content-Length") or 0)
        if self.cut is None or not size:
            return self.rfile.read(size)
        kept = self.rfile.read(self.cut.after)
        if self.command == "PATCH":
            self.stand_in.uploads[self.path.rpartition("/")[2]] += kept
        self.drop()
        return None

    def serve(self) -> None:
        s = self.stand_in
        line = f"{self.command} {self.path}"
        s.requests.append((line, dict(self.headers)))
        self.cut = s.fault(line)
        if self.cut is not None and self.cut.status is not None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, self.cut = self.cut.status, None
            return self.answer(status, Retry_After="0")
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/token":
            return self.give_token(query)
        if s.users and self.headers.get("Authorization") != "Bearer let-me-in":
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            realm = f'Bearer realm="http://{s.host}/token",service="test"'
            return self.answer(401, WWW_Authenticate=realm)
        if url.path == "/v2/":
            return self.answer(200, b"{}")
        match = re.fullmatch(r"/v2/(.+)/(blobs/uploads|blobs|manifests|referrers)/(.*)", url.path)
        if match is None:
            return self.answer(404)
        kind = match[2].replace("blobs/uploads", "uploads")
        return getattr(self, kind)(match[1], match[3], query)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def give_token(self, query: dict[str, str]) -> None:
        sent = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, secret = base64.b64decode(sent).decode().partition(":")
        if self.stand_in.users.get(user) != secret:
            return self.answer(401)
        return self.answer(200, json.dumps({"token": "let-me-in", "expires_in": 300}).encode())

    def blobs(self, repository: str, digest: str, query: dict[str, str]) -> None:
        data = self.stand_in.blobs.get(repository, {}).get(digest)
        if data is None:
            return self.answer(404)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.command == "HEAD":
            return self.answer(200, size=str(len(data)))
        if start and self.stand_in.has_ranges:
            return self.answer(206, data[int(start[1]) :])
        return self.answer(200, data)

    def uploads(self, repository: str, name: str, query: dict[str, str]) -> None:
        s = self.stand_in
        if self.command == "POST":
            found = s.blobs.get(query.get("from", ""), {}).get(query.get("mount", ""))
            if found is not None:
                s.blobs.setdefault(repository, {})[query["mount"]] = found
                return self.answer(201)
            name = str(len(s.requests))
            s.uploads[name] = bytearray()
        place = f"/v2/{repository}/blobs/uploads/{name}"
        if name not in s.uploads or (self.command == "GET" and not s.tells_offset):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return self.answer(404)
        if self.command == "DELETE":
            del s.uploads[name]
            return self.answer(204)
        if self.command in ("PATCH", "PUT") and (data := self.body()) is None:
            return None
        kept = s.uploads[name]
        if self.command == "PATCH":
            start = int(self.headers["Content-Range"].partition("-")[0])
            if start != len(kept):
                return self.answer(416, Location=place, Range=f"0-{max(len(kept) - 1, 0)}")
            kept += data
        if self.command == "PUT":
            whole = bytes(kept) + data
            if f"sha256:{hashlib.sha256(whole).hexdigest()}" != query["digest"]:
                return self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            s.blobs.setdefault(repository, {})[query["digest"]] = whole
            if s.loses_answers and len(whole) > 100_000:
                s.loses_answers -= 1
                return self.drop()
            return self.answer(201, Docker_Content_Digest=query["digest"])
        status = 204 if self.command == "GET" else 202
        return self.answer(status, Location=place, Range=f"0-{max(len(kept) - 1, 0)}")

    def manifests(self, repository: str, name: str, query: dict[str, str]) -> None:
        s = self.stand_in
        if self.command == "PUT":
            data = self.body() or b""
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            for key in (name, digest):
                s.manifests[repository, key] = (data, self.headers["Content-Type"])
            extra = {}
            if s.has_referrers and "subject" in json.loads(data):
                extra["OCI_Subject"] = json.loads(data)["subject"]["digest"]
            return self.answer(201, Docker_Content_Digest=digest, **extra)
        found = s.manifests.get((repository, name))
        if found is None:
            return self.answer(404)
        more = {"Docker_Content_Digest": s.said_digest} if s.said_digest else {}
        return self.answer(200, found[0], Content_Type=found[1], **more)

    def referrers(self, repository: str, digest: str, query: dict[str, str]) -> None:
        s = self.stand_in
        if not s.has_referrers:
            return self.answer(404)
        listed = []
        for (where, name), (data, kind) in s.manifests.items():
            value = json.loads(data)
            if (
                where == repository
                and name.startswith("sha256:")
                and (value.get("subject", {}).get("digest") == digest)
            ):
                listed.append({"mediaType": kind, "digest": name, "size": len(data)})
        # One a page, so that pages are followed.
        at = int(query.get("at", 0))
        more = {}
        if at + 1 < len(listed):
            more["Link"] = f'</v2/{repository}/referrers/{digest}?at={at + 1}>; rel="next"'
        page = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed[at : at + 1]}
        return self.answer(200, json.dumps(page).encode(), Content_Type=INDEX, **more)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A registry in this process, whose faults are chosen by the test."""
    state = StandIn()
    handler = type("Handled", (Handler,), {"stand_in": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fault() -> type[Fault]:
    """Make a fault: which requests, the status or None for a drop, ``after`` bytes, ``times``."""
    return Fault
