"""Makes the layers of an entry out of files, and its content digest.

    model folder ──► one weight layer a file + one layer of side files and model.json
    service      ──► doc layer (README, SBOM) + code layer (bundle.json, files)
    its packages ──► lock layer + wheels layer, if it brings some

Weights get a layer each, so that a changed one moves alone, and stay uncompressed, so that the
very same blob is a layer of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from modelpack.errors import BuildError
from modelpack.manifest import (
    BUNDLE_FILE,
    LOCK_FILE,
    MODEL_FILE,
    BundleManifest,
    FileRecord,
    ModelRecord,
    canonical_json,
    sha256_digest,
)
from modelpack.store.base import (
    CODE_PATH,
    CODE_TYPE,
    DOC_TYPE,
    LAYER_TYPES,
    SIDE_TYPE,
    TOP,
    WEIGHT_TYPE,
    WHEELS_PATH,
    Layer,
)
from modelpack.store.durable import Staging
from modelpack.store.tar import EXECUTABLE_MODE, FILE_MODE, Member, Sink, write_tar

_SIDE_SUFFIXES = {".csv", ".json", ".md", ".toml", ".txt", ".vocab", ".yaml", ".yml"}
_MAX_SIDE_BYTES = 1024 * 1024


def model_content(record: ModelRecord) -> str:
    """Return the content digest of a model: its record without the name."""
    facts = {key: value for key, value in record.to_json().items() if key != "name"}
    return sha256_digest(canonical_json({"model": facts}))


def bundle_content(manifest: BundleManifest, docs: Mapping[str, bytes]) -> str:
    """Return the content digest of a bundle: its record, which covers files, lock and models.

    ``docs`` are the files of the doc layer by name.
    """
    digests = {name: sha256_digest(data) for name, data in docs.items()}
    return sha256_digest(canonical_json({"bundle": manifest.to_json(), "docs": digests}))


Fill = Callable[[Sink], object]
Reuse = Callable[[FileRecord, Fill], Layer | None]
"""Gives a staged layer of this file that has the very bytes that would be written, or None."""


def pack_model(
    staging: Staging, record: ModelRecord, folder: Path, reuse: Reuse = lambda *_: None
) -> list[Layer]:
    """Write the layers of a model whose files lie in ``folder``, but for those that are there."""
    place = f"{TOP}/models/{record.name}"
    side = [Member.of_bytes(f"{place}/{MODEL_FILE}", canonical_json(record.to_json()))]
    layers = []
    for file in sorted(record.files, key=lambda file: file.path):
        if file.path == MODEL_FILE:
            raise BuildError(
                f"the model '{record.name}' has a file '{MODEL_FILE}', a name that is taken",
                hint="give that file another name",
            )
        member = _member(f"{place}/{file.path}", folder, file)
        if _is_side_file(file):
            side.append(member)
        else:
            known = reuse(file, partial(write_tar, members=[member]))
            layers.append(known or _layer(staging, WEIGHT_TYPE, member.path, [member]))
    return [*layers, _layer(staging, SIDE_TYPE, place, side)]


def pack_service(
    staging: Staging,
    manifest: BundleManifest,
    root: Path,
    lock: str,
    docs: Mapping[str, bytes],
    *,
    wheels: Mapping[str, Path],
) -> list[Layer]:
    """Write the doc, lock, wheels and code layer of a bundle whose files lie below ``root``.

    ``wheels`` says where those of the manifest lie, by file name.
    """
    # Lock and wheels apart from the code, which changes far more often.
    locked = Member.of_bytes(f"{TOP}/{LOCK_FILE}", lock.encode())
    layers = [_layer(staging, CODE_TYPE, locked.path, [locked])]
    if manifest.wheels:
        packages = [_wheel(file, wheels[file.path]) for file in manifest.wheels]
        layers.append(_layer(staging, CODE_TYPE, WHEELS_PATH, packages))
    if docs:
        texts = [Member.of_bytes(f"{TOP}/doc/{name}", data) for name, data in docs.items()]
        layers.append(_layer(staging, DOC_TYPE, f"{TOP}/doc", texts))
    code = [
        Member.of_bytes(f"{TOP}/{BUNDLE_FILE}", canonical_json(manifest.to_json())),
        *(_member(f"{CODE_PATH}/{file.path}", root, file) for file in manifest.files),
    ]
    layers.append(_layer(staging, CODE_TYPE, CODE_PATH, code))
    return layers


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers as they stand in a manifest: by kind, then by path, the code last."""

    def place(layer: Layer) -> tuple[int, bool, str]:
        return LAYER_TYPES.index(layer.media_type), layer.path == CODE_PATH, layer.path

    return sorted(layers, key=place)


def _layer(staging: Staging, media_type: str, path: str, members: Sequence[Member]) -> Layer:
    blob = staging.write(lambda sink: write_tar(sink, members))
    return Layer(media_type, blob.digest, blob.size, path)


def _is_side_file(file: FileRecord) -> bool:
    return file.size <= _MAX_SIDE_BYTES and PurePosixPath(file.path).suffix in _SIDE_SUFFIXES


def _member(path: str, root: Path, file: FileRecord) -> Member:
    mode = EXECUTABLE_MODE if file.mode & 0o100 else FILE_MODE
    return Member(path, mode, file.size, _opener(root / file.path), file.sha256)


def _wheel(file: FileRecord, place: Path) -> Member:
    return Member(f"{WHEELS_PATH}/{file.path}", FILE_MODE, file.size, _opener(place), file.sha256)


def _opener(path: Path) -> Callable[[], BinaryIO]:
    def open_file() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as cause:
            raise BuildError(f"cannot read '{path}': {cause.strerror}") from cause

    return open_file
