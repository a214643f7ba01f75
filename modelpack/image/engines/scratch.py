"""Folders that a build needs for a while: in our own cache, and gone when the block ends."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from modelpack import paths


@contextmanager
def scratch(kind: Literal["contexts", "exports"]) -> Iterator[Path]:
    """Give a new folder that nobody else may read; it is removed whatever happens."""
    folder = paths.cache_dir() / "image" / f"tmp-{kind}" / secrets.token_hex(8)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
