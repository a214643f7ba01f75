"""A bundle around a model that somebody else's program wrote.

    model.onnx ──signature──► saved model ──► bundle without code
    MLflow, SavedModel, TorchServe, Triton, bento ──importer──► saved model ──► bundle

What is in a file that only its own library can read, such as a pickle, is not known without running
it: such a model needs a service around it, and the error says so.
"""

from __future__ import annotations

from pathlib import Path

from modelpack.errors import NotFoundError, UsageError
from modelpack.progress import SILENT, Progress
from modelpack.store import Entry, Kind, Store

_SERVICE_HINT = "write a service around it: modelpack init NAME --template function"


def bundle_around(
    path: Path, store: Store, *, name: str | None = None, progress: Progress = SILENT
) -> Entry:
    """Put a bundle around the model at ``path`` into the store, and return it.

    path  an ONNX file, or a file or folder that an importer knows, such as an MLflow model
    name  of the bundle; of an import with several models, the model to take; default: what the
          file is called, or what the format says

    The same content gives the same bundle.  What could not be carried over is noted.  Raises
    NotFoundError when nothing is there, UsageError when it is no model that says what goes in and
    out, and what reading and building it raise.
    """
    if not path.exists():
        raise NotFoundError(
            f"no file or folder '{path}'", hint="give a model or the TAG of a bundle"
        )
    if path.suffix == ".onnx":
        return _around_onnx(path, store, name, progress)
    return _around_foreign(path, store, name, progress)


def _around_onnx(file: Path, store: Store, name: str | None, progress: Progress) -> Entry:
    from modelpack import models
    from modelpack.archive import build_bundle
    from modelpack.config.settings import Project
    from modelpack.frameworks.zero import service_from_model

    spec = service_from_model(file, name)
    tag = models.save(spec.name, file, framework="onnx", store=store)
    return build_bundle(
        Project(root=file.parent.resolve(), name=spec.name),
        spec,
        store=store,
        zero_model=store.find(tag, Kind.MODEL),
        progress=progress,
    ).entry


def _is_onnx(file: Path) -> bool:
    """Say whether a file is a model though its name does not say so."""
    from modelpack.frameworks.onnx import open_onnx

    try:
        open_onnx(file)
    except UsageError:
        return False
    return True


def _around_foreign(path: Path, store: Store, name: str | None, progress: Progress) -> Entry:
    from modelpack.importers import bring_in, importer_for

    try:
        importer = importer_for(path)
    except UsageError as cause:
        if path.is_file() and _is_onnx(path):
            return _around_onnx(path, store, name, progress)
        hint = "give an .onnx file, or a folder that MLflow or TensorFlow wrote; else "
        raise UsageError(
            f"nothing says what goes in and out of '{path}'", hint=hint + _SERVICE_HINT
        ) from cause
    what, brought, left = bring_in(path, importer, store=store, name=name, progress=progress)
    for one in (*left, *(each for model in brought for each in model.left)):
        progress.note(f"left: {one.what} ({one.why})")
    bundles = [one.bundle for one in brought if one.bundle is not None]
    if not brought and name is not None:
        raise NotFoundError(f"no model '{name}' in '{path}'", hint="leave the name out to see them")
    if not bundles:
        raise UsageError(f"'{path}' ({what}) holds no model that serves itself", hint=_SERVICE_HINT)
    if len(bundles) > 1:
        names = ", ".join(str(bundle.tag) for bundle in bundles[:5])
        raise UsageError(
            f"'{path}' ({what}) holds {len(bundles)} models, and an image serves one",
            hint=f"they are in the store now, make an image of one of them: {names}",
        )
    return bundles[0]
