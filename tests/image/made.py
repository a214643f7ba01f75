"""Small images for tests, written by Python's own tarfile and json.

    file(...), folder(...), link(...) ──tar──► layer ──Made──► layout, oci-archive, docker-archive

Loaded by path (``importlib.util``), since tests are not a package.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

Entry = tuple[tarfile.TarInfo, bytes]


def file(path: str, data: bytes = b"", mode: int = 0o644) -> Entry:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(data), mode
    return member, data


def folder(path: str) -> Entry:
    return _typed(path, tarfile.DIRTYPE)


def link(path: str, target: str) -> Entry:
    return _typed(path, tarfile.SYMTYPE, target)


def hardlink(path: str, target: str) -> Entry:
    return _typed(path, tarfile.LNKTYPE, target)


def device(path: str) -> Entry:
    return _typed(path, tarfile.CHRTYPE)


def _typed(path: str, kind: bytes, target: str = "") -> Entry:
    member = tarfile.TarInfo(path)
    member.type, member.linkname = kind, target
    return member, b""


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for member, data in entries:
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Made:
    """An image of tars; ``gzipped`` are the numbers of layers that are stored with gzip."""

    tars: Sequence[bytes]
    settings: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    gzipped: Sequence[int] = ()
    history: Sequence[Mapping[str, Any]] = ()
    diff_ids: Sequence[str] | None = None

    @property
    def config(self) -> bytes:
        value = {
            "architecture": self.architecture,
            "os": "linux",
            "config": dict(self.settings),
            "rootfs": {
                "type": "layers",
                "diff_ids": list(self.diff_ids or [digest(one) for one in self.tars]),
            },
            "history": list(self.history),
        }
        return json.dumps(value).encode()

    @property
    def layers(self) -> list[bytes]:
        return [
            gzip.compress(one, mtime=0) if number in self.gzipped else one
            for number, one in enumerate(self.tars)
        ]

    @property
    def manifest(self) -> bytes:
        kinds = [LAYER + "+gzip" * (n in self.gzipped) for n in range(len(self.tars))]
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(self.config, CONFIG),
            "layers": [
                described(data, kind) for data, kind in zip(self.layers, kinds, strict=True)
            ],
        }
        return json.dumps(value).encode()

    @property
    def blobs(self) -> list[bytes]:
        return [self.config, self.manifest, *self.layers]


def described(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


def write_layout(
    top: Path, blobs: Sequence[bytes], descriptors: Sequence[Mapping[str, Any]]
) -> Path:
    (top / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (top / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for data in blobs:
        (top / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(descriptors)}
    (top / "index.json").write_text(json.dumps(value))
    return top


def layout(top: Path, **images: Made) -> Path:
    """Write a layout whose tags are the names of the arguments."""
    descriptors = [
        described(
            one.manifest,
            MANIFEST,
            annotations={"org.opencontainers.image.ref.name": name},
        )
        for name, one in images.items()
    ]
    return write_layout(top, [blob for one in images.values() for blob in one.blobs], descriptors)


def index_of(**images: Made) -> bytes:
    """Return an index whose platforms are ``linux/NAME`` of the arguments."""
    listed = [
        described(one.manifest, MANIFEST, platform={"os": "linux", "architecture": name})
        for name, one in images.items()
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()


def packed(top: Path, target: Path) -> Path:
    """Write a folder as one tar."""
    with tarfile.open(target, "w") as archive:
        for path in sorted(top.rglob("*")):
            archive.add(path, path.relative_to(top).as_posix(), recursive=False)
    return target


def docker_archive(target: Path, **images: Made) -> Path:
    """Write what an engine saves; the names are those of the arguments, with ``:1``."""
    entries: dict[str, Entry] = {}
    listed = []
    for name, one in images.items():
        config = f"{digest(one.config)[7:]}.json"
        paths = [f"{digest(data)[7:]}/layer.tar" for data in one.layers]
        entries[config] = file(config, one.config)
        entries |= {path: file(path, data) for path, data in zip(paths, one.layers, strict=True)}
        listed.append({"Config": config, "RepoTags": [f"{name}:1"], "Layers": paths})
    manifest = file("manifest.json", json.dumps(listed).encode())
    target.write_bytes(tar(*entries.values(), manifest))
    return target
