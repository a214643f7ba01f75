"""Models that are folders: copied as they are, links and all surprises refused.

folder that a framework wrote ──copy_folder──► NAME/…  beside the adapter's own record
class of a wrapper ──write_class──► wrapper.json ──read_class──► one of the names that are known
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from modelpack.errors import RefusedError, StoreError
from modelpack.manifest import canonical_json

FOLDER = "model"
WRAPPER_FILE = "wrapper.json"


def as_folder(model: object, *markers: str) -> Path | None:
    """Return the model as a folder when it is the path of one that holds the markers, else None."""
    if not isinstance(model, str | os.PathLike):
        return None
    folder = Path(model)
    try:
        return folder if all((folder / marker).is_file() for marker in markers) else None
    except OSError:  # a text that is too long to be a path
        return None


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder; raises RefusedError for what is neither a file nor a folder."""
    target.mkdir()
    for path in files_below(source):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def files_below(folder: Path) -> Iterator[Path]:
    """Return the files of a folder, sorted, without those that version control or Python keep there."""
    for path in sorted(folder.rglob("*")):
        if {".git", "__pycache__"} & set(path.relative_to(folder).parts):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise RefusedError(
                f"'{path.relative_to(folder)}' in '{folder.name}' is no plain file",
                hint="copy the model into a folder of its own first: cp -rL FOLDER COPY",
            )
        if path.is_file():
            yield path


def write_class(folder: Path, name: str) -> None:
    """Remember the class of a model."""
    (folder / WRAPPER_FILE).write_bytes(canonical_json({"class": name}))


def read_class(folder: Path, known: Collection[str]) -> str | None:
    """Return the class that was remembered, None when none was; raises StoreError for a strange one.

    A name from a file is never looked up unchecked: what it names would be called.
    """
    file = folder / WRAPPER_FILE
    if not file.is_file():
        return None
    name = json.loads(file.read_bytes()).get("class")
    if name not in known:
        raise StoreError(
            f"'{WRAPPER_FILE}' of the model names '{name}', which is no class that is known",
            hint="do not trust where it came from; save it again",
        )
    return str(name)
