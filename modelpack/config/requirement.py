"""Tells which requirement lines of a project are paths of packages that lie on this machine.

./libs/tools, -e ../common, wheels/tools-1.0-py3-none-any.whl  ──► the path
numpy>=2, tools @ https://…, --index-url …                     ──► None
"""

from __future__ import annotations

import re

_EDITABLE = re.compile(r"^(?:-e|--editable)(?:\s+|=)")


def local_path(line: str) -> str | None:
    """Return the path that a line is, without ``-e`` before it; None when it is none."""
    path = _EDITABLE.sub("", line.strip())
    is_path = path.startswith(("./", "../", "/")) or path in (".", "..") or path.endswith(".whl")
    if not is_path or "://" in path or path.startswith("-") or not path.isprintable():
        return None
    return path
