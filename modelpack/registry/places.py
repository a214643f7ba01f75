"""Remembers in which repository of a registry a blob was last seen, so that it can be mounted.

    push, pull ──remember──► $MODELPACK_CACHE/registry/HOST.json ──of──► mount from there

It is a guess that saves bytes: where it is wrong, the registry says so and the blob is sent.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from modelpack import paths
from modelpack.store.durable import Blob

MAX_BLOBS = 5000
LEAST_BYTES = 4096
"""A smaller blob is sent as fast as it is mounted."""


class Places:
    """What is known of one registry."""

    def __init__(self, host: str) -> None:
        self._file = paths.cache_dir() / "registry" / f"{quote(host, safe='')}.json"
        self._read: dict[str, str] | None = None

    def of(self, blob: Blob) -> str | None:
        """Return the repository where a blob was seen last, or None."""
        if blob.size < LEAST_BYTES:
            return None
        if self._read is None:
            self._read = self._load()
        return self._read.get(blob.digest)

    def remember(self, repository: str, blobs: Iterable[Blob]) -> None:
        """Note where blobs are now; what cannot be written is not remembered."""
        known = self._load()
        for blob in blobs:
            if blob.size >= LEAST_BYTES:
                known.pop(blob.digest, None)
                known[blob.digest] = repository
        newest = dict(list(known.items())[-MAX_BLOBS:])
        fresh = self._file.with_name(f".{secrets.token_hex(8)}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(newest, out)
            fresh.replace(self._file)
        except OSError:
            with suppress(OSError):
                Path(fresh).unlink()

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {str(key): value for key, value in found.items() if isinstance(value, str)}
