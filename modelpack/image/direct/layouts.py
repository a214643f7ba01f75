"""An OCI image layout in a folder, as what the direct builder writes to.

    transfer ──put──► .staging/RANDOM ──finish──► (.lock) blobs/sha256/HEX ──► index.json

The folder is one for any tool: what it holds already stays, and only the entry of the same name is
replaced.  A blob is there whole or not at all, and the index names an image when all of it is there,
also after ``kill -9``; two builders at once do each other no harm (the lock is that of the store).
Facts: OCI image specification 1.1, image-layout.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelpack.errors import ConflictError, StoreError
from modelpack.manifest import canonical_json
from modelpack.registry.base import Document, Graph, Outcome, Place
from modelpack.registry.reader import BlobReader
from modelpack.store import documents, index
from modelpack.store.base import INDEX_TYPE, REF_NAME, SUBJECT, Descriptor
from modelpack.store.durable import (
    Blob,
    Staging,
    blob_name,
    locked,
    open_folder,
    open_staging,
    readable_errors,
)
from modelpack.store.layout import STAGING
from modelpack.store.referrers import read_referrer
from modelpack.store.tar import Sink

_OWN_NAMES = {"blobs", "index.json", ".lock", ".oci-layout", STAGING}
"""What another builder, who is at work or died, may have made first."""
_INDEX_MODE = 0o644
"""Of ``index.json``: whoever may enter the folder may read it, as he may the blobs."""


class LayoutTarget:
    """A folder, and the name that something gets in its index; None: it gets none."""

    def __init__(self, folder: Path, ref: str | None, platform: dict[str, str] | None) -> None:
        self.name = str(folder)
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._ref = ref
        self._platform = platform
        self._staging: Staging | None = None

    @contextmanager
    def open(self, graph: Graph) -> Iterator[None]:
        """Hold the folder for what comes; raises ConflictError when it is something else."""
        del graph
        with readable_errors(self._folder, "write an image"):
            self._make()
            with open_staging(self._folder / STAGING) as (staging, _):
                self._staging = staging
                yield

    def takes(self, referrer: Document) -> bool:
        """Return True: a layout keeps what it is given."""
        del referrer
        return True

    def begin(self, graph: Graph, bring: Callable[[Blob], object]) -> bool:
        """Return False: each blob is looked for by itself."""
        del graph, bring
        return False

    def put(self, reader: BlobReader, place: Place | None) -> Outcome:
        """Bring a blob here unless it is."""
        del place
        if self._has(reader.blob):
            return Outcome.THERE

        def fill(sink: Sink) -> None:
            for data in reader.read():
                sink.write(data)

        self._ready.write(fill, expected=reader.blob.digest)
        return Outcome.MOVED

    def finish(self, graph: Graph) -> None:
        """Show the image under its name, and what is said about it."""
        for document in (graph.top, *graph.children, *graph.referrers):
            if not self._has(document.blob):
                self._ready.write_bytes(document.data)
        with locked(self._folder / ".lock"), open_folder(self._blobs) as blobs:
            before = _read_index(self._folder)
            self._ready.publish(blobs)
            after = self._listed(before, graph)
            if after != before:
                with open_folder(self._folder) as folder:
                    self._ready.replace_file(folder, "index.json", canonical_json(after))
                (self._folder / "index.json").chmod(_INDEX_MODE)

    def _listed(self, found: dict[str, Any], graph: Graph) -> dict[str, Any]:
        """Return the index with the image in it, and all that stood there before."""
        listed: list[Descriptor] = list(found["manifests"])
        if self._ref is not None:
            entry: Descriptor = {
                "mediaType": graph.top.media_type,
                "digest": graph.top.blob.digest,
                "size": graph.top.blob.size,
                "annotations": {REF_NAME: self._ref},
            }
            if self._platform is not None:
                entry["platform"] = self._platform
            same = [one for one in listed if index.annotation(one, REF_NAME) == self._ref]
            if same != [entry]:
                listed = [*(one for one in listed if one not in same), entry]
                # What was said about an image that has no name any more goes with it.
                gone = self._images(same) - self._images(listed)
                listed = [one for one in listed if index.annotation(one, SUBJECT) not in gone]
        known = {one.get("digest") for one in listed}
        for document in graph.referrers:
            if document.blob.digest not in known:
                listed.append(read_referrer(document.data, "a statement").descriptor)
        return {**found, "manifests": listed}

    def _images(self, listed: list[Descriptor]) -> set[str]:
        """Return the digests of what has a name, and of the platforms below it."""
        found = set()
        for one in listed:
            if index.annotation(one, REF_NAME) is None:
                continue
            found.add(str(one.get("digest")))
            if one.get("mediaType") == INDEX_TYPE:
                with suppress(OSError, StoreError, ValueError):
                    data = (self._blobs / blob_name(str(one.get("digest")))).read_bytes()
                    below = documents.read_json(data, "an index").get("manifests")
                    children = below if isinstance(below, list) else []
                    found |= {str(c.get("digest")) for c in children if isinstance(c, dict)}
        return found

    def _has(self, blob: Blob) -> bool:
        try:
            return (self._blobs / blob.hex).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def _make(self) -> None:
        folder = self._folder
        is_begun = not folder.is_dir() or (folder / "oci-layout").exists()
        if not is_begun and {one.name for one in folder.iterdir()} - _OWN_NAMES:
            raise ConflictError(
                f"'{folder}' is a folder with other things in it",
                hint="name a new folder, or one that holds an OCI image layout",
            )
        self._blobs.mkdir(parents=True, exist_ok=True)
        (folder / STAGING).mkdir(mode=0o700, exist_ok=True)
        with locked(folder / ".lock"):
            file = folder / "oci-layout"
            if not file.exists():
                fresh = folder / ".oci-layout"
                fresh.write_bytes(documents.LAYOUT)
                fresh.replace(file)

    @property
    def _ready(self) -> Staging:
        if self._staging is None:
            raise RuntimeError("open() comes first")
        return self._staging


def _read_index(folder: Path) -> dict[str, Any]:
    """Return the index of a layout, an empty one if there is none; raises ConflictError."""
    try:
        found = json.loads((folder / "index.json").read_bytes())
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
    except (ValueError, RecursionError):
        found = None
    listed = found.get("manifests") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ConflictError(
            f"the 'index.json' of '{folder}' lists no manifests",
            hint="name another folder; that one is damaged, or no OCI image layout",
        )
    return {**found, "manifests": listed}
