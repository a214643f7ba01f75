"""Makes saved models and bundles of what an importer found.

    Foreign ─┬─ ONNX model ─────────────► saved model ─► bundle without code
             └─ model of another kind ──► saved model ─► bundle with a small service (``written``),
                                                         where its inputs are known

Nothing is loaded that could run code: the files are taken as they are, and what loads them later is
in the record.  Each model is its own bundle, so one that cannot be built keeps no other back.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack import models
from modelpack.archive import build_bundle
from modelpack.config.settings import Project
from modelpack.errors import ModelpackError
from modelpack.frameworks.zero import service_from_model
from modelpack.importers.base import ForeignModel, Importer, Left
from modelpack.importers.written import can_be_written, write_project
from modelpack.manifest import FileRecord, ModelRecord
from modelpack.progress import SILENT, Progress
from modelpack.sdk.loading import load_import_string
from modelpack.store import Entry, Kind, Store

FILES = {
    "onnx": "model.onnx",
    "sklearn": "model.joblib",
    "pickled": "model.pkl",
    "torch": "model.pt",
    "tensorflow": "model",
    "mlflow": "model",
}
"""Where the adapter of a framework looks for the model, in its folder."""

NEEDS = {
    "sklearn": ("scikit-learn", "joblib"),
    "pickled": ("cloudpickle",),
    "torch": ("torch", "numpy"),
    "tensorflow": ("tensorflow", "numpy"),
    "mlflow": ("mlflow",),
}
"""What loads a model that does not say it; the lock then pins the newest."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of one model."""

    model: Entry
    bundle: Entry | None
    """None: it was saved, and needs a service around it."""
    left: tuple[Left, ...]


def bring_in(
    path: Path,
    importer: Importer,
    *,
    store: Store,
    name: str | None = None,
    progress: Progress = SILENT,
) -> tuple[str, list[Brought], tuple[Left, ...]]:
    """Read a path; returns the format in words, what became of each model, and what was left.

    ``name`` takes only the model of that name.  Raises RefusedError for what may not be read, and
    what building a bundle raises when there is one model only; of several, one that cannot be built
    is told in its ``left``.
    """
    with tempfile.TemporaryDirectory(prefix="modelpack-import-") as scratch:
        with progress.step(f"read {path.name}"):
            foreign = importer.read(path, Path(scratch))
        wanted = [one for one in foreign.models if name in (None, one.name)]
        brought = [
            _bring(one, store, is_only=len(wanted) == 1, progress=progress) for one in wanted
        ]
    return foreign.format, brought, foreign.left


def _bring(model: ForeignModel, store: Store, *, is_only: bool, progress: Progress) -> Brought:
    with progress.step(f"save model {model.name}"):
        entry = _saved(model, store)
    try:
        if model.framework == "onnx":
            bundle = _bundle_without_code(entry, store, progress)
        elif can_be_written(model):
            bundle = _bundle_with_service(model, entry, store, progress)
        else:
            why = "nothing says what goes in: write a service around the saved model"
            return Brought(entry, None, (*model.left, Left("a service", why)))
    except ModelpackError as error:
        if is_only:
            raise
        return Brought(entry, None, (*model.left, Left("a bundle", error.message)))
    return Brought(entry, bundle, model.left)


def _saved(model: ForeignModel, store: Store) -> Entry:
    if model.framework == "onnx":  # its file says all that the record needs
        tag = models.save(
            model.name, model.place, framework="onnx", version=model.version,
            labels=model.labels, store=store,
        )  # fmt: skip
        return store.find(tag, Kind.MODEL)
    with tempfile.TemporaryDirectory(prefix="modelpack-import-") as scratch:
        folder = Path(scratch)
        target = folder / FILES[model.framework]
        if model.place.is_dir():
            shutil.copytree(model.place, target)
        else:
            shutil.copyfile(model.place, target)
        record = ModelRecord(
            name=model.name,
            framework=model.framework,
            files=tuple(_record(one, folder) for one in sorted(folder.rglob("*")) if one.is_file()),
            carries_code=True,  # a pickle, a script or a graph: all but ONNX
            requirements=model.requirements or NEEDS.get(model.framework, ()),
            inputs=model.inputs,
            outputs=model.outputs,
            labels=dict(model.labels),
        )
        return store.add_model(record, folder, version=model.version).entry


def _record(path: Path, root: Path) -> FileRecord:
    status = path.stat()
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    name = path.relative_to(root).as_posix()
    return FileRecord(path=name, mode=mode, size=status.st_size, sha256=digest)


def _bundle_without_code(entry: Entry, store: Store, progress: Progress) -> Entry:
    with _unpacked(entry, store) as folder:
        spec = service_from_model(folder, entry.tag.name)
        project = Project(root=folder, name=entry.tag.name)
        return build_bundle(
            project, spec, store=store, version=entry.tag.version, zero_model=entry,
            progress=progress,
        ).entry  # fmt: skip


@contextmanager
def _unpacked(entry: Entry, store: Store) -> Iterator[Path]:
    yield models.folder(entry.tag, store=store)


def _bundle_with_service(
    model: ForeignModel, entry: Entry, store: Store, progress: Progress
) -> Entry:
    with tempfile.TemporaryDirectory(prefix="modelpack-import-") as scratch:
        project = write_project(replace(model, version=entry.tag.version), Path(scratch))
        spec = load_import_string(str(project.service), project.root)
        return build_bundle(
            project, spec, store=store, version=entry.tag.version, progress=progress
        ).entry
