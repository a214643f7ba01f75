"""The git revision of a folder, and what of it is not in that revision.

    folder, packed files ──git──► Revision(commit, branch, repository, changes)
                           └─ no git, no repository, not committed yet ──► None

Only asked, never needed: whatever goes wrong here, a build goes on without the answer.  git is kept
from running programs that a repository names, and from writing its index.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_WITHIN_S = 10.0
_MOST_CHANGES = 20
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_STATUS = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=no")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCP_FORM = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>(?!/)[^:]+)")


@dataclass(frozen=True, slots=True)
class Revision:
    """What git says of a folder."""

    commit: str
    """40 or 64 hex digits."""
    branch: str | None = None
    """Such as ``refs/heads/main``; None for a detached head."""
    repository: str | None = None
    """URL of the remote ``origin`` without a login; None when it is only on this machine."""
    changes: tuple[str, ...] = ()
    """Paths below the folder that differ from the commit or are not in it, twenty at most."""

    @property
    def is_dirty(self) -> bool:
        """True when the commit alone does not give these files."""
        return bool(self.changes)

    def __str__(self) -> str:
        return self.commit[:12] + (" with changes" if self.is_dirty else "")


def revision_of(folder: Path, packed: Collection[str] = ()) -> Revision | None:
    """Return the revision of ``folder``; None when there is none, or no git.

    packed  paths below the folder, with slashes, that count as changes where git does not track
            them, as an ignored file that gets into a bundle does
    """
    try:
        # The second name fails when the folder as such is in no commit, as below an ignored one.
        said = _git(folder, "rev-parse", "HEAD", "HEAD:./", "--show-prefix")
        commit, _, prefix, *_ = said.split("\n")
        status = _git(folder, "status", *_STATUS, "--", ".")
        tracked = _git(folder, "ls-files", "-z", "--", ".")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    if not _COMMIT.fullmatch(commit):
        return None
    # Each is two letters, a space and the path from the top of the repository.
    changed = {line[3:].removeprefix(prefix) for line in status.split("\0") if line}
    changes = changed | (set(packed) - set(tracked.split("\0")))
    return Revision(
        commit=commit,
        branch=_optional(folder, "symbolic-ref", "--quiet", "HEAD"),
        repository=public_url(_optional(folder, "config", "--get", "remote.origin.url") or ""),
        changes=tuple(sorted(changes)[:_MOST_CHANGES]),
    )


def public_url(remote: str) -> str | None:
    """Return a remote's URL as it may be shown to everybody; None for a path of this machine.

    Login, query and fragment are taken out: a token may stand in any of them.
    """
    if match := _SCP_FORM.fullmatch(remote):
        return f"ssh://{match['host']}/{match['path']}"
    try:
        parts = urlsplit(remote)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return None
    return urlunsplit((parts.scheme, f"{parts.hostname}{port}", parts.path, "", ""))


def _optional(folder: Path, *arguments: str) -> str | None:
    try:
        return _git(folder, *arguments).strip() or None
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        ["git", *_SAFE, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_WITHIN_S,
        check=True,
    )
    return os.fsdecode(done.stdout)
