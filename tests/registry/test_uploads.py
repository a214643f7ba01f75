"""Uploads to the registry of Debian through a wire that is cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from modelpack import registry as registries
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.registry import Counts, parse
from modelpack.registry.local import StoreSource
from modelpack.registry.names import RegistryReference
from modelpack.registry.remote import RegistryTarget
from modelpack.registry.transfer import transfer
from modelpack.registry.transport import Transport
from modelpack.store import Store

CHUNK = 1024 * 1024
OCI = "application/vnd.oci.image"


class Wire:
    """Passes bytes on to a registry and cuts the connection after so many of them, so many times."""

    def __init__(self, host: str) -> None:
        self._there = host.partition(":")[0], int(host.partition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts: list[int] = []
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._there)
            self._ends += [here, there]
            for source, sink, may_cut in ((here, there, True), (there, here, False)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, may_cut))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, may_cut: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if may_cut and self.cuts and passed > self.cuts[0]:
                    self.cuts.pop(0)
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        for end in self._ends:
            end.close()


@pytest.fixture
def wire(registry: str) -> Iterator[Wire]:
    made = Wire(registry)
    yield made
    made.close()


def test_a_push_survives_a_wire_that_is_cut_again_and_again(
    workshop: Any, store: Store, other: Store, registry: str, wire: Wire
) -> None:
    entry = workshop.bundle(model=workshop.model(bytes(range(256)) * 20_000))
    wire.cuts = [300_000, CHUNK + 300_000, CHUNK]
    counts = Counts()
    reference = parse(f"{wire.host}/cut/digits:1")
    assert isinstance(reference, RegistryReference)
    transport = Transport(wire.host, counts=counts)
    try:
        target = RegistryTarget(transport, reference, may_move=False, chunk_bytes=CHUNK)
        transfer(StoreSource(store, entry), target, counts)
    finally:
        transport.close()
    assert wire.cuts == []
    brought, _ = registries.pull(other, parse(f"{registry}/cut/digits:1"))
    other.verify(brought)


def test_images_and_indexes_can_be_copied(
    registry: str, upload: Callable[[str, str, bytes], dict[str, Any]]
) -> None:
    images = []
    for name in (b"amd64", b"arm64"):
        image = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": upload("images/a", f"{OCI}.config.v1+json", b'{"a":"' + name + b'"}'),
            "layers": [upload("images/a", f"{OCI}.layer.v1.tar", name * 9999)],
        }
        images.append(put_manifest(registry, "images/a", None, image))
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": images}
    top = put_manifest(registry, "images/a", "1", index)
    moved = registries.copy(parse(f"{registry}/images/a:1"), parse(f"{registry}/images/b:1"))
    assert moved.digest == top["digest"]
    for one in (top, *images):
        found = httpx.get(
            f"http://{registry}/v2/images/b/manifests/{one['digest']}",
            headers={"Accept": one["mediaType"]},
        )
        assert sha256_digest(found.content) == one["digest"]


def put_manifest(host: str, repository: str, tag: str | None, value: Any) -> dict[str, Any]:
    data, kind = canonical_json(value), value["mediaType"]
    digest = sha256_digest(data)
    url = f"http://{host}/v2/{repository}/manifests/{tag or digest}"
    done = httpx.put(url, content=data, headers={"Content-Type": kind})
    assert done.status_code == 201, done.text
    return {"mediaType": kind, "digest": digest, "size": len(data)}


@pytest.fixture
def upload(registry: str) -> Callable[[str, str, bytes], dict[str, Any]]:
    """Put a blob into a repository and return its descriptor."""

    def put(repository: str, kind: str, data: bytes) -> dict[str, Any]:
        start = httpx.post(f"http://{registry}/v2/{repository}/blobs/uploads/")
        url = f"{start.headers['location']}&digest={sha256_digest(data)}"
        assert httpx.put(url, content=data).status_code == 201
        return {"mediaType": kind, "digest": sha256_digest(data), "size": len(data)}

    return put
