"""Makes a new project or plugin of a template: copies its files and fills in their placeholders.

    templates/init/NAME/** ──@{name}, @{class}──────────► FOLDER/**
    templates/plugin/**    ──@{name}, @{class}, @{module}─► modelpack-NAME/**

A placeholder is ``@{word}``, in a file or in its path, so that the ``$`` of shells stays as it is;
one without a value is an error.  A new folder appears whole or not at all, and nothing is overwritten.
"""

from __future__ import annotations

import keyword
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelpack import paths
from modelpack.errors import (
    ConflictError,
    ModelpackError,
    NotFoundError,
    UsageError,
    did_you_mean,
)
from modelpack.tag import check_name

_TARGET_NAME = re.compile(r"[a-z][a-z0-9]{0,30}(?:-[a-z0-9]{1,31}){0,3}")
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
    place = folder.absolute()
    name = check_name(place.resolve().name)
    source = _template(template)
    values = {"name": name, "class": class_name(name, taken=_words_of(source))}
    return _make(folder, source, values)


def make_plugin(folder: Path, name: str) -> list[str]:
    """Make the project of a target plugin in ``folder``; return its files, sorted.

    Raises UsageError when ``name`` cannot be a target's, ConflictError when one that is built in
    has it or the folder has something in it.
    """
    from modelpack.deploy.catalog import BUILT_IN

    if not _TARGET_NAME.fullmatch(name):
        raise UsageError(
            f"'{name[:64]}' cannot be the name of a target",
            hint="use small letters and digits, with '-' between words, such as 'my-cloud'",
        )
    if any(point.name == name for point in BUILT_IN):
        raise ConflictError(f"the target '{name}' is built in", hint="give it another name")
    module = name.replace("-", "_")
    values = {"name": name, "class": class_name(name), "module": module}
    return _make(folder, paths.templates_dir() / "plugin", values)


def _make(folder: Path, source: Path, values: Mapping[str, str]) -> list[str]:
    """Write the files of a template to an empty or new folder; return their paths."""
    place = folder.absolute()
    files = _rendered(source, values)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ConflictError(
            f"'{folder}' is not an empty folder", hint="give another name, or empty it first"
        )
    if place.exists():  # maybe the current one: a rename would take it away from under its shell
        _write(files, place)
        return [file.path for file in files]
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}-{secrets.token_hex(6)}")
    try:
        fresh.mkdir()
        _write(files, fresh)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return [file.path for file in files]


def class_name(name: str, taken: Collection[str] = ()) -> str:
    """Return a class name for a bundle's: ``my-digits`` becomes ``MyDigits``.

    A word that Python keeps for itself, or that is ``taken``, gets ``Service`` behind it.
    """
    words = re.split(r"[._-]+", name)
    text = "".join(word[:1].upper() + word[1:] for word in words)
    if not text.isidentifier():
        text = f"Service{text}"
    return f"{text}Service" if keyword.iskeyword(text) or text in taken else text


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


def _words_of(source: Path) -> set[str]:
    """Return the names in a template's Python: the class must not hide one of them."""
    texts = (file.read_text("utf-8") for file in source.rglob("*.py"))
    return {word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    text: str
    mode: int


def _rendered(source: Path, values: Mapping[str, str]) -> list[_File]:
    """Return the files of a template, filled in, sorted by path."""
    files = []
    for file in sorted(source.rglob("*")):
        path = file.relative_to(source)
        if file.is_file() and "__pycache__" not in path.parts:
            where = render(path.as_posix(), values, where=path.as_posix())
            text = render(file.read_text("utf-8"), values, where=path.as_posix())
            mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            files.append(_File(where, text, mode))
    return files


def _write(files: Iterable[_File], folder: Path) -> None:
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text, "utf-8")
        target.chmod(file.mode)
