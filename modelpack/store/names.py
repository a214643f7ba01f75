"""Which paths may stand in a layer, checked in one place, for writing and for reading.

A layer becomes a folder on somebody's machine and a layer of an image, so a path must mean the
same everywhere: below one top folder, no ``..``, no whiteout marker, nothing that two file
systems would tell apart and a third would not (threat model S3, F39).
"""

from __future__ import annotations

import unicodedata

from modelpack.errors import RefusedError

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
WHITEOUT = ".wh."
MAX_MEMORY_BYTES = 128 * 1024 * 1024
"""How much the paths of one set may take up: far more than a project has, and not a bomb."""
_PLACE_BYTES = 200


def path_fault(path: str) -> str | None:
    """Return what is wrong with a relative path, or None."""
    if not path:
        return "is empty"
    if "\0" in path:
        return "holds a NUL byte"
    if path.startswith("/"):
        return "is absolute"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    if len(encoded) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    for name in path.split("/"):
        if name in ("", ".", ".."):
            return f"has the part '{name}'"
        if name.startswith(WHITEOUT):
            return f"has a part that starts with '{WHITEOUT}', which deletes files in an image"
        if len(name.encode()) > MAX_NAME_BYTES:
            return f"has a part longer than {MAX_NAME_BYTES} bytes"
    return None


class PathGuard:
    """Refuses a set of paths as a whole when one is unsafe or two cannot stand together."""

    def __init__(
        self,
        what: str,
        *,
        top: str | None = None,
        hint: str = "nothing of it was used; get it again from who made it",
    ) -> None:
        self._what = what
        self._hint = hint
        self._top = top
        self._places: dict[str, tuple[str, bool]] = {}
        self._left = MAX_MEMORY_BYTES

    def add(self, path: str, *, is_folder: bool) -> None:
        """Take note of a member; raises RefusedError.

        Folders may come again (each layer names its parents), files may not.
        """
        fault = path_fault(path)
        if fault is None and self._top is not None and path.partition("/")[0] != self._top:
            fault = f"is not below '{self._top}'"
        if fault is None and path == self._top and not is_folder:
            fault = "is a file where a folder belongs"
        if fault is None:
            fault = self._clash(path, is_folder)
        if fault is not None:
            raise RefusedError(
                f"{self._what} holds the path '{shown(path)}', which {fault}",
                hint=self._hint,
            )

    def _clash(self, path: str, is_folder: bool) -> str | None:
        parts = path.split("/")
        for count in range(len(parts) - 1, 0, -1):
            parent = "/".join(parts[:count])
            if self._places.get(_folded(parent)) == (parent, True):
                break  # so are those above it
            if fault := self._place(parent, is_folder=True, may_repeat=True):
                return fault
        return self._place(path, is_folder=is_folder, may_repeat=is_folder)

    def _place(self, path: str, *, is_folder: bool, may_repeat: bool) -> str | None:
        folded = _folded(path)
        if folded not in self._places:
            self._places[folded] = (path, is_folder)
            self._left -= 2 * len(path) + _PLACE_BYTES
            return None if self._left >= 0 else "is one of too many"
        known, known_is_folder = self._places[folded]
        if known != path:
            return f"differs from '{shown(known)}' only in the case or form of letters"
        if known_is_folder != is_folder:
            return "is a file and a folder at once"
        return None if may_repeat else "is there twice"


def _folded(path: str) -> str:
    """Return what two paths share that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def shown(path: str) -> str:
    """Return a path as it may stand in a message: printable, bounded."""
    text = "".join(c if c.isprintable() else "?" for c in path)
    return text if len(text) <= 200 else text[:197] + "..."
