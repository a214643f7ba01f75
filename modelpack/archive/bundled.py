"""Reads what a bundle brings along, out of its layers and without unpacking it.

    entry ──► the record of each model in it ──► its tensors, as text

The models of a bundle need not be in the store on their own: a bundle that came from elsewhere has
everything it needs inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.errors import StoreError
from modelpack.manifest import MODEL_FILE, BundleManifest, ModelRecord
from modelpack.store import SIDE_TYPE, Entry, Store
from modelpack.store.base import TOP
from modelpack.store.contents import read_file
from modelpack.store.documents import read_json


def checked_record(store: Store, entry: Entry) -> BundleManifest:
    """Return the record of a bundle; raises StoreError unless its parts have the form they must have.

    A bundle from elsewhere may say anything; who reads a record by this need not look again.
    """
    manifest = store.bundle_manifest(entry)
    fine = (
        all(_is_api(api) for api in manifest.apis)
        and all(_has_text(one, "name", "version", "digest", "framework") for one in manifest.models)
        and isinstance(manifest.settings, Mapping)
        and all(isinstance(part, Mapping) for part in manifest.settings.values())
    )
    if not fine:
        raise StoreError(
            f"the record of '{entry.tag}' is not of the form that it must have",
            hint="it was not made by this modelpack, or it is damaged",
        )
    return manifest


def _is_api(api: object) -> bool:
    if not isinstance(api, Mapping) or not _has_text(api, "name", "route"):
        return False
    sides = [api.get("input"), api.get("output")]
    fields = [side.get("properties") or {} for side in sides if isinstance(side, Mapping)]
    batch = api.get("batch") or {"max_batch_size": 1}
    is_batch = isinstance(batch, Mapping) and "max_batch_size" in batch
    return len(fields) == 2 and is_batch and all(isinstance(one, Mapping) for one in fields)


def _has_text(value: object, *keys: str) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(key), str) for key in keys)


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
