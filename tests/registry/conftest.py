"""Registries to talk to, and bundles to move.

registry, guarded    docker-registry, a process of its own on a free port, data in a fresh folder
stand_in             a server in this process: referrers API, tokens, and faults on demand
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BundleManifest, FileRecord, ModelRecord
from modelpack.registry.backoff import Backoff
from modelpack.store import Entry, Store
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]

PASSWORDS = "me:$2b$04$YRf5HrccqLciwuLaSqwzLezZIU4QgdC9rqmDVnFXYqrW1nmgIBlSm\n"  # secret
LOCK = "# a lock\n"


# --- what is moved ------------------------------------------------------------------------------


@dataclass
class Workshop:
    """Makes models and bundles of plain bytes in one store."""

    root: Path
    store: Store
    count: int = 0

    def lay_out(self, files: Mapping[str, bytes]) -> tuple[Path, tuple[FileRecord, ...]]:
        self.count += 1
        folder = self.root / f"source-{self.count}"
        records = []
        for path, data in sorted(files.items()):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            records.append(FileRecord(path=path, mode=0o644, size=len(data), sha256=digest))
        return folder, tuple(records)

    def model(self, weights: bytes = b"weights" * 9999, name: str = "clf") -> Entry:
        folder, files = self.lay_out({"model.onnx": weights, "labels.json": b"[0,1]"})
        record = ModelRecord(name=name, framework="onnx", files=files)
        return self.store.add_model(record, folder).entry

    def bundle(
        self, version: str = "1", code: bytes = b"x = 1\n", model: Entry | None = None
    ) -> Entry:
        folder, files = self.lay_out({"service.py": code})
        used = model or self.model()
        named = {"name": used.tag.name, "version": used.tag.version, "digest": used.digest}
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=files,
            models=({**named, "framework": "onnx"},),
            lock_sha256=hashlib.sha256(LOCK.encode()).hexdigest(),
            apis=({"name": "predict", "route": "/predict"},),
        )
        added = self.store.add_bundle(
            "digits", manifest, root=folder, lock=LOCK, models=[used], version=version
        )
        return added.entry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of another machine."""
    return Store(tmp_path / "other" / "store")


@pytest.fixture
def workshop(tmp_path: Path, store: Store) -> Workshop:
    return Workshop(tmp_path / "sources", store)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody waits between tries, and nobody's own logins and places are seen."""
    monkeypatch.setattr(Backoff, "wait", lambda *_: None)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def is_untouched() -> Callable[[Store], bool]:
    """Say whether a store has no entry, no blob and no leftovers."""

    def look(store: Store) -> bool:
        files = [path for path in store.root.rglob("*") if path.is_file()]
        names = {path.relative_to(store.root).as_posix() for path in files}
        return store.list() == [] and names <= {"oci-layout", "index.json", ".lock"}

    return look


# --- the registry of Debian -----------------------------------------------------------------------


def run_registry(root: Path, auth: str = "") -> Iterator[str]:
    if shutil.which("docker-registry") is None:
        pytest.skip("'docker-registry' is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = root / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{host}', secret: test}}\n{auth}"
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        address, port = host.split(":")
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError):
                socket.create_connection((address, int(port)), timeout=1).close()
                break
            if time.monotonic() > deadline or process.poll() is not None:
                pytest.fail(f"docker-registry did not start:\n{(root / 'log').read_text()}")
            time.sleep(0.02)
        yield host
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry that asks nobody for a login; its host."""
    yield from run_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry where 'me' logs in with 'secret'; its host."""
    root = tmp_path_factory.mktemp("guarded")
    (root / "passwords").write_text(PASSWORDS)
    yield from run_registry(root, f"auth: {{htpasswd: {{realm: test, path: {root}/passwords}}}}\n")


# --- a web server --------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[Callable[[Path], str]]:
    """Serve a folder as plain files; returns its URL."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()
