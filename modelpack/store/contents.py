"""What the layers of an entry hold: looked at, read from, unpacked.

    layers ──read_tar──► one guard over all members ──► a private folder ──rename──► INTO/bundle

The digest of every blob is checked as it is read, and nothing is used before its end was seen.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from modelpack.errors import ConflictError, RefusedError, StoreError
from modelpack.store.base import TOP, WHEELS_PATH, Layer
from modelpack.store.durable import open_folder, readable_errors
from modelpack.store.names import PathGuard
from modelpack.store.untar import extract, read_tar

OpenBlob = Callable[[str], BinaryIO]

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Longest record or lock that is read into memory."""


def check_layers(open_blob: OpenBlob, layers: Sequence[Layer], what: str) -> None:
    """Read the headers of every layer; raises RefusedError for what may not be unpacked."""
    guard = PathGuard(what, top=TOP)
    for layer in layers:
        with open_blob(layer.digest) as blob:
            for found, _ in read_tar(blob, f"'{layer.path}' in {what}"):
                guard.add(found.path, is_folder=found.is_folder)


def read_file(open_blob: OpenBlob, layers: Sequence[Layer], path: str, what: str) -> bytes:
    """Return one small file of the layers; raises StoreError when there is none of that path."""
    data: bytes | None = None
    for layer in layers:
        if layer.path == WHEELS_PATH:
            continue  # long, and no record is in it
        with open_blob(layer.digest) as blob:
            for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                if found.path == path and not found.is_folder:
                    data = content.read_all(MAX_RECORD_BYTES)
    if data is None:
        raise StoreError(f"{what} has no '{path}'", hint="build it again")
    return data


def unpack_layers(open_blob: OpenBlob, layers: Sequence[Layer], into: Path, what: str) -> Path:
    """Write the files of all layers as ``into/bundle``, which must not be there yet.

    Raises ConflictError when it is, RefusedError and DigestMismatchError when it must not be.
    """
    target = into / TOP
    with readable_errors(into, "unpack"):
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = into / f".unpacking-{secrets.token_hex(8)}"
        fresh.mkdir(mode=0o700)
        try:
            guard = PathGuard(what, top=TOP)
            with open_folder(fresh) as top:
                for layer in layers:
                    with open_blob(layer.digest) as blob:
                        for found, content in read_tar(blob, f"'{layer.path}' in {what}"):
                            guard.add(found.path, is_folder=found.is_folder)
                            extract(found, content, top)
            _rename_new(fresh / TOP, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _rename_new(source: Path, target: Path) -> None:
    try:
        # Onto a folder with something in it this fails, so a whole bundle is never replaced.
        os.rename(source, target)  # noqa: PTH104 - Path.replace would say that it may replace
    except FileNotFoundError as cause:
        raise RefusedError("there is nothing to unpack") from cause
    except OSError as cause:
        if target.exists():
            raise ConflictError(
                f"'{target}' is there already", hint="unpack into a new folder"
            ) from cause
        raise
