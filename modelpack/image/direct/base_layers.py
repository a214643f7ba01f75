"""Layers of bases out of a registry, kept on this machine once they were read.

    layer of a registry ──chunks──► whoever reads it
                             └────► $MODELPACK_CACHE/image/base-layers/HEX ──► the next one who reads it

A base is downloaded once, however many images are built on it.  What is kept is believed by its
digest alone; it takes at most ``MAX_BYTES``, and what was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from modelpack import paths
from modelpack.errors import DigestMismatchError
from modelpack.image.reading import ReadLayer
from modelpack.registry.base import Place
from modelpack.store.durable import Blob
from modelpack.store.tar import CHUNK

MAX_BYTES = 4 * 1024**3
"""Bytes of base layers that are kept; a CUDA base has about two of these."""


def kept(layer: ReadLayer, place: Place | None) -> ReadLayer:
    """Return the layer so that its bytes are fetched once; one of this machine stays as it is."""
    if place is None:
        return layer
    file = paths.cache_dir() / "image" / "base-layers" / layer.blob.hex
    return replace(layer, chunks=lambda: _chunks(layer, file))


def _chunks(layer: ReadLayer, file: Path) -> Iterator[bytes]:
    try:
        is_whole = file.stat().st_size == layer.blob.size
        stream = file.open("rb") if is_whole else None
    except OSError:
        stream = None
    if stream is None:
        yield from _keeping(layer, file)
        return
    with suppress(OSError):
        os.utime(file)  # it was used
    digest = hashlib.sha256()
    with stream:
        while data := stream.read(CHUNK):
            digest.update(data)
            yield data
    if f"sha256:{digest.hexdigest()}" != layer.blob.digest:
        file.unlink(missing_ok=True)
        raise DigestMismatchError(
            f"digest mismatch: '{file}' has rotted", hint="it was removed: run it again"
        )


def _keeping(layer: ReadLayer, file: Path) -> Iterator[bytes]:
    """Give the bytes as they come, and keep them if all of them are right."""
    fresh = file.with_name(f".{secrets.token_hex(8)}")
    digest = hashlib.sha256()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = fresh.open("xb")
    except OSError:  # a cache that cannot be written is none
        yield from layer.chunks()
        return
    try:
        with out:
            is_whole = True
            for data in layer.chunks():
                digest.update(data)
                is_whole = is_whole and _written(out.fileno(), data)
                yield data
        if is_whole and f"sha256:{digest.hexdigest()}" == layer.blob.digest:
            _make_room(file.parent, layer.blob)
            fresh.replace(file)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _written(handle: int, data: bytes) -> bool:
    try:
        return os.write(handle, data) == len(data)
    except OSError:  # no space: the layer is used all the same
        return False


def _make_room(folder: Path, blob: Blob) -> None:
    """Remove what was not used for longest until there is room for a blob."""
    with suppress(OSError):
        found = [(one.stat(), one) for one in folder.iterdir() if not one.name.startswith(".")]
        left = MAX_BYTES - blob.size - sum(fact.st_size for fact, _ in found)
        for fact, one in sorted(found, key=lambda pair: pair[0].st_mtime):
            if left >= 0:
                return
            one.unlink(missing_ok=True)
            left += fact.st_size
