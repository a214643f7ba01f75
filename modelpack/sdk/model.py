"""A saved model as a service refers to it.

    class Digits:
        clf = modelpack.Model("digits-clf:latest")

    Digits.clf        the reference: .tag, .path (its files)
    Digits().clf      the loaded model, loaded once a replica

Where the files come from is told from outside, by ``set_source``: the store while developing, the
bundle's own folder in an image.  There a bundle holds one version of a name, so only the name counts.
A reference that is made inside ``using_source`` keeps that source for good, so that two versions of a
bundle can run in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from modelpack.errors import ModelpackError
from modelpack.sdk.placement import placement
from modelpack.tag import Tag


class ModelSource(Protocol):
    """Finds and loads saved models."""

    def folder(self, tag: Tag) -> Path:
        """Return the folder with the model's files; raises ModelNotFoundError."""

    def load(self, folder: Path) -> Any:
        """Return the model, ready to be called; raises UserCodeError."""


class _Current:
    """The source that this process uses, and the one of a block in this thread."""

    source: ModelSource | None = None
    inner: ContextVar[ModelSource | None] = ContextVar("modelpack_model_source", default=None)


def set_source(source: ModelSource) -> None:
    """Take models from ``source`` from now on."""
    _Current.source = source


@contextmanager
def using_source(source: ModelSource) -> Iterator[None]:
    """Take models from ``source`` inside the block; references made there keep it."""
    token = _Current.inner.set(source)
    try:
        yield
    finally:
        _Current.inner.reset(token)


def has_source() -> bool:
    """Say whether a source was set for this process."""
    return _Current.source is not None


class Model:
    """A reference to a saved model; on an instance of a service it is the model itself."""

    def __init__(self, ref: str) -> None:
        self.tag = Tag.parse(ref)
        self._home = _Current.inner.get()
        self._name = ""
        self._files: _Files | None = None  # those that were loaded
        self._loaded: Any = None
        self._is_loaded = False

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        model = self.load()
        if self._name and hasattr(instance, "__dict__"):
            vars(instance)[self._name] = model  # found there at once from now on
        return model

    def __repr__(self) -> str:
        return f"Model('{self.tag}')"

    @property
    def path(self) -> Path:
        """The folder with its files; raises ModelNotFoundError."""
        return self._source().folder(self.tag)

    def load(self) -> Any:
        """Return the loaded model; raises ModelNotFoundError or UserCodeError.

        It is loaded once a process, and once more for each further replica in the process.
        """
        where = placement()
        if where.number:
            if self not in where.models:
                where.models[self] = self._source().load(self.path)
            return where.models[self]
        if not self._is_loaded:
            folder = self.path
            self._files = _files_in(folder)
            self._loaded = self._source().load(folder)
            self._is_loaded = True
        return self._loaded

    def forget(self) -> None:
        """Let go of the model that was loaded; whoever asks again loads it again."""
        self._loaded, self._is_loaded, self._files = None, False, None

    def adopt(self, others: Iterable[Model]) -> bool:
        """Take the model that one of the others has loaded from the very same files.

        Returns False when there is none; raises ModelNotFoundError.
        """
        files = _files_in(self.path)
        for other in others:
            if other._is_loaded and other._files == files and not self._is_loaded:
                self._loaded, self._files, self._is_loaded = other._loaded, files, True
                return True
        return False

    def _source(self) -> ModelSource:
        source = self._home or _Current.inner.get() or _Current.source
        if source is None:
            raise ModelpackError(
                "no place is known to take models from", hint="use modelpack.Model, not its module"
            )
        return source


_Files = tuple[str, frozenset[tuple[str, int, int, int]]]
"""A folder, and path, size, time of change and inode of each of its files."""


def _files_in(folder: Path) -> _Files:
    """Return what tells these files from all others, without reading them."""
    found = []
    for path in folder.rglob("*"):
        facts = path.stat()
        found.append((str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return str(folder), frozenset(found)
