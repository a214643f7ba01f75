"""Reads what a bundle brings along, out of its layers and without unpacking it.

    entry ──► the record of each model in it ──► its tensors, as text

The models of a bundle need not be in the store on their own: a bundle that came from elsewhere has
everything it needs inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.manifest import MODEL_FILE, BundleManifest, ModelRecord
from modelpack.store import SIDE_TYPE, Entry, Store
from modelpack.store.base import TOP
from modelpack.store.contents import read_file
from modelpack.store.documents import read_json


def bundled_models(store: Store, entry: Entry, manifest: BundleManifest) -> list[ModelRecord]:
    """Return the records of a bundle's models, in the order of its own record.

    Raises StoreError when one is not there, DigestMismatchError for a damaged layer.
    """
    return [_record(store, entry, str(model["name"])) for model in manifest.models]


def tensor_text(tensor: Mapping[str, Any]) -> str:
    """Return a tensor of a record for people, such as ``x: float32[batch, 64]``."""
    shape = tensor.get("shape")
    text = f"{tensor.get('name')}: {tensor.get('dtype')}"
    if shape is None:
        return text
    return f"{text}[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _record(store: Store, entry: Entry, name: str) -> ModelRecord:
    folder = f"{TOP}/models/{name}"
    path = f"{folder}/{MODEL_FILE}"
    layers = [one for one in entry.layers if (one.media_type, one.path) == (SIDE_TYPE, folder)]
    data = read_file(store.open_blob, layers, path, f"'{entry.tag}'")
    return ModelRecord.from_json(read_json(data, f"'{path}' of '{entry.tag}'"))
