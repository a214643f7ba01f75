"""The layers of an image that are the bundle's own blobs.

    entry ──► weights, side files, docs, code (not the wheels: from those only is installed) ──► ImageLayer

They lie above the packages and the server, so a bundle may bring nothing but what bundles have: a
``bundle/venv/…`` of its own would take the place of ours.  Of each blob the headers alone are read, in no
time however large the weights are; whoever copies the blob checks its digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.image.direct.assembling import LAYER_TYPE, ImageLayer
from modelpack.image.plan import ImagePlan
from modelpack.image.reading.members import Kind, Seeking, members
from modelpack.manifest import BUNDLE_FILE, LOCK_FILE
from modelpack.store import Layer, Store
from modelpack.store.base import TOP, WHEELS_PATH
from modelpack.store.durable import Blob
from modelpack.store.names import path_fault, shown
from modelpack.store.tar import CHUNK

_PARTS = ("models", "code", "doc", BUNDLE_FILE, LOCK_FILE)


def bundle_layers(plan: ImagePlan, store: Store) -> list[ImageLayer]:
    """Return the bundle's layers as layers of its image, what changes most last.

    Raises RefusedError for a bundle that brings what no bundle has, DigestMismatchError when a blob is
    gone or is no tar any more.
    """
    found = []
    for layer in plan.entry.layers:
        if layer.path == WHEELS_PATH:
            continue
        blob = Blob(layer.digest, layer.size)
        path = store.root / "blobs" / "sha256" / blob.hex
        _check(path, layer, f"'{plan.entry.tag}'")
        created_by = f"modelpack: {layer.path}"
        chunks = reading(path, layer.digest)
        found.append(ImageLayer(LAYER_TYPE, blob, layer.digest, created_by, chunks))
    return found


def reading(path: Path, digest: str) -> Callable[[], Iterator[bytes]]:
    """Return what reads a file; whoever takes the bytes checks their digest."""

    def chunks() -> Iterator[bytes]:
        with os.fdopen(_opened(path, digest), "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                yield data

    return chunks


def _check(path: Path, layer: Layer, what: str) -> None:
    """Raise RefusedError when a layer holds what no bundle has."""
    with os.fdopen(_opened(path, layer.digest), "rb") as file:
        for member, _ in members(Seeking(file), f"'{layer.path}' in {what}"):
            name = member.path.removesuffix("/")
            top, _, rest = name.partition("/")
            is_known = top == TOP and (not rest or rest.partition("/")[0] in _PARTS)
            is_plain = member.kind is Kind.FOLDER or (member.kind is Kind.FILE and bool(rest))
            if path_fault(name) or not (is_known and is_plain):
                raise RefusedError(
                    f"{what} holds '{shown(member.path)}', which no bundle has",
                    hint="build it again, or get it again from who made it",
                )


def _opened(path: Path, digest: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as cause:
        raise DigestMismatchError(
            f"the blob '{digest}' is gone",
            hint="it was removed in the meantime: see 'modelpack verify', or run it again",
        ) from cause
