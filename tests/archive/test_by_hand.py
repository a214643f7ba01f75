"""Another implementation of ``docs/reference/bundle-format.md``: the standard library and nothing else.

    files, records ──layer, manifest, archive: all as the page says──► bytes ──► modelpack import

It shares no code with modelpack, and what it writes is what modelpack writes, byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive import build_bundle
from modelpack.config.settings import Project, ServerSettings
from modelpack.sdk.model import Model
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

MODEL_SPEC = "application/vnd.cncf.model"
OCI = "application/vnd.oci"
LONG = "data/" + "n" * 120 + ".txt"
FILES = {"run.sh": "#!/bin/sh\n", "data/ü 日本.txt": "x", LONG: "long", "empty": ""}

Blobs = dict[str, bytes]


# --- what the page says -------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(files: Mapping[str, bytes], programs: frozenset[str] = frozenset()) -> bytes:
    folders = {
        "/".join(path.split("/")[:n]) for path in files for n in range(1, path.count("/") + 1)
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folders | set(files)):
            member = tarfile.TarInfo(path)
            member.mode = 0o755 if path in folders or path in programs else 0o644
            if path in folders:
                member.type = tarfile.DIRTYPE
            member.size = len(files.get(path, b""))
            archive.addfile(member, io.BytesIO(files.get(path, b"")))
    return out.getvalue()


def record(path: str, data: bytes, *, is_program: bool = False) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"path": path, "mode": 493 if is_program else 420, "size": len(data), "sha256": sha256}


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def add(blobs: Blobs, data: bytes, media_type: str) -> dict[str, Any]:
    blobs[digest(data)] = data
    return descriptor(data, media_type)


def layer(blobs: Blobs, kind: str, path: str, data: bytes) -> dict[str, Any]:
    notes = {"org.cncf.model.filepath": path, "org.opencontainers.image.title": f"{path}.tar"}
    return {**add(blobs, data, f"{MODEL_SPEC}.{kind}.v1.tar"), "annotations": notes}


def entry(blobs: Blobs, kind: str, tag: str, content: str, layers: list[Any]) -> dict[str, Any]:
    """Add config and manifest, and return the descriptor of the index."""
    name, version = tag.split(":")
    config = {
        "config": {"format": "onnx"},
        "descriptor": {"name": name, "version": version},
        "modelfs": {"type": "layers", "diffIds": [one["digest"] for one in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.image.manifest.v1+json",
        "artifactType": f"{MODEL_SPEC}.manifest.v1+json",
        "config": add(blobs, canonical(config), f"{MODEL_SPEC}.config.v1+json"),
        "layers": layers,
        "annotations": {"dev.modelpack.kind": kind, "dev.modelpack.content": content},
    }
    listed = add(blobs, canonical(manifest), manifest["mediaType"])
    prefix = "models/" if kind == "model" else ""
    return {
        **listed,
        "artifactType": manifest["artifactType"],
        "annotations": {
            "org.opencontainers.image.ref.name": f"{prefix}{tag}",
            "dev.modelpack.kind": kind,
        },
    }


def archive(blobs: Blobs, listed: list[dict[str, Any]]) -> bytes:
    index = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.image.index.v1+json",
        "manifests": listed,
    }
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": canonical(index)}
    return tar(
        files | {f"blobs/sha256/{key.removeprefix('sha256:')}": one for key, one in blobs.items()}
    )


# --- a model and a bundle, written by those rules -----------------------------------------------


def model_layers(blobs: Blobs, weights: bytes) -> tuple[list[Any], str]:
    """Return the layers of the model 'clf' and its content digest."""
    facts = {
        "framework": "onnx",
        "files": [record("model.onnx", weights)],
        "carries_code": False,
        "requirements": ["onnxruntime>=1.20"],
        "inputs": [],
        "outputs": [],
        "labels": {},
    }
    place = "bundle/models/clf"
    side = {f"{place}/model.json": canonical({**facts, "name": "clf"})}
    layers = [
        layer(blobs, "weight", f"{place}/model.onnx", tar({f"{place}/model.onnx": weights})),
        layer(blobs, "weight.config", place, tar(side)),
    ]
    return layers, digest(canonical({"model": facts}))


def bundle_archive(built: Mapping[str, bytes], weights: bytes, version: str) -> bytes:
    """Return the archive of the bundle; ``built`` are the lock and the documents, by path."""
    model_blobs: Blobs = {}
    shared, content = model_layers(model_blobs, weights)
    pinned = entry({}, "model", "clf:1", content, shared)
    code = {
        path.removeprefix("bundle/code/"): data
        for path, data in built.items()
        if path.startswith("bundle/code/")
    }
    docs = {name: built[f"bundle/doc/{name}"] for name in ("README.md", "sbom.cdx.json")}
    lock = built["bundle/requirements.lock"]
    bundle = {
        "schema": 1,
        "service": "service:Hello",
        "model": None,
        "python": lock.split(b", ")[1].decode().removeprefix("python "),
        "files": [
            record(path, data, is_program=path == "run.sh") for path, data in sorted(code.items())
        ],
        "docs": [record(name, data) for name, data in docs.items()],
        "models": [
            {
                "name": "clf",
                "version": "1",
                "digest": pinned["digest"],
                "framework": "onnx",
                "carries_code": False,
            }
        ],
        "lock_sha256": hashlib.sha256(lock).hexdigest(),
        "apis": [
            {
                "name": "greet",
                "route": "/greet",
                "input": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
                "output": {"type": "string"},
                "stream": False,
            }
        ],
        "settings": {"server": {"max_queue_rows": 7}},
    }
    digests = {name: digest(data) for name, data in docs.items()}
    content = digest(canonical({"bundle": bundle, "docs": digests}))
    service = {
        "bundle/bundle.json": canonical(bundle),
        **{f"bundle/code/{path}": data for path, data in code.items()},
    }
    blobs = model_blobs
    layers = [
        *shared,
        layer(blobs, "doc", "bundle/doc", tar({f"bundle/doc/{k}": v for k, v in docs.items()})),
        layer(blobs, "code", "bundle/requirements.lock", tar({"bundle/requirements.lock": lock})),
        layer(blobs, "code", "bundle/code", tar(service, frozenset(["bundle/code/run.sh"]))),
    ]
    return archive(blobs, [entry(blobs, "bundle", f"hello:{version}", content, layers)])


# --- and modelpack ------------------------------------------------------------------------------


@pytest.fixture
def weights() -> bytes:
    return b"\0weights" * 1000


@pytest.fixture
def made(
    hello: Callable[..., tuple[Project, ServiceSpec]],
    store: Store,
    save_model: Callable[..., Entry],
    weights: bytes,
    index: object,
) -> Entry:
    """A bundle that modelpack built, without the statement of who built it when."""
    from dataclasses import replace

    save_model("clf", weights, "1")
    project, spec = hello(
        {**FILES, "README.md": "# Hello\n"}, server=ServerSettings(max_queue_rows=7)
    )
    (project.root / "run.sh").chmod(0o755)
    spec = replace(spec, models={"clf": Model("clf")})
    entry = build_bundle(project, spec, store=store, version="1").entry
    for referrer in store.referrers(entry):
        store.detach(referrer)
    return entry


def files_of(store: Store, entry: Entry, into: Path) -> dict[str, bytes]:
    root = store.unpack(entry, into).parent
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_what_is_written_by_hand_is_what_modelpack_writes(
    store: Store, made: Entry, weights: bytes, tmp_path: Path
) -> None:
    by_hand = bundle_archive(files_of(store, made, tmp_path / "out"), weights, "1")
    assert by_hand == store.export(made, tmp_path / "made.modelpack").read_bytes()


def test_modelpack_takes_a_bundle_that_was_written_by_hand(
    store: Store, made: Entry, weights: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "by-hand.modelpack"
    file.write_bytes(bundle_archive(files_of(store, made, tmp_path / "out"), weights, "2.0"))
    there = Store(tmp_path / "there")
    entry = there.import_(file)
    assert str(entry.tag) == "hello:2.0"
    assert entry.content == made.content
    assert there.verify(entry).files == len(FILES) + 7
    assert there.bundle_manifest(entry) == store.bundle_manifest(made)


def test_a_model_and_what_is_said_of_it_can_be_written_by_hand(
    tmp_path: Path, weights: bytes
) -> None:
    blobs: Blobs = {}
    layers, content = model_layers(blobs, weights)
    listed = entry(blobs, "model", "clf:1", content, layers)
    subject = {key: listed[key] for key in ("mediaType", "digest", "size")}
    statement = {
        "mediaType": f"{OCI}.image.manifest.v1+json",
        "schemaVersion": 2,
        "artifactType": "application/vnd.example.note",
        "config": add(blobs, b"{}", f"{OCI}.empty.v1+json"),
        "layers": [add(blobs, b"a note", "text/plain")],
        "subject": subject,
    }
    said = {
        **add(blobs, canonical(statement), statement["mediaType"]),
        "artifactType": statement["artifactType"],
        "annotations": {"dev.modelpack.subject": subject["digest"]},
    }
    file = tmp_path / "clf.modelpack"
    file.write_bytes(archive(blobs, [listed, said]))

    store = Store(tmp_path / "there")
    found = store.import_(file)

    assert (found.kind, found.tag) == (Kind.MODEL, Tag("clf", "1"))
    assert (found.digest, found.content) == (listed["digest"], content)
    store.verify(found)
    (referrer,) = store.referrers(found)
    assert (referrer.artifact_type, store.read_referrer(referrer)) == (
        "application/vnd.example.note",
        b"a note",
    )
    assert store.export(found, tmp_path / "again.modelpack").read_bytes() == file.read_bytes()
