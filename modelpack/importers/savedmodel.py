"""TensorFlow SavedModel folders, and the base folder of TensorFlow Serving with their versions.

    FOLDER/saved_model.pb        one model
    FOLDER/3/saved_model.pb      versions by number: the newest is taken

    saved_model.pb ──signature_of──► inputs and outputs of ``serving_default``, read, not run

A SavedModel holds a graph, and a graph may read and write files as it runs: it carries code.  Field
numbers: saved_model.proto, meta_graph.proto and tensor_shape.proto of TensorFlow; the data types are
those of types.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError
from modelpack.importers.base import Foreign, ForeignModel, Left
from modelpack.importers.wire import mapping, messages, number_of
from modelpack.tag import name_from

GRAPH = "saved_model.pb"
SIGNATURE = "serving_default"

_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "str", 9: "int64",
    10: "bool", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip

Tensors = tuple[Mapping[str, Any], ...]


class SavedModelImporter:
    """Reads SavedModel folders."""

    name: ClassVar[str] = "savedmodel"

    def recognises(self, path: Path) -> bool:
        """A folder with the graph in it, or with numbered folders that have it."""
        return path.is_dir() and ((path / GRAPH).is_file() or bool(_versions(path)))

    def read(self, path: Path, scratch: Path) -> Foreign:  # noqa: ARG002
        """Find the newest version; raises RefusedError when its graph cannot be read."""
        versions = [] if (path / GRAPH).is_file() else _versions(path)
        place = versions[-1] if versions else path
        inputs, outputs = signature_of(place / GRAPH)
        left = [
            Left(f"version {one.name}", f"the newest, {place.name}, was taken")
            for one in versions[:-1]
        ]
        model = ForeignModel(
            name=name_from(path.resolve().name),
            version=place.name if versions else None,
            framework="tensorflow",
            place=place,
            inputs=inputs,
            outputs=outputs,
            labels={"imported_from": "savedmodel"},
            left=tuple(left),
        )
        return Foreign(format="TensorFlow SavedModel", models=(model,))


def _versions(path: Path) -> list[Path]:
    found = [one for one in path.iterdir() if one.name.isdigit() and (one / GRAPH).is_file()]
    return sorted(found, key=lambda one: int(one.name))


def signature_of(file: Path) -> tuple[Tensors, Tensors]:
    """Return inputs and outputs of the serving signature; both empty when there is none.

    Raises RefusedError for a file that is no SavedModel.
    """
    try:
        with (
            file.open("rb") as handle,
            mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as view,
        ):
            return _signature(view)
    except (ValueError, OSError) as cause:
        raise RefusedError(f"'{file}' is no SavedModel: {cause}") from cause


def _signature(data: memoryview) -> tuple[Tensors, Tensors]:
    for graph in messages(data, 2):
        signature = mapping(graph, 5).get(SIGNATURE)
        if signature is not None:
            return _tensors(mapping(signature, 1)), _tensors(mapping(signature, 2))
    return (), ()


def _tensors(found: Mapping[str, memoryview]) -> Tensors:
    return tuple(_tensor(name, info) for name, info in sorted(found.items()))


def _tensor(name: str, info: memoryview) -> Mapping[str, Any]:
    shape: list[int | None] = []
    for described in messages(info, 3):
        sizes = (number_of(dim, 1) for dim in messages(described, 2))
        shape = [None if size >= 2**63 else size for size in sizes]  # -1: of any size
    return {"name": name, "dtype": _DTYPES.get(number_of(info, 2), ""), "shape": shape}
