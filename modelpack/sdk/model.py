"""A saved model as a service refers to it.

    class Digits:
        clf = modelpack.Model("digits-clf:latest")

    Digits.clf        the reference: .tag, .path (its files)
    Digits().clf      the loaded model, loaded once a process

Where the files come from is told from outside, by ``set_source``: the store while developing, the
bundle's own folder in an image.  There a bundle holds one version of a name, so only the name counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from modelpack.errors import ModelpackError
from modelpack.tag import Tag


class ModelSource(Protocol):
    """Finds and loads saved models."""

    def folder(self, tag: Tag) -> Path:
        """Return the folder with the model's files; raises ModelNotFoundError."""

    def load(self, folder: Path) -> Any:
        """Return the model, ready to be called; raises UserCodeError."""


class _Current:
    """The source that this process uses."""

    source: ModelSource | None = None


def set_source(source: ModelSource) -> None:
    """Take models from ``source`` from now on."""
    _Current.source = source


@contextmanager
def using_source(source: ModelSource) -> Iterator[None]:
    """Take models from ``source`` inside the block only."""
    before, _Current.source = _Current.source, source
    try:
        yield
    finally:
        _Current.source = before


def has_source() -> bool:
    """Say whether a source was set."""
    return _Current.source is not None


class Model:
    """A reference to a saved model; on an instance of a service it is the model itself."""

    def __init__(self, ref: str) -> None:
        self.tag = Tag.parse(ref)
        self._loaded: Any = None
        self._is_loaded = False

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.load()

    def __repr__(self) -> str:
        return f"Model('{self.tag}')"

    @property
    def path(self) -> Path:
        """The folder with its files; raises ModelNotFoundError."""
        return _source().folder(self.tag)

    def load(self) -> Any:
        """Return the loaded model; raises ModelNotFoundError or UserCodeError."""
        if not self._is_loaded:
            self._loaded = _source().load(self.path)
            self._is_loaded = True
        return self._loaded


def _source() -> ModelSource:
    if _Current.source is None:
        raise ModelpackError(
            "no place is known to take models from", hint="use modelpack.Model, not its module"
        )
    return _Current.source
