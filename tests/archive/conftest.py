"""Projects to build, and a package index of tiny wheels, so that uv really runs without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from modelpack.config.settings import Project
from modelpack.manifest import RUNTIME_REQUIREMENTS, FileRecord, ModelRecord
from modelpack.sdk.loading import load_import_string
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Store

SERVICE = """
import modelpack


@modelpack.service
class Hello:
    @modelpack.api
    def greet(self, name: str) -> str:
        return f"hello {name}"
"""


def write_wheel(
    folder: Path, name: str, version: str, requires: tuple[str, ...] = (), tag: str = "py3-none-any"
) -> Path:
    """Write a wheel of one module that holds its version."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{name.replace('-', '_')}.py": f"VERSION = {version!r}\n",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in (files | {f"{stem}.dist-info/RECORD": record}).items():
            archive.writestr(zipfile.ZipInfo(name_), text)
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Index:
    """A folder of wheels that stands for a package index."""

    folder: Path

    def add(self, name: str, version: str, **details: Any) -> Path:
        """Add a wheel of one module."""
        return write_wheel(self.folder, name, version, **details)

    def beside(self, folder: Path, name: str, version: str, **details: Any) -> Path:
        """Write a wheel into another folder, which no index is told of."""
        folder.mkdir(parents=True, exist_ok=True)
        return write_wheel(folder, name, version, **details)

    def simple(self, place: str, *packages: tuple[str, str]) -> str:
        """Make an index of the simple kind beside the folder and return its URL."""
        root = self.folder.parent / place
        for name, version in packages:
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            wheel = write_wheel(folder, name, version)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
            (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
        return root.as_uri()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Let pip's settings name one folder of wheels and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    index = Index(folder)
    for line in RUNTIME_REQUIREMENTS:
        requirement = Requirement(line)
        fits = next(one for one in ("99.0", "0.99") if one in requirement.specifier)
        index.add(requirement.name, fits)
    index.add("tiny", "1.0")
    index.add("tiny", "1.1", requires=("tiny-helper>=2",))
    index.add("tiny-helper", "2.5")
    index.add("onnxruntime", "99.0")
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    return index


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[..., Path]:
    """Write files into a folder and return it."""

    def lay(files: Mapping[str, str | bytes], name: str = "project") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, data in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data.encode() if isinstance(data, str) else data)
        return root

    return lay


@pytest.fixture
def hello(lay_out: Callable[..., Path]) -> Callable[..., tuple[Project, ServiceSpec]]:
    """Make a project with a service in it."""

    def make(
        files: Mapping[str, str | bytes] | None = None, folder: str = "project", **settings: object
    ) -> tuple[Project, ServiceSpec]:
        root = lay_out({"service.py": SERVICE, "modelpack.yaml": "", **(files or {})}, folder)
        project = Project(root=root, source=root / "modelpack.yaml", **settings)  # type: ignore[arg-type]
        return project, load_import_string("service:Hello", root)

    return make


@pytest.fixture
def save_model(lay_out: Callable[..., Path], store: Store) -> Callable[..., Entry]:
    """Store a model of one file."""

    def save(name: str, data: bytes = b"weights", version: str | None = None) -> Entry:
        folder = lay_out({"model.onnx": data}, f"model-{name}-{len(data)}")
        file = FileRecord(
            path="model.onnx", mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
        record = ModelRecord(
            name=name, framework="onnx", files=(file,), requirements=("onnxruntime>=1.20",)
        )
        return store.add_model(record, folder, version=version).entry

    return save
