"""The SHA-256 of every file of an entry, as signatures list them.

    layers ──read_tar──► member by member, hashed ──► {"bundle.json": HEX, "code/service.py": HEX, …}

Names are relative to ``bundle/``, the folder in which the files stand once they are unpacked.  Memory
is constant, and a blob that is not what its digest names is refused at its end.
"""

from __future__ import annotations

import hashlib

from modelpack.store import Entry, Store
from modelpack.store.base import TOP
from modelpack.store.names import PathGuard
from modelpack.store.untar import read_tar


def file_digests(store: Store, entry: Entry) -> dict[str, str]:
    """Return SHA-256 in hex by path.

    Raises DigestMismatchError for a damaged blob, RefusedError for what may not be unpacked.
    """
    what = f"'{entry.tag}'"
    guard = PathGuard(what, top=TOP)
    digests: dict[str, str] = {}
    for layer in entry.layers:
        with store.open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                guard.add(found.path, is_folder=found.is_folder)
                if found.is_folder:
                    continue
                digest = hashlib.sha256()
                for chunk in content.chunks():
                    digest.update(chunk)
                digests[found.path.removeprefix(f"{TOP}/")] = digest.hexdigest()
    return digests
