"""The record inside a bundle: what it serves, of which files, with which lock.

    bundle/bundle.json        this record, canonical JSON, in the code layer
    bundle/requirements.lock  what to install, hashed
    bundle/code/…             the service's files
    bundle/models/NAME/…      one folder a model, with its model.json
    bundle/doc/…              README.md, sbom.cdx.json

It never holds name, version, time, git or builder: the content digest is made of it, and the
same input must give the same digest.  Name and version stand in the config descriptor of the OCI
manifest and reach a running server as ``$MODELPACK_TAG``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from modelpack.errors import StoreError

BUNDLE_FILE = "bundle.json"
LOCK_FILE = "requirements.lock"
MODEL_FILE = "model.json"
README_FILE = "README.md"
SBOM_FILE = "sbom.cdx.json"
SCHEMA = 1

RUNTIME_REQUIREMENTS = (
    "cloudpickle>=3.1",
    "httptools>=0.6.4",
    "numpy>=1.26",
    "orjson>=3.10",
    "prometheus-client>=0.21",
    "pysimdjson>=7",
    "python-multipart>=0.0.20",
    "starlette>=0.49",
    "uvicorn>=0.54,<1",
    "uvloop>=0.21",
    "websockets>=14",
)
"""What the server needs; every bundle's lock covers it beside the user's requirements."""

GRPC_REQUIREMENTS = ("grpcio>=1.66", "protobuf>=5.26")
"""What it needs for gRPC; the lock covers it when the bundle's settings have a ``grpc_port``."""


REDIS_REQUIREMENTS = ("redis>=5",)
"""What it needs for tasks in Redis; the lock covers it when the settings name such a store."""


def canonical_json(value: object) -> bytes:
    """Return the one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sha256_digest(data: bytes) -> str:
    """Return ``sha256:HEX`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file of a bundle, by its path below the folder that its record speaks of."""

    path: str
    mode: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A saved model: what a bundle pins, and what ``model.json`` says beside its files."""

    name: str
    framework: str
    """Name of the adapter that loads it, such as ``onnx``."""
    files: tuple[FileRecord, ...]
    """Paths below ``bundle/models/NAME``, without ``model.json`` itself."""
    carries_code: bool = False
    """True when loading it runs code that it brings (pickles)."""
    requirements: tuple[str, ...] = ()
    """What must be installed to load it, as requirement strings."""
    inputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that go in: ``{"name", "dtype", "shape"}``; empty when unknown."""
    outputs: tuple[Mapping[str, Any], ...] = ()
    """Tensors that come out, as for ``inputs``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free words of the user's."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``canonical_json`` of them is ``model.json``."""
        return _plain(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRecord:
        """Read what ``to_json`` wrote; raises StoreError."""
        return _read(cls, {**value, "files": _files(value)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRecord:
    """A program that is served as it is: anything executable that speaks HTTP."""

    path: str
    """Where it lies, below ``bundle/code``."""
    arguments: tuple[str, ...]
    port: int
    """TCP port on which it answers."""
    platform: str | None
    """What it was compiled for, such as ``linux/amd64``; None: a script, which runs anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleManifest:
    """What a bundle is made of.  Exactly one of ``service``, ``model`` and ``program`` is set."""

    service: str | None
    """Import string below ``bundle/code``, such as ``service:Digits``."""
    model: str | None
    """Name of the model that is itself the service (zero code)."""
    python: str
    """``X.Y`` that the lock was resolved for."""
    files: tuple[FileRecord, ...]
    """The service's files."""
    models: tuple[Mapping[str, Any], ...]
    """Pinned models: ``{"name", "version", "digest", "framework", "carries_code"}``."""
    lock_sha256: str
    """Hex digest of ``requirements.lock``."""
    apis: tuple[Mapping[str, Any], ...]
    """``ApiSpec.to_json()`` of every api."""
    docs: tuple[FileRecord, ...] = ()
    """Files below ``bundle/doc``: README.md and the SBOM."""
    wheels: tuple[FileRecord, ...] = ()
    """Packages below ``bundle/wheels``, which are installed from there."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The project's ``server`` and ``image`` settings that differ from the defaults."""
    program: ProgramRecord | None = None
    """The program that is itself the service; nothing of modelpack serves then."""
    schema: int = SCHEMA
    """Version of this form."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``canonical_json`` of them is ``bundle.json``."""
        plain = _plain(self)
        for key in (
            "wheels",
            "program",
        ):  # most bundles have none: their digests know nothing of it
            if not plain[key]:
                del plain[key]
        return plain

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BundleManifest:
        """Read what ``to_json`` wrote; raises StoreError."""
        if value.get("schema") != SCHEMA:
            raise StoreError(
                f"the bundle has form {value.get('schema')!r}, this modelpack reads {SCHEMA}",
                hint="use the modelpack that built it, or a newer one",
            )
        value = {"docs": (), "wheels": (), **value}  # bundles of before have no such keys
        lists = {key: _files(value, key) for key in ("files", "docs", "wheels")}
        return _read(cls, {**value, **lists, "program": _program(value.get("program"))})

    @property
    def carries_code(self) -> bool:
        """True when a model of the bundle runs code as it is loaded."""
        return any(model.get("carries_code") for model in self.models)


_Record = TypeVar("_Record", BundleManifest, ModelRecord)


def _plain(record: ModelRecord | BundleManifest) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(record)))
    return plain


def _files(value: Mapping[str, Any], key: str = "files") -> tuple[FileRecord, ...]:
    try:
        return tuple(FileRecord(**file) for file in value[key])
    except (KeyError, TypeError) as cause:
        raise StoreError("the list of files of a stored record is damaged") from cause


def _program(value: object) -> ProgramRecord | None:
    if value is None:
        return None
    form: dict[str, Any] = {
        "path": str,
        "arguments": list,
        "port": int,
        "platform": (str, type(None)),
    }
    fine = (
        isinstance(value, dict)
        and value.keys() == form.keys()
        and all(isinstance(value[key], kind) for key, kind in form.items())
        and all(isinstance(word, str) for word in value["arguments"])
        and 0 < value["port"] < 65536
    )
    if not isinstance(value, dict) or not fine:
        raise StoreError("the program of a stored record is not of the form that it must have")
    return ProgramRecord(**{**value, "arguments": tuple(value["arguments"])})


def _read(cls: type[_Record], value: Mapping[str, Any]) -> _Record:
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(value) - known):
        raise StoreError(
            f"a stored record has the unknown key '{unknown[0]}'",
            hint="it was written by a newer modelpack: update this one",
        )
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    try:
        return cls(**frozen)
    except TypeError as cause:
        raise StoreError("a stored record lacks a key that it must have") from cause
