"""What several importers read: paths inside a folder, requirement files, versions, YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelpack.errors import RefusedError, TagError
from modelpack.tag import check_version

_REQUIREMENT = re.compile(r"[A-Za-z0-9]")


def inside(folder: Path, name: str) -> Path:
    """Return a file or folder that a manifest names; raises RefusedError when it is not there.

    What leads out of the folder is not there.
    """
    place = folder / name
    root = folder.resolve()
    if not place.exists() or not place.resolve().is_relative_to(root):
        raise RefusedError(f"'{name}' is named, but not there", hint="fetch it again, whole")
    return place


def requirement_lines(file: Path) -> tuple[str, ...]:
    """Return the requirements of a pip file: no options, no comments, no hashes."""
    text = file.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    lines = [re.split(r"\s+#|\s+--", line.strip(), maxsplit=1)[0] for line in text.splitlines()]
    return tuple(line for line in lines if _REQUIREMENT.match(line) and "://" not in line)


def version_or_none(value: object) -> str | None:
    """Return a version that may stand in a tag; None for any other."""
    try:
        return check_version(str(value)) if value not in (None, "") else None
    except TagError:
        return None


def read_yaml(file: Path) -> Mapping[str, Any]:
    """Return a YAML file that holds a mapping; raises RefusedError.  No tag in it makes an object."""
    import yaml

    try:
        value = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as cause:
        text = " ".join(str(cause).split())[:200]
        raise RefusedError(f"'{file.name}' cannot be read: {text}") from cause
    if not isinstance(value, dict):
        raise RefusedError(f"'{file.name}' holds no mapping")
    return value
