"""Finds weights that are in the store already, so that saving them again writes nothing.

    record of the new model ──path, mode, size, digest──► layers of the latest models of that name
                                                             └─ compared byte by byte ──► linked

What a stored record says of its layer proves nothing, an archive may have brought it: a layer is
taken only when it is whole and has the very bytes that would be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from modelpack.errors import ModelpackError, NotFoundError
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.store.base import TOP, WEIGHT_TYPE, Entry, Layer
from modelpack.store.durable import Blob, Staging
from modelpack.store.layout import Layout
from modelpack.store.pack import Fill, Reuse

VERSIONS = 3
"""How many models of a name are looked at, the latest first."""


def reuse_from(
    layout: Layout,
    staging: Staging,
    models: Sequence[Entry],
    record_of: Callable[[Entry], ModelRecord],
) -> Reuse:
    """Return what gives ``pack_model`` the layers of stored models, oldest of ``models`` first."""
    known: dict[FileRecord, Layer] = {}
    for entry in models[-VERSIONS:]:
        layers = {one.path: one for one in entry.layers if one.media_type == WEIGHT_TYPE}
        try:
            files = record_of(entry).files
        except (ModelpackError, KeyError):
            continue  # damaged, or deleted in the meantime
        for file in files:
            if layer := layers.get(f"{TOP}/models/{entry.tag.name}/{file.path}"):
                known[file] = layer

    def reuse(file: FileRecord, fill: Fill) -> Layer | None:
        layer = known.get(file)
        return layer if layer and _is_kept(layout, staging, layer, fill) else None

    return reuse


def _is_kept(layout: Layout, staging: Staging, layer: Layer, fill: Fill) -> bool:
    blob = Blob(layer.digest, layer.size)
    with suppress(NotFoundError):
        layout.pin(staging, [blob])
        if layout.holds(layer.digest, fill):
            return True
    staging.drop(blob)
    return False
