"""Saved models: what a training script calls.

    tag = modelpack.models.save("digits-clf", model)      a path, an object, an ONNX proto
    model = modelpack.models.load("digits-clf:latest")
    modelpack.models.list()

    model ──adapter──► files + ModelRecord ──► the store          (see frameworks, store)
    sample ──► the model, and what was just written of it: they must answer the same
    metrics, data ──► a statement beside the entry                (see provenance)

The version is made of the content unless it is given, so saving the same model twice changes
nothing.  Files are unpacked once into the cache, by digest, when a model is loaded.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.errors import RefusedError, ToolMissingError, UsageError, did_you_mean
from modelpack.frameworks.base import Framework, Predicts, Saved, signature_of
from modelpack.frameworks.catalog import brings_code, framework_of, load_model
from modelpack.frameworks.catalog import framework as framework_named
from modelpack.frameworks.compare import as_inputs, difference
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.provenance import record_training, training_facts
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag, check_name, check_version

__all__ = ["delete", "folder", "list", "load", "save"]


SAME_WITHIN = 1e-5
"""How far the answers of a model and of its saved copy may be apart."""

_PACKAGES = {"sklearn": "scikit-learn"}
"""Distributions that are not called as their module is."""


def save(
    name: str,
    model: Any,
    *,
    framework: str | None = None,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    sample: Any = None,
    metrics: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    store: Store | None = None,
) -> Tag:
    """Put a model into the store and return its tag.

    name       lower-case letters, digits, '.', '_', '-'
    model      an object of a framework that is known, the path of a ``.onnx`` file or of a folder
               that a framework wrote, or any object that cloudpickle takes
    framework  name of the adapter; default: the first that recognises the model
    version    default: the first 12 hex digits of the content's digest
    labels     free words that are kept with it, such as ``{"stage": "candidate"}``
    options    what the adapter takes besides, such as ``{"factory": "nets:make"}`` for torch
    sample     rows for the model, an array or arrays by name: they become its signature, and the
               saved copy must answer them as the model does, within 1e-5
    metrics    how good it is, such as ``{"accuracy": 0.97}``; not a part of its identity
    data       what it was trained on: a file, a folder or ``sha256:HEX``; only its digest is kept

    Raises TagError, NotFoundError (no such framework), UsageError (not a model, or an option that
    there is not), ToolMissingError (its library is not installed), RefusedError (the copy answers
    otherwise), ConflictError (that version holds another model).
    """
    check_name(name)
    if version is not None:
        check_version(version)
    training = training_facts(metrics, data)
    adapter = framework_named(framework) if framework else _recognised(model)
    store = store or Store()
    with tempfile.TemporaryDirectory(prefix="modelpack-save-") as scratch:
        folder = Path(scratch)
        saved = _saved(adapter, model, folder, options or {})
        if sample is not None:
            saved = _proved(adapter, model, folder, saved, as_inputs(sample))
        record = _record(adapter, name, folder, saved, labels or {})
        entry = store.add_model(record, folder, version=version).entry
    if training:
        record_training(store, entry, training)
    return entry.tag


def load(tag: str | Tag, *, store: Store | None = None) -> Any:
    """Return a saved model, ready to be called; raises ModelNotFoundError or UserCodeError."""
    return load_model(folder(_tag(tag), store=store))


def list(  # noqa: A001 - as in modelpack.models.list()
    name: str | None = None, *, store: Store | None = None
) -> builtins.list[Entry]:
    """Return the saved models, oldest first."""
    return (store or Store()).list(Kind.MODEL, name)


def delete(tag: str | Tag, *, store: Store | None = None) -> int:
    """Delete a model; returns the bytes that only it uses, which ``modelpack gc`` frees."""
    store = store or Store()
    return store.delete(store.find(_tag(tag), Kind.MODEL))


def folder(tag: str | Tag, *, store: Store | None = None) -> Path:
    """Return the folder with the model's files, unpacked when needed."""
    store = store or Store()
    entry = store.find(_tag(tag), Kind.MODEL)
    home = paths.cache_dir() / "models" / entry.digest.removeprefix("sha256:")
    return store.unpack(entry, home, exist_ok=True) / "models" / entry.tag.name


def _recognised(model: Any) -> Framework:
    """Return the adapter that takes the model; a path that none knows is not pickled as a word."""
    adapter = framework_of(model)
    if adapter.name == "pickled" and (
        isinstance(model, os.PathLike) or (isinstance(model, str) and os.path.lexists(model))
    ):
        raise UsageError(
            f"nothing that is known lies in '{model}'",
            hint="known are .onnx, .cbm and .keras files, and folders of transformers, spaCy, MLflow "
            "and SavedModels",
        )
    return adapter


def _saved(adapter: Framework, model: Any, folder: Path, options: Mapping[str, Any]) -> Saved:
    known = [*inspect.signature(adapter.save).parameters][2:]
    for name in options:
        if name not in known:
            near = did_you_mean(name, known)
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UsageError(
                f"the framework '{adapter.name}' has no option '{name}'",
                hint=f"did you mean '{near}'?" if near else takes,
            )
    try:
        return adapter.save(model, folder, **options)
    except ModuleNotFoundError as cause:
        package = _PACKAGES.get(str(cause.name), str(cause.name))
        raise ToolMissingError(
            f"saving a model of '{adapter.name}' needs the module '{cause.name}', "
            "which is not installed",
            hint=f"pip install {package}",
        ) from cause


def _proved(
    adapter: Framework, model: Any, folder: Path, saved: Saved, inputs: Mapping[str, Any]
) -> Saved:
    """Return the signature that the sample shows, once the copy has answered it as the model does."""
    if not isinstance(adapter, Predicts):
        raise UsageError(
            f"a sample tells nothing of a model of '{adapter.name}': it is not known how to ask it",
            hint="leave 'sample' out",
        )
    copy = adapter.load(folder)
    answers = adapter.predict(copy, inputs)
    given = copy if isinstance(model, str | os.PathLike) else model
    found = difference(adapter.predict(given, inputs), answers)
    if found.exceeds(SAME_WITHIN):
        raise RefusedError(
            f"the saved copy answers the sample otherwise: the largest difference is {found}",
            hint="save it in another form, such as framework='pickled'",
        )
    return replace(saved, inputs=signature_of(inputs), outputs=signature_of(answers))


def _record(
    adapter: Framework, name: str, folder: Path, saved: Saved, labels: Mapping[str, str]
) -> ModelRecord:
    files = tuple(
        _file_record(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()
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
        carries_code=brings_code(adapter, folder),
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
