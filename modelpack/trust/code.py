"""Which models of an entry run code as they are loaded.

    bundle.json ───────────┐
    every models/*/model.json ─┴─► framework ──► its adapter says whether loading runs code
                                       └─ not known here: taken for one that does

What a record says of itself is believed only when it warns: a bundle from elsewhere may call a
pickle harmless.  What counts is the adapter that would load it, and a server picks that by
``model.json`` alone.  Nothing is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import ModelpackError, StoreError
from modelpack.frameworks.catalog import framework
from modelpack.manifest import MODEL_FILE
from modelpack.store import SIDE_TYPE, Entry, Kind, Store
from modelpack.store.base import TOP
from modelpack.store.contents import MAX_RECORD_BYTES
from modelpack.store.names import shown
from modelpack.store.untar import read_tar


@dataclass(frozen=True, slots=True, order=True)
class CodeModel:
    """A model that runs code as it is loaded."""

    name: str
    framework: str

    def __str__(self) -> str:
        return f"'{shown(self.name)}' ({shown(self.framework)})"


def code_models(store: Store, entry: Entry) -> tuple[CodeModel, ...]:
    """Return the models of a bundle, or the model itself, that run code as they are loaded.

    Raises StoreError and DigestMismatchError for an entry that cannot be read.
    """
    records = list(_records(store, entry))
    if entry.kind is Kind.BUNDLE:
        records += [dict(model) for model in store.bundle_manifest(entry).models]
    found = {
        CodeModel(str(record.get("name")), str(record.get("framework")))
        for record in records
        if _runs_code(record)
    }
    return tuple(sorted(found))


def _runs_code(record: Mapping[str, Any]) -> bool:
    if record.get("carries_code") is not False:
        return True
    try:
        return framework(str(record.get("framework"))).carries_code
    except ModelpackError:
        return True


def _records(store: Store, entry: Entry) -> Iterator[dict[str, Any]]:
    """Give what every ``model.json`` of the layers says."""
    what = f"'{entry.tag}'"
    for layer in entry.layers:
        if layer.media_type != SIDE_TYPE:
            continue
        with store.open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                if found.is_folder or not _is_record(found.path):
                    continue
                try:
                    record = json.loads(content.read_all(MAX_RECORD_BYTES))
                    yield {"name": found.path.split("/")[2], **record}
                except (ValueError, TypeError, RecursionError) as cause:
                    raise StoreError(f"'{shown(found.path)}' of {what} is damaged") from cause


def _is_record(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 4 and parts[:2] == [TOP, "models"] and parts[3] == MODEL_FILE
