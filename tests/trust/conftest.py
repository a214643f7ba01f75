"""Bundles of plain bytes in a store of one's own, and keys that were made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BundleManifest, FileRecord, ModelRecord
from modelpack.store import Entry, Store
from modelpack.trust import PublicKey, SigningKey, load_private_key, load_public_key, new_key
from modelpack.trust.policy import POLICY_FILE

LOCK = "# a lock\nnumpy==2.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
FILES = {"service.py": b"class Digits: ...\n", "labels/names.txt": b"zero\none\n"}


@dataclass(frozen=True)
class Pair:
    """A pair of keys."""

    private_file: Path
    public_file: Path
    private: SigningKey
    public: PublicKey


def records_of(folder: Path, files: Mapping[str, bytes]) -> tuple[FileRecord, ...]:
    records = []
    for path, data in sorted(files.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        records.append(FileRecord(path=path, mode=0o644, size=len(data), sha256=digest))
    return tuple(records)


@pytest.fixture
def store() -> Store:
    return Store()


MakeModel = Callable[..., Entry]
MakeBundle = Callable[..., Entry]


@pytest.fixture
def make_model(store: Store, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Store a model; its bytes are never loaded."""

    def make(name: str = "clf", framework: str = "onnx", carries_code: bool = False) -> Entry:
        folder = tmp_path_factory.mktemp("model")
        files = records_of(folder, {"weights.bin": name.encode() * 10})
        record = ModelRecord(name=name, framework=framework, files=files, carries_code=carries_code)
        return store.add_model(record, folder, version="1").entry

    return make


@pytest.fixture
def make_bundle(store: Store, tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """Store a bundle of some files and models."""

    def make(
        name: str = "digits",
        version: str = "1",
        files: Mapping[str, bytes] = FILES,
        models: tuple[Entry, ...] = (),
        **said_of_models: Any,
    ) -> Entry:
        folder = tmp_path_factory.mktemp("project")
        said = {"framework": "onnx", "carries_code": False, **said_of_models}
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=records_of(folder, files),
            models=tuple(
                {"name": m.tag.name, "version": m.tag.version, "digest": m.digest, **said}
                for m in models
            ),
            lock_sha256=hashlib.sha256(LOCK.encode()).hexdigest(),
            apis=(),
        )
        return store.add_bundle(
            name, manifest, root=folder, lock=LOCK, models=models, version=version
        ).entry

    return make


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")

    def made(name: str) -> Pair:
        private = folder / f"{name}.pem"
        public, _ = new_key(private, None)
        key = load_private_key(private, lambda: None)
        return Pair(private, public, key, load_public_key(public, name))

    return {name: made(name) for name in ("release", "lab")}


@pytest.fixture
def release(pairs: dict[str, Pair]) -> Pair:
    """The key that may sign."""
    return pairs["release"]


@pytest.fixture
def lab(pairs: dict[str, Pair]) -> Pair:
    """Another one."""
    return pairs["lab"]


@pytest.fixture
def write_policy(store: Store) -> Callable[[str], Path]:
    """Write the policy file of this machine."""

    def write(text: str) -> Path:
        file = store.root.parent / POLICY_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write
