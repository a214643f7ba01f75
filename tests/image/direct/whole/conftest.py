"""Small bases that tests write, and images that are built on them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelpack.image import ImagePlan
from modelpack.image.direct import DirectResult, build_direct
from modelpack.store import Store
from modelpack.store.system import Io

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MACHINES = {"amd64": 62, "arm64": 183}


@dataclass(frozen=True)
class Link:
    """A symbolic link of a layer."""

    target: str


Files = Mapping[str, bytes | Link]


def elf(architecture: str, text: bytes) -> bytes:
    """Return what looks like a program for a processor, with a text in it."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00"
    return head + MACHINES[architecture].to_bytes(2, "little") + bytes(44) + b"\0" + text + b"\0"


def libc(architecture: str, version: str) -> bytes:
    return elf(
        architecture,
        f"GNU C Library (Some GLIBC {version}-9) stable release version {version}.".encode(),
    )


def slim(
    architecture: str = "amd64", *, glibc: str = "2.36", python: str = "3.11.9"
) -> list[Files]:
    """Return the layers of a base as the official slim images have them."""
    minor = python.rpartition(".")[0]
    triple = {"amd64": "x86_64", "arm64": "aarch64"}[architecture] + "-linux-gnu"
    return [
        {
            "bin": Link("usr/bin"),
            "lib": Link("usr/lib"),
            f"usr/lib/{triple}/libc.so.6": libc(architecture, glibc),
            "usr/lib/os-release": b'PRETTY_NAME="Some Linux 12"\nID=some\nVERSION_ID="12"\n',
            "etc/os-release": Link("../usr/lib/os-release"),
            "var/lib/dpkg/status": b"Package: libc6\nStatus: install ok installed\nVersion: "
            b"2.36-9+deb12u10\nArchitecture: " + architecture.encode() + b"\n\n"
            b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        },
        {
            f"usr/local/bin/python{minor}": elf(architecture, python.encode()),
            "usr/local/bin/python3": Link(f"python{minor}"),
            "usr/local/bin/python": Link("python3"),
        },
    ]


def layer_tar(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(data, Link):
                member.type, member.linkname = tarfile.SYMTYPE, data.target
                archive.addfile(member)
                continue
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@dataclass
class Bases:
    """Writes OCI image layouts with one base each."""

    root: Path
    count: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    link = Link
    elf = staticmethod(elf)
    libc = staticmethod(libc)
    slim = staticmethod(slim)

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def manifest(
        self,
        layers: Iterable[Files],
        *,
        architecture: str = "amd64",
        settings: Mapping[str, Any] | None = None,
        is_docker: bool = False,
        **config: Any,
    ) -> dict[str, Any]:
        tars = [layer_tar(files) for files in layers]
        prefix = "application/vnd.docker.image" if is_docker else "application/vnd.oci.image"
        layer_type = (
            f"{prefix}.rootfs.diff.tar.gzip" if is_docker else f"{prefix}.layer.v1.tar+gzip"
        )
        packed = [self.blob(gzip.compress(tar, mtime=0), layer_type) for tar in tars]
        said = {
            "architecture": architecture,
            "os": "linux",
            "config": settings or {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars],
            },
            **config,
        }
        config_type = "application/vnd.docker.container.image.v1+json"
        made = self.blob(
            json.dumps(said).encode(),
            config_type if is_docker else "application/vnd.oci.image.config.v1+json",
        )
        kind = "application/vnd.docker.distribution.manifest.v2+json" if is_docker else MANIFEST
        value = {"schemaVersion": 2, "mediaType": kind, "config": made, "layers": packed}
        return self.blob(json.dumps(value).encode(), kind)

    def write(self, *manifests: dict[str, Any], name: str | None = None) -> str:
        """Write a layout that lists these as ``latest``, several under an index of their own."""
        self.count += 1
        folder = self.root / (name or f"base-{self.count}")
        listed = manifests[0]
        if len(manifests) > 1:
            value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
            listed = self.blob(json.dumps(value).encode(), INDEX)
        entry = {**listed, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        (folder / "blobs" / "sha256").mkdir(parents=True)
        for digest, data in self.blobs.items():
            (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        (folder / "index.json").write_text(json.dumps(index))
        self.blobs = {}
        return f"oci:{folder}"

    def usual(self, **about: Any) -> str:
        """Write a base like the official slim ones."""
        return self.write(self.manifest(slim(), **about))

    def for_two(self) -> str:
        """Write a base for amd64 and arm64."""
        parts = []
        about: dict[str, dict[str, Any]] = {"amd64": {}, "arm64": {"variant": "v8"}}
        for architecture, more in about.items():
            made = self.manifest(slim(architecture), architecture=architecture, **more)
            platform = {"os": "linux", "architecture": architecture, **more}
            parts.append({**made, "platform": platform})
        return self.write(*parts)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image-cache")


@pytest.fixture
def image_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give all of these tests one cache: what is in it is named by what it is made of."""
    monkeypatch.setenv("MODELPACK_CACHE", str(shared_cache))
    return shared_cache


@pytest.fixture
def own_cache(image_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test that does harm to its cache one of its own."""
    del image_cache
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a power cut, so nobody waits for the disk."""
    monkeypatch.setattr(Io, "sync", lambda *_: None)


@pytest.fixture
def bases(tmp_path: Path) -> Bases:
    return Bases(tmp_path)


@pytest.fixture
def tiny(wheels_plan: Callable[..., ImagePlan]) -> ImagePlan:
    """Give the plan of a small bundle with packages of its own; nothing is fetched for it."""
    return wheels_plan()


Build = Callable[..., DirectResult]


@pytest.fixture
def build(store: Store, bases: Bases, image_cache: Path, tmp_path: Path) -> Build:
    """Return a function that builds plans, by default on a usual base into ``tmp_path/out``."""
    del image_cache  # it is the one that is used

    def make(
        *plans: ImagePlan,
        base: str | None = None,
        outputs: Iterable[str] = (),
        **more: Any,
    ) -> DirectResult:
        return build_direct(
            plans,
            store,
            base=base or bases.usual(),
            outputs=[*outputs] or [f"oci:{tmp_path / 'out'}"],
            **more,
        )

    return make


@dataclass(frozen=True)
class Layout:
    """Reads an OCI image layout with nothing but the standard library."""

    folder: Path

    @property
    def index(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "index.json").read_text())
        return found

    def named(self) -> dict[str, dict[str, Any]]:
        """Return the entries that have a name, by it."""
        key = "org.opencontainers.image.ref.name"
        listed = self.index["manifests"]
        return {one["annotations"][key]: one for one in listed if key in one.get("annotations", {})}

    def blob(self, digest: str) -> bytes:
        data = (self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
        return data

    def json(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(digest))
        return found

    def image(self, digest: str) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
        """Return manifest, config and unpacked layers, each checked by its digests."""
        manifest = self.json(digest)
        config = self.json(manifest["config"]["digest"])
        tars = []
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            data = self.blob(layer["digest"])
            assert len(data) == layer["size"]
            tar = gzip.decompress(data) if layer["mediaType"].endswith("+gzip") else data
            assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
            tars.append(tar)
        return manifest, config, tars


@pytest.fixture
def read_layout() -> Callable[[Path], Layout]:
    return Layout
