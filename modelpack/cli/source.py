"""Says what the one argument of ``serve`` and ``build`` means.

    nothing, a folder            ProjectSource    the project in it
    a file, or NAME.onnx         ModelSource      a model that is served as it is
    module:Class                 ProjectSource    a service of the project in this folder
    NAME, NAME:VERSION           BundleSource     a bundle of the store

``a:b`` may be both of the last two.  It is an import string when ``a`` is a module in this folder,
or when ``b`` starts like a class and no bundle is named ``a``; else it is a tag.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import NotFoundError, TagError
from modelpack.tag import Tag


@dataclass(frozen=True, slots=True)
class ProjectSource:
    """A project, and the service in it unless its settings name it."""

    folder: Path
    service: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model file that is itself the service."""

    file: Path


@dataclass(frozen=True, slots=True)
class BundleSource:
    """A bundle of the store."""

    tag: Tag


Source = ProjectSource | ModelSource | BundleSource


def source_of(text: str | None, *, here: Path = Path()) -> Source:
    """Return what the argument means; raises TagError or NotFoundError when it means nothing."""
    if text is None:
        return ProjectSource(here)
    path = here / text
    if path.is_dir() and not _is_module(text, here):
        return ProjectSource(path)
    if path.is_file() or text.endswith(".onnx"):
        if not path.is_file():
            raise NotFoundError(f"no file '{text}'", hint="give the path of a model.onnx")
        return ModelSource(path)
    if os.sep in text:
        raise NotFoundError(f"no file or folder '{text}'")
    module, _, attribute = text.partition(":")
    if _is_module(module, here) or _looks_like_a_class(module, attribute):
        return ProjectSource(here, text)
    try:
        return BundleSource(Tag.parse(text))
    except TagError as error:
        hint = "give NAME:VERSION, module:Class, a folder or a model.onnx"
        raise TagError(error.message, hint=hint) from None


def _is_module(name: str, here: Path) -> bool:
    """Return whether the dotted name is a module in this folder."""
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    place = here.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def _looks_like_a_class(module: str, attribute: str) -> bool:
    if not attribute.isidentifier() or not (attribute[0].isupper() or attribute[0] == "_"):
        return False
    try:
        Tag(module)
    except TagError:
        return True

    from modelpack.store import Kind, Store

    return not Store().list(Kind.BUNDLE, module)
