"""Reads what a bundle brings along, out of its layers and without unpacking it.

    entry ──► the record of each model in it, the names of its documents

The models of a bundle need not be in the store on their own: a bundle that came from elsewhere has
everything it needs inside.
"""

from __future__ import annotations

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


def _record(store: Store, entry: Entry, name: str) -> ModelRecord:
    folder = f"{TOP}/models/{name}"
    path = f"{folder}/{MODEL_FILE}"
    layers = [one for one in entry.layers if (one.media_type, one.path) == (SIDE_TYPE, folder)]
    data = read_file(store.open_blob, layers, path, f"'{entry.tag}'")
    return ModelRecord.from_json(read_json(data, f"'{path}' of '{entry.tag}'"))
