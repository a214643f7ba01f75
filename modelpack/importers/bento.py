"""Bentos: the models and the requirements of a ``.bento`` archive, or of its folder.

    bento.yaml                     name, version, models
    models/NAME/VERSION/           each with model.yaml, which says what saved it
    env/python/requirements.txt    goes along
    src/                           the service: named in the report, never run, not carried over

Facts: the layout that BentoML 1.4 writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError
from modelpack.importers.base import Foreign, ForeignModel, Left
from modelpack.importers.mar import framework_of_file
from modelpack.importers.reading import read_yaml, requirement_lines, version_or_none
from modelpack.importers.unpacking import is_archive, unpack
from modelpack.tag import name_from

BENTO = "bento.yaml"
MODEL = "model.yaml"

FILES = {
    "bentoml.sklearn": ("saved_model.pkl", "sklearn"),
    "bentoml.onnx": ("saved_model.onnx", "onnx"),
    "bentoml.torchscript": ("saved_model.pt", "torch"),
    "bentoml.picklable_model": ("saved_model.pkl", "pickled"),
}
"""File and adapter of a model, by the module that saved it."""


class BentoImporter:
    """Reads bentos."""

    name: ClassVar[str] = "bento"

    def recognises(self, path: Path) -> bool:
        """A folder with ``bento.yaml`` in it, or a ``.bento`` file."""
        if path.is_dir():
            return (path / BENTO).is_file()
        return path.suffix == ".bento" and is_archive(path)

    def read(self, path: Path, scratch: Path) -> Foreign:
        """Find its models; raises RefusedError."""
        folder = path
        if not path.is_dir():
            unpack(path, scratch)
            folder = scratch
        if not (folder / BENTO).is_file():
            raise RefusedError(f"'{path.name}' has no '{BENTO}'")
        bento = read_yaml(folder / BENTO)
        requirements = _requirements(folder)
        found = [_model(place.parent, requirements) for place in _models(folder)]
        left = [one for one in found if isinstance(one, Left)]
        service = bento.get("service") or bento.get("entry_service") or "service"
        left.append(
            Left(f"the service '{service}'", "its class is rewritten by hand: see the guide")
        )
        present = {one.name for one in found if isinstance(one, ForeignModel)}
        for named in bento.get("models") or ():
            tag = str(named.get("tag", "")) if isinstance(named, Mapping) else ""
            if tag and name_from(tag.partition(":")[0]) not in present:
                left.append(Left(f"model '{tag}'", "the bento names it, and does not hold it"))
        models = tuple(one for one in found if isinstance(one, ForeignModel))
        return Foreign(format="bento", models=models, left=tuple(left))


def _models(folder: Path) -> list[Path]:
    return sorted((folder / "models").glob(f"*/*/{MODEL}"))


def _requirements(folder: Path) -> tuple[str, ...]:
    for name in ("requirements.lock.txt", "requirements.txt"):
        file = folder / "env" / "python" / name
        if file.is_file():
            return requirement_lines(file)
    return ()


def _model(folder: Path, requirements: tuple[str, ...]) -> ForeignModel | Left:
    described = read_yaml(folder / MODEL)
    name, version = str(described.get("name", "")), described.get("version")
    module = str(described.get("module", ""))
    place, framework = _file(folder, module)
    if place is None or framework is None:
        why = f"no adapter loads what '{module}' saved" if module else "it is files of your own"
        return Left(f"model '{name}:{version}'", why)
    return ForeignModel(
        name=name_from(name),
        version=version_or_none(version),
        framework=framework,
        place=place,
        requirements=_needed(framework, described, requirements),
        labels=_labels(described),
    )


def _file(folder: Path, module: str) -> tuple[Path | None, str | None]:
    if module in FILES:
        name, framework = FILES[module]
        return ((folder / name) if (folder / name).is_file() else None), framework
    files = [one for one in folder.rglob("*") if one.is_file() and one.name != MODEL]
    if len(files) == 1:
        return files[0], framework_of_file(files[0])
    return None, None


def _needed(
    framework: str, described: Mapping[str, Any], requirements: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what loads the model: what its own record pins, else what the bento asks for."""
    if framework == "onnx":
        return ()
    context = described.get("context")
    versions = context.get("framework_versions") if isinstance(context, Mapping) else None
    if isinstance(versions, Mapping) and versions:
        return tuple(f"{name}=={version}" for name, version in sorted(versions.items()))
    return requirements


def _labels(described: Mapping[str, Any]) -> dict[str, str]:
    labels = described.get("labels")
    own = {str(k): str(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {}
    return {**own, "imported_from": "bento"}
