"""Remembers what is in layers, so that looking again reads none of them.

    diff_id ──► $MODELPACK_CACHE/image/contents/HEX.json ──► LayerContents, or scan and write it

A diff_id says which bytes a tar has, so what was found in it once holds for ever.  A file that cannot
be read counts as not there; the oldest go when there are more than ``MAX_LAYERS``.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.image.looking.contents import FileFacts, LayerContents, scan
from modelpack.image.reading import Kind, ReadLayer
from modelpack.store.durable import blob_name

MAX_LAYERS = 256
MAX_FILE_BYTES = 256 * 1024**2
FORM = 1
"""Another number, and nothing that was written before is read."""


def contents_of(
    layer: ReadLayer, read: Callable[[ReadLayer], LayerContents] = scan
) -> LayerContents:
    """Return what is in a layer; raises what ``scan`` raises."""
    file = _folder() / f"{blob_name(layer.diff_id)}.json"
    known = _load(file, layer.diff_id)
    if known is not None:
        return known
    found = read(layer)
    _keep(file, found)
    return found


def _folder() -> Path:
    return paths.cache_dir() / "image" / "contents"


def _load(file: Path, diff_id: str) -> LayerContents | None:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return None
        value = json.loads(file.read_bytes())
        if value["form"] != FORM or value["diff_id"] != diff_id:
            return None
        return LayerContents(
            diff_id=diff_id,
            size=value["size"],
            files={path: _facts(row) for path, row in value["files"].items()},
            whiteouts=value["whiteouts"],
            opaque=value["opaque"],
            odd=value["odd"],
            texts={path: base64.b64decode(text) for path, text in value["texts"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _facts(row: list[Any]) -> FileFacts:
    kind, *rest = row
    return FileFacts(Kind(kind), *rest)


def _keep(file: Path, found: LayerContents) -> None:
    """Write what was found; what cannot be written is not remembered."""
    value = {
        "form": FORM,
        "diff_id": found.diff_id,
        "size": found.size,
        "files": {
            path: [one.kind, one.size, one.mode, one.user, one.group, one.sha256, one.link]
            for path, one in found.files.items()
        },
        "whiteouts": found.whiteouts,
        "opaque": found.opaque,
        "odd": found.odd,
        "texts": {path: base64.b64encode(text).decode() for path, text in found.texts.items()},
    }
    fresh = file.with_name(f".{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(value, out)
        fresh.replace(file)
        _forget_oldest(file.parent)
    except OSError:
        with suppress(OSError):
            fresh.unlink()


def _forget_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)
    for file in kept[: max(len(kept) - MAX_LAYERS, 0)]:
        file.unlink(missing_ok=True)
