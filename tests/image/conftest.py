"""Bundles in a temporary store, made from locks that were written for these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelpack.manifest import BundleManifest, FileRecord, ModelRecord
from modelpack.store import Entry, Store

LOCKS = Path(__file__).parent / "locks"
MakeBundle = Callable[..., Entry]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make_bundle(store: Store, tmp_path: Path) -> MakeBundle:
    """Return a function that stores ``digits:1.0``: one model, and one file of code or none."""

    def make(
        lock: str = "cpu",
        *,
        python: str = "3.11",
        name: str = "digits",
        version: str = "1.0",
        code: bytes | None = b"class Digits: ...\n",
        readme: bytes | None = b"# Digits\n",
        extra_lock: str = "",
        first_line: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> Entry:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        model_folder = tmp_path / "model"
        model_folder.mkdir(exist_ok=True)
        record = ModelRecord(
            name="digits-clf",
            framework="onnx",
            files=(_file(model_folder, "model.onnx", b"weights" * 100),),
        )
        model = store.add_model(record, model_folder, version="1", created=moment).entry
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        heading = f"{first_line}\n" if first_line else ""
        lock_text = heading + (LOCKS / f"{lock}.lock").read_text() + extra_lock
        manifest = BundleManifest(
            service=None if code is None else "service:Digits",
            model="digits-clf" if code is None else None,
            python=python,
            files=() if code is None else (_file(root, "service.py", code),),
            models=(
                {
                    "name": "digits-clf",
                    "version": "1",
                    "digest": model.digest,
                    "framework": "onnx",
                    "carries_code": False,
                },
            ),
            lock_sha256=hashlib.sha256(lock_text.encode()).hexdigest(),
            apis=(),
            settings=settings or {},
        )
        return store.add_bundle(
            name,
            manifest,
            root=root,
            lock=lock_text,
            models=(model,),
            readme=readme,
            version=version,
            created=moment,
        ).entry

    return make


def _file(folder: Path, path: str, data: bytes) -> FileRecord:
    (folder / path).write_bytes(data)
    return FileRecord(
        path=path, mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
