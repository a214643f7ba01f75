"""MLflow models: a folder with ``MLmodel``, or an archive of one.

    MLmodel            flavors: which libraries can load it; signature: what goes in and out
    requirements.txt   goes along

Taken is the most direct flavor that there is an adapter for: onnx, then sklearn, then any other by
way of python_function.  Facts: https://mlflow.org/docs/latest/ml/model (storage format, signature).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError
from modelpack.importers.base import Foreign, ForeignModel, Left
from modelpack.importers.reading import inside, read_yaml, requirement_lines, version_or_none
from modelpack.importers.unpacking import is_archive, unpack
from modelpack.tag import name_from

MLMODEL = "MLmodel"

_COLUMN_DTYPES = {
    "long": "int64", "integer": "int32", "double": "float64", "float": "float32",
    "boolean": "bool", "string": "str",
}  # fmt: skip


class MlflowImporter:
    """Reads MLflow models."""

    name: ClassVar[str] = "mlflow"

    def recognises(self, path: Path) -> bool:
        """A folder with an ``MLmodel`` in it."""
        return path.is_dir() and (path / MLMODEL).is_file()

    def read(self, path: Path, scratch: Path) -> Foreign:
        """Choose a flavor and find its files; raises RefusedError."""
        folder = path
        if is_archive(path):
            unpack(path, scratch)
            folder = scratch
        described = read_yaml(folder / MLMODEL)
        flavors = described.get("flavors")
        if not isinstance(flavors, Mapping) or not flavors:
            raise RefusedError(f"'{MLMODEL}' names no flavor")
        framework, place = _choose(folder, flavors)
        taken = framework if framework in flavors else "python_function"
        left = [
            Left(f"flavor '{flavor}'", f"the model is loaded as '{taken}'")
            for flavor in flavors
            if flavor not in {taken, "python_function"}
        ]
        inputs, outputs = _signature(described.get("signature"))
        requirements = folder / "requirements.txt"
        model = ForeignModel(
            name=name_from(str(described.get("artifact_path") or path.stem)),
            version=version_or_none(described.get("model_uuid")),
            framework=framework,
            place=place,
            requirements=requirement_lines(requirements) if requirements.is_file() else (),
            inputs=inputs,
            outputs=outputs,
            labels={"imported_from": "mlflow"},
            left=tuple(left),
        )
        return Foreign(format="MLflow model", models=(model,))


def _choose(folder: Path, flavors: Mapping[str, Any]) -> tuple[str, Path]:
    onnx, sklearn = flavors.get("onnx"), flavors.get("sklearn")
    if isinstance(onnx, Mapping) and isinstance(onnx.get("data"), str):
        return "onnx", inside(folder, onnx["data"])
    if (
        isinstance(sklearn, Mapping)
        and isinstance(sklearn.get("pickled_model"), str)
        and sklearn.get("serialization_format") in {"pickle", "cloudpickle"}
    ):
        return "sklearn", inside(folder, sklearn["pickled_model"])
    return "mlflow", folder


def _signature(value: object) -> tuple[tuple[Mapping[str, Any], ...], ...]:
    """Return inputs and outputs; both empty where the signature says nothing."""
    if not isinstance(value, Mapping):
        return (), ()
    return _tensors(value.get("inputs"), "x"), _tensors(value.get("outputs"), "output")


def _tensors(text: object, unnamed: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(text, str):
        return ()
    try:
        specs = json.loads(text)
    except ValueError as cause:
        raise RefusedError(f"the signature in '{MLMODEL}' cannot be read: {cause}") from cause
    return tuple(_tensor(spec, unnamed) for spec in specs if isinstance(spec, Mapping))


def _tensor(spec: Mapping[str, Any], unnamed: str) -> Mapping[str, Any]:
    name = str(spec.get("name", unnamed))
    tensor = spec.get("tensor-spec")
    if spec.get("type") == "tensor" and isinstance(tensor, Mapping):
        shape = [None if dim == -1 else int(dim) for dim in tensor.get("shape", ())]
        return {"name": name, "dtype": str(tensor.get("dtype", "")), "shape": shape}
    return {"name": name, "dtype": _COLUMN_DTYPES.get(str(spec.get("type")), ""), "shape": [None]}
