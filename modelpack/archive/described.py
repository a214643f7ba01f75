"""Everything that can be said of a bundle without running it, gathered in one value.

    bundle.json, model.json, lock, SBOM ─┐
    statements beside it, signatures    ─┴─ describe ──► Described ──► ``modelpack inspect``

Each record is read through the digest of its layer, so what is shown is what is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelpack.archive.bundled import bundled_models, checked_record
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import of_target
from modelpack.errors import StoreError
from modelpack.manifest import LOCK_FILE, SBOM_FILE, BundleManifest, FileRecord, ModelRecord
from modelpack.provenance import Provenance, Training, read_provenance, trainings_of
from modelpack.store import DOC_TYPE, Entry, Store
from modelpack.store.base import TOP
from modelpack.store.contents import read_file
from modelpack.trust import Signature, code_models, signature_state

_LOCK_HEAD = re.compile(r"# modelpack lock \d+, python \S+, (?P<target>[^ ]+), inputs ")


@dataclass(frozen=True, slots=True)
class DescribedModel:
    """A model of a bundle: how it is pinned, what it says of itself, what is said of it."""

    version: str
    digest: str
    """Of its manifest."""
    record: ModelRecord
    runs_code: bool
    """True when loading it runs code, whatever its record says."""
    training: Training

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **self.record.to_json(),
            "version": self.version,
            "digest": self.digest,
            "runs_code": self.runs_code,
            "metrics": dict(self.training.metrics),
            "data": [one.to_json() for one in self.training.data],
        }


@dataclass(frozen=True, slots=True)
class Sbom:
    """The bill of materials of a bundle."""

    form: str
    """Such as ``CycloneDX 1.6``."""
    components: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Described:
    """A bundle, from its files to who signed it."""

    entry: Entry
    tags: tuple[str, ...]
    """Other tags of the same bundle."""
    manifest: BundleManifest
    models: tuple[DescribedModel, ...]
    packages: tuple[LockedPackage, ...]
    platforms: tuple[str, ...]
    """Those it was locked for, such as ``linux/amd64``; empty when the lock does not say."""
    files: tuple[FileRecord, ...]
    """All files but the two records, by their path in the bundle; those of the models too."""
    sbom: Sbom | None
    provenance: Provenance | None
    signatures: tuple[Signature, ...]

    @property
    def carries_code(self) -> bool:
        """True when loading one of its models runs code."""
        return any(model.runs_code for model in self.models)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "content": self.entry.content,
            "tags": list(self.tags),
            "layers": [_layer_json(layer) for layer in self.entry.layers],
            "carries_code": self.carries_code,
            "files": [asdict(file) for file in self.files],
            "apis": list(self.manifest.apis),
            "models": [model.to_json() for model in self.models],
            "lock": {
                "sha256": self.manifest.lock_sha256,
                "python": self.manifest.python,
                "platforms": list(self.platforms),
                "packages": len(self.packages),
            },
            "packages": [
                {"name": one.name, "version": one.version, "marker": one.marker}
                for one in self.packages
            ],
            "provenance": self.provenance and self.provenance.to_json(),
            "signatures": [one.to_json() for one in self.signatures],
            "sbom": self.sbom and {"path": f"doc/{SBOM_FILE}", **asdict(self.sbom)},
            "manifest": self.manifest.to_json(),
        }


def describe(store: Store, entry: Entry) -> Described:
    """Read what a bundle is; raises DigestMismatchError and StoreError for a damaged one.

    Raises ConfigError when the policy file, which says whose signatures count, has mistakes.
    """
    manifest = checked_record(store, entry)
    lock = store.lock_text(entry)
    models = _models(store, entry, manifest)
    same = (one.tag for one in store.list(entry.kind, entry.tag.name) if one.digest == entry.digest)
    return Described(
        entry=entry,
        tags=tuple(str(tag) for tag in same if tag != entry.tag),
        manifest=manifest,
        models=models,
        packages=read_lock(lock),
        platforms=_platforms(lock),
        files=_files(manifest, models, len(lock.encode())),
        sbom=_sbom(store, entry, manifest),
        provenance=read_provenance(store, entry),
        signatures=tuple(signature_state(store, entry)),
    )


def _models(store: Store, entry: Entry, manifest: BundleManifest) -> tuple[DescribedModel, ...]:
    trainings = trainings_of(store, entry, manifest)
    running = {model.name for model in code_models(store, entry)}
    records = bundled_models(store, entry, manifest)
    return tuple(
        DescribedModel(
            version=str(pin["version"]),
            digest=str(pin["digest"]),
            record=record,
            runs_code=record.name in running,
            training=trainings[record.name],
        )
        for pin, record in zip(manifest.models, records, strict=True)
    )


def _files(
    manifest: BundleManifest, models: tuple[DescribedModel, ...], lock_size: int
) -> tuple[FileRecord, ...]:
    lists: Mapping[str, tuple[FileRecord, ...]] = {
        "code": manifest.files,
        "doc": manifest.docs,
        "wheels": manifest.wheels,
        **{f"models/{model.record.name}": model.record.files for model in models},
    }
    found = [
        replace(file, path=f"{folder}/{file.path}")
        for folder, files in lists.items()
        for file in files
    ]
    lock = FileRecord(path=LOCK_FILE, mode=0o644, size=lock_size, sha256=manifest.lock_sha256)
    return tuple(sorted([*found, lock], key=lambda file: file.path))


def _sbom(store: Store, entry: Entry, manifest: BundleManifest) -> Sbom | None:
    listed = next((file for file in manifest.docs if file.path == SBOM_FILE), None)
    if listed is None:
        return None
    layers = [layer for layer in entry.layers if layer.media_type == DOC_TYPE]
    path = f"{TOP}/doc/{SBOM_FILE}"
    data = read_file(store.open_blob, layers, path, f"'{entry.tag}'")
    try:
        value = json.loads(data)
        form = f"{value['bomFormat']} {value['specVersion']}"
        return Sbom(form, len(value["components"]), listed.sha256)
    except (ValueError, KeyError, TypeError) as cause:
        raise StoreError(f"the bill of materials of '{entry.tag}' is damaged") from cause


def _platforms(lock: str) -> tuple[str, ...]:
    match = _LOCK_HEAD.match(lock)
    return tuple(one.name for one in of_target(match["target"])) if match else ()


def _layer_json(layer: Any) -> dict[str, Any]:
    return {
        "path": layer.path,
        "media_type": layer.media_type,
        "digest": layer.digest,
        "size_bytes": layer.size,
    }
