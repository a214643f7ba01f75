"""Finds and reads the settings of a project, and those of the user.

    modelpack.yaml, or [tool.modelpack] in pyproject.toml; ~/.config/modelpack/config.yaml
        │ yaml_file, toml_file      text ──► values with their places
        ▼ check                     keys, types, ranges, words
    Project; Given                  or ConfigError with every mistake, in the order of the file

A project without either file is a project with defaults.  A project is what its own file says:
what a user sets for all of them, variables and flags are laid around it by ``layers``, so that a
build depends on nobody's settings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack import paths
from modelpack.config.document import Document
from modelpack.config.settings import Project
from modelpack.errors import ConfigError, Mistake, UsageError

if TYPE_CHECKING:
    from modelpack.config.check import Given

PROJECT_FILE = "modelpack.yaml"
PYPROJECT_FILE = "pyproject.toml"
MAX_FILE_BYTES = 1024 * 1024

_OTHER_SPELLINGS = ("modelpack.yml", "modelpack.json", "modelpack.toml")


def load_project(path: Path) -> Project:
    """Return the project in the folder ``path``, or the one with the settings of the file ``path``.

    Raises ConfigError with all mistakes of the file, UsageError when there is no such folder.
    """
    if path.is_dir():
        folder, found = path, _find(path)
    elif path.is_file():
        folder, found = path.parent, _found_in(path)
    else:
        raise UsageError(
            f"no file or folder '{path}'", hint="name the folder that holds the service"
        )
    if found is None:
        return Project(root=folder.resolve())

    from modelpack.config.check import checked_project

    source, document = found
    project = checked_project(document, root=folder.resolve(), source=source.resolve())
    _refuse_mistakes(document)
    return project


def load_user_settings() -> Given | None:
    """Return what the user's own file says, None when there is none.

    Raises ConfigError with all mistakes of the file.
    """
    path = paths.user_config_file()
    if not path.exists():
        return None

    from modelpack.config.check import checked
    from modelpack.config.schema import user_file
    from modelpack.config.yaml_file import read_yaml

    document = _read(path, read_yaml)
    if document is None:
        return None
    given = checked(document, user_file())
    _refuse_mistakes(document)
    return given


def _refuse_mistakes(document: Document) -> None:
    if document.mistakes:
        in_order = sorted(document.mistakes, key=lambda m: (m.file, m.line or 0, m.column or 0))
        raise ConfigError(in_order)


def _find(folder: Path) -> tuple[Path, Document] | None:
    """Return the one file that has settings, read, or None."""
    from modelpack.config.toml_file import read_toml
    from modelpack.config.yaml_file import read_yaml

    own, shared = folder / PROJECT_FILE, folder / PYPROJECT_FILE
    in_own = _read(own, read_yaml) if own.exists() else None
    in_shared = _read(shared, read_toml) if shared.exists() else None
    if in_own is None:
        _refuse_other_spellings(folder)
        return (shared, in_shared) if in_shared is not None else None
    if in_shared is not None:
        in_shared.mistakes.clear()
        in_shared.mistake(
            (), f"[tool.modelpack]: '{PROJECT_FILE}' is there too, keep the settings in one of them"
        )
        in_own.mistakes.extend(in_shared.mistakes)
    return own, in_own


def _found_in(file: Path) -> tuple[Path, Document] | None:
    """Return a file that was named, read; None for a pyproject.toml without our table."""
    from modelpack.config.toml_file import read_toml
    from modelpack.config.yaml_file import read_yaml

    document = _read(file, read_toml if file.suffix == ".toml" else read_yaml)
    return (file, document) if document is not None else None


def _refuse_other_spellings(folder: Path) -> None:
    for name in _OTHER_SPELLINGS:
        if (folder / name).exists():
            what = f"not read: the name of the file is '{PROJECT_FILE}'"
            raise ConfigError(
                [Mistake(str(folder / name), None, None, what)],
                hint=f"rename it to '{PROJECT_FILE}'",
            )


def _read(path: Path, reader: Callable[[str, str], Document | None]) -> Document | None:
    """Read the file; what stops that is a mistake of the document."""
    document = Document(str(path))
    if not path.is_file():
        document.mistake((), "not a regular file")
        return document
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        document.mistake((), f"cannot be read: {(error.strerror or 'failed').lower()}")
        return document
    if len(raw) > MAX_FILE_BYTES:
        document.mistake((), "larger than 1 MiB: settings do not hold data")
        return document
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        document.mistakes.append(Mistake(str(path), line, None, "not UTF-8 text"))
        return document
    return reader(text, str(path))
