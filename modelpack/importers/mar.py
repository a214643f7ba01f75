"""Archives of TorchServe and Multi Model Server (``.mar``), packed or as a folder.

    MAR-INF/MANIFEST.json    names the parts
    serializedFile           the model: .onnx, TorchScript, or a state dict
    handler, modelFile       code: named in the report, never run, not carried over
    requirementsFile         goes along

Facts: the manifest that torch-model-archiver writes (``archiverVersion`` 0.12).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError
from modelpack.importers.base import Foreign, ForeignModel, Left
from modelpack.importers.reading import inside, requirement_lines, version_or_none
from modelpack.importers.unpacking import is_archive, unpack
from modelpack.tag import name_from

MANIFEST = "MAR-INF/MANIFEST.json"

_SERVICE = "a service class does this: modelpack init NAME --template function"


class MarImporter:
    """Reads model archives."""

    name: ClassVar[str] = "torchserve"

    def recognises(self, path: Path) -> bool:
        """A folder or an archive with the manifest in it."""
        if path.is_dir():
            return (path / MANIFEST).is_file()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return MANIFEST in archive.namelist()
        return path.name.endswith((".mar", ".tar.gz", ".tgz")) and _has_manifest(path)

    def read(self, path: Path, scratch: Path) -> Foreign:
        """Read its manifest and find its model; raises RefusedError."""
        folder = path
        if not path.is_dir():
            unpack(path, scratch)
            folder = scratch
        manifest = _manifest(folder)
        model = manifest.get("model")
        if not isinstance(model, Mapping) or not isinstance(model.get("modelName"), str):
            raise RefusedError(f"'{path.name}': its manifest names no model")
        title = "TorchServe archive"
        left = [*_code_left(model), *_other_files_left(folder, model)]
        found = _model(folder, model, tuple(left))
        if isinstance(found, Left):
            return Foreign(format=title, models=(), left=(found, *left))
        return Foreign(format=title, models=(found,))


def _has_manifest(path: Path) -> bool:
    import tarfile

    if not is_archive(path) or zipfile.is_zipfile(path):
        return False
    with tarfile.open(path) as archive:
        return any(one.name.removeprefix("./") == MANIFEST for one in archive)


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        value = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as cause:
        raise RefusedError(f"'{MANIFEST}' cannot be read: {cause}") from cause
    if not isinstance(value, dict):
        raise RefusedError(f"'{MANIFEST}' is not an object")
    return value


def _model(folder: Path, model: Mapping[str, Any], left: tuple[Left, ...]) -> ForeignModel | Left:
    name = model["modelName"]
    if not model.get("serializedFile"):
        return Left(name, "it has no file with a model: its handler makes one in code")
    place = inside(folder, str(model["serializedFile"]))
    framework = framework_of_file(place)
    if framework is None:
        return Left(
            f"{name}: {place.name}",
            "weights without a program: load them in Python and save the model with modelpack",
        )
    requirements: tuple[str, ...] = ()
    if model.get("requirementsFile"):
        requirements = requirement_lines(inside(folder, str(model["requirementsFile"])))
    return ForeignModel(
        name=name_from(name),
        version=version_or_none(model.get("modelVersion")),
        framework=framework,
        place=place,
        requirements=requirements,
        labels={"imported_from": "torchserve"},
        left=left,
    )


def framework_of_file(place: Path) -> str | None:
    """Return the adapter of a model file; None for weights alone and for what is not known.

    TorchScript is a zip with ``constants.pkl`` and ``code/``; what ``torch.save`` writes is a zip
    without code (https://docs.pytorch.org/docs/stable/notes/serialization.html).
    """
    if place.suffix == ".onnx":
        return "onnx"
    if not zipfile.is_zipfile(place):
        return None
    with zipfile.ZipFile(place) as archive:
        parts = {name.split("/")[1] for name in archive.namelist() if name.count("/")}
    return "torch" if {"code", "constants.pkl"} <= parts else None


def _code_left(model: Mapping[str, Any]) -> list[Left]:
    left = []
    if model.get("handler"):
        left.append(
            Left(f"handler '{model['handler']}'", f"what it does before and after: {_SERVICE}")
        )
    if model.get("modelFile"):
        left.append(Left(f"model file '{model['modelFile']}'", "its class belongs to your service"))
    if model.get("configFile"):
        left.append(Left(f"settings '{model['configFile']}'", "say them in modelpack.yaml"))
    return left


def _other_files_left(folder: Path, model: Mapping[str, Any]) -> list[Left]:
    known = {str(value) for value in model.values()} | {MANIFEST}
    others = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in known
    )
    handler = str(model.get("handler", "")).partition(":")[0]
    return [
        Left(f"file '{name}'", "only the model is taken; keep it beside your service")
        for name in others
        if name not in {handler, f"{handler}.py"}
    ]
