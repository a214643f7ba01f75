"""Saved models: what a training script calls.

    tag = modelpack.models.save("digits-clf", model)      a path, an object, an ONNX proto
    model = modelpack.models.load("digits-clf:latest")
    modelpack.models.list()

    model ──adapter──► files + ModelRecord ──► the store          (see frameworks, store)

The version is made of the content unless it is given, so saving the same model twice changes
nothing.  Files are unpacked once into the cache, by digest, when a model is loaded.
"""

from __future__ import annotations

import builtins
import hashlib
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.errors import UsageError
from modelpack.frameworks.base import Framework
from modelpack.frameworks.catalog import framework as framework_named
from modelpack.frameworks.catalog import framework_of, load_model
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag, check_name, check_version

__all__ = ["delete", "folder", "list", "load", "save"]


def save(
    name: str,
    model: Any,
    *,
    framework: str | None = None,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> Tag:
    """Put a model into the store and return its tag.

    name       lower-case letters, digits, '.', '_', '-'
    model      the path of a ``.onnx`` file, an ``onnx.ModelProto``, a scikit-learn estimator, or
               any object that cloudpickle takes
    framework  name of the adapter; default: the first that recognises the model
    version    default: the first 12 hex digits of the content's digest
    labels     free words that are kept with it, such as ``{"accuracy": "0.97"}``

    Raises TagError, NotFoundError (no such framework), UsageError (not a model), ConflictError
    (that version holds another model).
    """
    check_name(name)
    if version is not None:
        check_version(version)
    adapter = framework_named(framework) if framework else framework_of(model)
    with tempfile.TemporaryDirectory(prefix="modelpack-save-") as scratch:
        record = _write(adapter, name, model, Path(scratch), labels or {})
        added = (store or Store()).add_model(record, Path(scratch), version=version)
    return added.entry.tag


def load(tag: str | Tag, *, store: Store | None = None) -> Any:
    """Return a saved model, ready to be called; raises ModelNotFoundError or UserCodeError."""
    return load_model(folder(_tag(tag), store=store))


def list(  # noqa: A001 - as in modelpack.models.list()
    name: str | None = None, *, store: Store | None = None
) -> builtins.list[Entry]:
    """Return the saved models, oldest first."""
    return (store or Store()).list(Kind.MODEL, name)


def delete(tag: str | Tag, *, store: Store | None = None) -> int:
    """Remove a model and what only it used; returns the bytes freed."""
    store = store or Store()
    return store.delete(store.find(_tag(tag), Kind.MODEL))


def folder(tag: str | Tag, *, store: Store | None = None) -> Path:
    """Return the folder with the model's files, unpacked when needed."""
    store = store or Store()
    entry = store.find(_tag(tag), Kind.MODEL)
    home = paths.cache_dir() / "models" / entry.digest.removeprefix("sha256:")
    return store.unpack(entry, home, exist_ok=True) / "models" / entry.tag.name


def _write(
    adapter: Framework, name: str, model: Any, scratch: Path, labels: Mapping[str, str]
) -> ModelRecord:
    saved = adapter.save(model, scratch)
    files = tuple(
        _file_record(path, scratch) for path in sorted(scratch.rglob("*")) if path.is_file()
    )
    if not files:
        raise UsageError(
            f"the framework '{adapter.name}' wrote no file for '{name}'",
            hint="name another: framework='pickled'",
        )
    return ModelRecord(
        name=name,
        framework=adapter.name,
        files=files,
        carries_code=adapter.carries_code,
        requirements=saved.requirements,
        inputs=saved.inputs,
        outputs=saved.outputs,
        labels=dict(labels),
    )


def _file_record(path: Path, root: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    is_program = bool(path.stat().st_mode & stat.S_IXUSR)
    return FileRecord(
        path=path.relative_to(root).as_posix(),
        mode=0o755 if is_program else 0o644,
        size=size,
        sha256=digest,
    )


def _tag(tag: str | Tag) -> Tag:
    return tag if isinstance(tag, Tag) else Tag.parse(tag)
