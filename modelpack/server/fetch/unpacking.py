"""Chooses the layers that hold models, and writes their files.

    manifest ──model_layers──► [Layer(digest, size)]
    layer (a tar, read and whole) ──unpack──► FOLDER/MODEL/…: files and folders alone

Files of a restart are written again over those that are there.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelpack.errors import RefusedError

MODELS = "bundle/models"
"""Where a bundle's layers have its models."""

_TYPES = (
    "application/vnd.cncf.model.weight.v1.tar",
    "application/vnd.cncf.model.weight.config.v1.tar",
)
_PATH, _KIND = "org.cncf.model.filepath", "dev.modelpack.kind"


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob with a tar in it."""

    digest: str
    size: int


def model_layers(manifest: Mapping[str, Any], what: str) -> list[Layer]:
    """Return the layers of models, the largest first; raises RefusedError for what is no bundle."""
    if (manifest.get("annotations") or {}).get(_KIND) != "bundle":
        raise RefusedError(
            f"'{what}' is no bundle", hint="name what 'modelpack push' made of one, not its image"
        )
    try:
        found = [
            Layer(str(one["digest"]), int(one["size"]))
            for one in manifest["layers"]
            if one["mediaType"] in _TYPES and _is_of_models(one)
        ]
    except (KeyError, TypeError, ValueError) as cause:
        raise RefusedError(f"the manifest of '{what}' is damaged") from cause
    if not found:
        raise RefusedError(f"'{what}' has no models", hint="take weights=image")
    if any(not _is_digest(one.digest) or one.size < 0 for one in found):
        raise RefusedError(f"the manifest of '{what}' is damaged")
    return sorted(dict.fromkeys(found), key=lambda one: one.size, reverse=True)


def unpack(tar: Path, folder: Path) -> None:
    """Write the files of a layer below a folder; raises RefusedError for any that go elsewhere."""
    try:
        with tarfile.open(tar, "r:") as archive:
            for member, place in _placed(archive, folder):
                _write(archive, member, place)
    except tarfile.TarError as cause:
        raise RefusedError(f"a layer is no archive: {cause}") from cause


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    data = archive.extractfile(member)
    if data is None:
        raise AssertionError
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with data, os.fdopen(os.open(place, flags, 0o644), "wb") as out:
        shutil.copyfileobj(data, out, 1024 * 1024)


def _placed(archive: tarfile.TarFile, folder: Path) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    top = PurePosixPath(MODELS)
    for member in archive:
        path = PurePosixPath(member.name)
        if not (member.isdir() or member.isreg()) or ".." in path.parts or path.is_absolute():
            raise RefusedError(f"a layer has '{member.name[:100]}', which is no file of a model")
        if path in (top, *top.parents):
            continue
        if top not in path.parents:
            raise RefusedError(f"a layer has '{member.name[:100]}', which is no file of a model")
        yield member, folder / path.relative_to(top)


def _is_of_models(layer: Mapping[str, Any]) -> bool:
    path = str((layer.get("annotations") or {}).get(_PATH, ""))
    return path == MODELS or path.startswith(f"{MODELS}/")


def _is_digest(text: str) -> bool:
    kind, _, digits = text.partition(":")
    return kind == "sha256" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")
