"""Makes a new project of a template: copies its files and fills in their placeholders.

    templates/init/NAME/** ──@{name}, @{class}──► FOLDER/**

A placeholder is ``@{word}``, so that the ``$`` of shells stays as it is; one without a value is an
error.  The folder appears whole or not at all, and nothing in it is overwritten.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from modelpack import paths
from modelpack.errors import ConflictError, ModelpackError, NotFoundError, did_you_mean
from modelpack.tag import check_name

_PLACEHOLDER = re.compile(r"@\{([^{}\s]*)\}")


def template_names() -> list[str]:
    """Return the project templates that are there, sorted."""
    folder = paths.templates_dir() / "init"
    return sorted(child.name for child in folder.iterdir() if child.is_dir())


def make_project(folder: Path, template: str) -> list[str]:
    """Make the project ``folder``, which gives it its name; return its files, sorted.

    Raises TagError when the folder's name cannot be a bundle's, NotFoundError for an unknown
    template, ConflictError when the folder has something in it.
    """
    name = check_name(folder.name)
    source = _template(template)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(
            f"'{folder}' is not an empty folder", hint="give another name, or empty it first"
        )
    values = {"name": name, "class": class_name(name)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.parent / f".{folder.name}-{secrets.token_hex(6)}"
    try:
        made = _fill(source, fresh, values)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def class_name(name: str) -> str:
    """Return a class name for a bundle's: ``my-digits`` becomes ``MyDigits``."""
    words = re.split(r"[._-]+", name)
    text = "".join(word[:1].upper() + word[1:] for word in words)
    return text if text.isidentifier() else f"Service{text}"


def render(text: str, values: Mapping[str, str], *, where: str) -> str:
    """Return the text with every placeholder filled in; ``where`` names it in errors."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ModelpackError(
                f"the template '{where}' asks for '{match[1]}', which has no value"
            )
        return values[match[1]]

    return _PLACEHOLDER.sub(value, text)


def _template(name: str) -> Path:
    known = template_names()
    if name not in known:
        near = did_you_mean(name, known)
        listed = f"the templates are {', '.join(known)}"
        raise NotFoundError(
            f"no template '{name}'", hint=f"did you mean '{near}'? {listed}" if near else listed
        )
    return paths.templates_dir() / "init" / name


def _fill(source: Path, folder: Path, values: Mapping[str, str]) -> list[str]:
    folder.mkdir()
    made = []
    for file in sorted(source.rglob("*")):
        relative = file.relative_to(source)
        if "__pycache__" in relative.parts or not file.is_file():
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        text = render(file.read_text("utf-8"), values, where=file.name)
        target.write_text(text, "utf-8")
        target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        made.append(relative.as_posix())
    return made
