"""Says whether a running server can take another version in its place.

same kind of source ─► bundle: locked with the very same packages? ─► yes, or why not

A bundle runs in the environment that was made of its lock.  A version with another lock needs another
environment, and so another process: it is refused, instead of failing in some call later.
"""

from __future__ import annotations

from pathlib import Path

from modelpack.errors import ConflictError, UsageError
from modelpack.frameworks.source import Source

_SERVED = {"code": "a project", "bundle": "a bundle", "model": "a bare model"}


def check_swap(now: Source | None, new: Source) -> None:
    """Raise UsageError or ConflictError when ``new`` cannot take the place of ``now``."""
    if now is None:
        raise UsageError(
            "this server cannot open its service again",
            hint="serve it by its import string, its bundle or its model file",
        )
    if now.kind != new.kind:
        raise UsageError(
            f"this server serves {_SERVED[now.kind]}, not {_SERVED[new.kind]}",
            hint="start another server for it",
        )
    if now.kind == "bundle" and now != new:
        from modelpack.frameworks.bundled import read_manifest

        ours, theirs = read_manifest(Path(now.folder)), read_manifest(Path(new.folder))
        if (ours.lock_sha256, ours.python) != (theirs.lock_sha256, theirs.python):
            raise ConflictError(
                "the new version was locked with other packages than this server runs with",
                hint="start a server for it, and stop this one when it is ready",
            )


def tag_for(now: Source | None, tag: str, new: Source, asked: str) -> str:
    """Return the tag that the new version shows: what was asked for, or the same as before."""
    return asked or (tag if new == now else "")
