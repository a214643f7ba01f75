"""A store of one's own, and models and bundles to put into it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack.manifest import BundleManifest, FileRecord, ModelRecord
from modelpack.store import Added, Entry, Store


@dataclass
class Workshop:
    """Makes entries of plain bytes, each from a fresh folder."""

    root: Path
    store: Store
    count: int = 0

    def lay_out(self, files: Mapping[str, bytes]) -> tuple[Path, tuple[FileRecord, ...]]:
        """Write files into a fresh folder and return it with their records."""
        self.count += 1
        folder = self.root / f"source-{self.count}"
        folder.mkdir(parents=True)
        records = []
        for path, data in sorted(files.items()):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            records.append(FileRecord(path=path, mode=0o644, size=len(data), sha256=digest))
        return folder, tuple(records)

    def doc(self, readme: bytes) -> FileRecord:
        """Return the record of a README."""
        digest = hashlib.sha256(readme).hexdigest()
        return FileRecord(path="README.md", mode=0o644, size=len(readme), sha256=digest)

    def model(
        self, name: str = "clf", version: str | None = None, weights: bytes = b"weights"
    ) -> Entry:
        """Store a model with one weight file and one side file."""
        folder, files = self.lay_out({"model.onnx": weights, "labels.json": b"[0,1]"})
        record = ModelRecord(name=name, framework="onnx", files=files)
        return self.store.add_model(record, folder, version=version).entry

    def add(
        self,
        name: str = "digits",
        *,
        version: str | None = None,
        code: bytes = b"class Digits: ...\n",
        models: tuple[Entry, ...] = (),
        extra: Mapping[str, bytes] | None = None,
        readme: bytes | None = b"# digits\n",
    ) -> Added:
        """Store a bundle with a service of one file, and say whether it was new."""
        folder, files = self.lay_out({"service.py": code, **(extra or {})})
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=files,
            models=tuple(
                {
                    "name": m.tag.name,
                    "version": m.tag.version,
                    "digest": m.digest,
                    "framework": "onnx",
                }
                for m in models
            ),
            lock_sha256=hashlib.sha256(LOCK.encode()).hexdigest(),
            apis=({"name": "predict", "route": "/predict"},),
            docs=() if readme is None else (self.doc(readme),),
        )
        return self.store.add_bundle(
            name, manifest, root=folder, lock=LOCK, models=models, readme=readme, version=version
        )

    def bundle(self, name: str = "digits", **options: object) -> Entry:
        """Store a bundle."""
        return self.add(name, **options).entry  # type: ignore[arg-type]


LOCK = "# a lock\nnumpy==2.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def workshop(tmp_path: Path, store: Store) -> Workshop:
    return Workshop(tmp_path / "sources", store)


@pytest.fixture
def blob_path() -> Callable[[Store, str], Path]:
    """Return where a store keeps a blob."""
    return lambda store, digest: store.root / "blobs" / "sha256" / digest.removeprefix("sha256:")


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Return every file below a folder by its path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    return read


HostileTar = Callable[[tarfile.TarFile], None]


def _member(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, **fields: object
) -> HostileTar:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode = kind, len(data) if kind == tarfile.REGTYPE else 0, 0o644
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(data))

    return add


def _all(*adds: HostileTar) -> HostileTar:
    def add_all(archive: tarfile.TarFile) -> None:
        for add in adds:
            add(archive)

    return add_all


_FILE = _member("bundle/code/a.py")
HOSTILE: dict[str, HostileTar] = {
    "a path that climbs": _member("bundle/../../escaped"),
    "a path that climbs at its end": _member("bundle/code/.."),
    "an absolute path": _member("/tmp/modelpack-escaped"),
    "a dot in a path": _member("bundle/./a"),
    "an empty part": _member("bundle//a"),
    "a symbolic link": _member("bundle/link", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a symbolic link inside": _member("bundle/link", kind=tarfile.SYMTYPE, linkname="code"),
    "a hard link": _all(
        _FILE, _member("bundle/l", kind=tarfile.LNKTYPE, linkname="bundle/code/a.py")
    ),
    "a link and a file through it": _all(
        _member("bundle/d", kind=tarfile.SYMTYPE, linkname=".."), _member("bundle/d/escaped")
    ),
    "a chain of links": _all(
        _member("bundle/a", kind=tarfile.SYMTYPE, linkname="."),
        _member("bundle/a/b", kind=tarfile.SYMTYPE, linkname=".."),
        _member("bundle/a/b/c", kind=tarfile.SYMTYPE, linkname=".."),
    ),
    "a character device": _member("bundle/dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a block device": _member("bundle/dev", kind=tarfile.BLKTYPE),
    "a fifo": _member("bundle/fifo", kind=tarfile.FIFOTYPE),
    "a contiguous file": _member("bundle/cont", kind=tarfile.CONTTYPE),
    "a sparse file": _member("bundle/sparse", kind=tarfile.GNUTYPE_SPARSE),
    "a file twice": _all(_FILE, _FILE),
    "a file that differs in case": _all(_FILE, _member("bundle/code/A.py")),
    "a folder that differs in case": _all(_FILE, _member("bundle/Code/b.py")),
    "a name in two Unicode forms": _all(_member("bundle/\u00e9"), _member("bundle/e\u0301")),
    "a file below a file": _all(_FILE, _member("bundle/code/a.py/b")),
    "a file in place of a folder": _all(_FILE, _member("bundle/code")),
    "a whiteout": _member("bundle/code/.wh.a.py"),
    "an opaque whiteout": _member("bundle/.wh..wh..opq"),
    "a path outside the top folder": _member("etc/passwd"),
    "a file in place of the top folder": _member("bundle"),
    "a setuid program": _member("bundle/program", mode=0o4755),
    "a name that is too long": _member("bundle/" + "n" * 256),
    "a name that is not UTF-8": _member("bundle/\udcff"),
    "a foreign extended header": _member(
        "bundle/a", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    ),
    "a link in an extended header": _member("bundle/a", pax_headers={"linkpath": "/etc/passwd"}),
}


@pytest.fixture(params=sorted(HOSTILE))
def hostile_tar(request: pytest.FixtureRequest) -> bytes:
    """Give the bytes of a tar that must be refused as a whole, one after the other."""
    buffer = io.BytesIO()
    # ustar cannot say a name that is not ASCII; the others need the extended header.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        HOSTILE[request.param](archive)
    return buffer.getvalue()
