"""MLflow models, kept as the folder that MLflow wrote and loaded through ``pyfunc``.

    folder with MLmodel ──► model/… ──► mlflow.pyfunc.PyFuncModel

Whatever the flavour, ``pyfunc`` imports a loader that the folder names and mostly unpickles what lies in
it: it counts as code.  What to install is read from the folder's ``requirements.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays, Saved, tensor
from modelpack.frameworks.folders import FOLDER, as_folder, copy_folder
from modelpack.frameworks.origin import library, pinned, plain_requirements, requirement_name

_MARKER = "MLmodel"
# https://mlflow.org/docs/latest/ml/model/signatures: column types and what numpy calls them
_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
}


class MlflowFramework:
    """Saves and loads MLflow's model folders."""

    name: ClassVar[str] = "mlflow"
    carries_code: ClassVar[bool] = True

    def recognises(self, model: object) -> bool:
        """Take a folder with a file ``MLmodel``."""
        return as_folder(model, _MARKER) is not None

    def save(self, model: Any, folder: Path) -> Saved:
        """Copy the folder."""
        source = as_folder(model, _MARKER)
        if source is None:
            raise UsageError(
                f"'{model}' is no folder with a file '{_MARKER}'",
                hint="write one with mlflow.FLAVOUR.save_model(model, FOLDER)",
            )
        target = folder / FOLDER
        copy_folder(source, target)
        recorded = library("mlflow.models").Model.load(str(target))
        wanted = recorded.signature
        return Saved(
            requirements=tuple(sorted({*pinned("mlflow"), *_requirements(target)})),
            inputs=tuple(_entries(wanted.inputs if wanted else None)),
            outputs=tuple(_entries(wanted.outputs if wanted else None)),
        )

    def load(self, folder: Path) -> Any:
        """Return the model; it has ``predict``."""
        return library("mlflow.pyfunc").load_model(str(folder / FOLDER))

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return what ``predict`` answers to one array, or to a table made of several."""
        import numpy

        given: Any = next(iter(inputs.values()))
        if len(inputs) > 1:
            given = library("pandas").DataFrame({k: list(v) for k, v in inputs.items()})
        return {"output": numpy.asarray(model.predict(given))}


def _requirements(folder: Path) -> Iterator[str]:
    """Yield the lines of ``requirements.txt``; MLflow itself is pinned as it is installed."""
    file = folder / "requirements.txt"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    for line in plain_requirements(lines):
        if requirement_name(line) not in ("mlflow", "mlflow-skinny"):
            yield line


def _entries(schema: Any) -> Iterator[Arrays]:
    for number, column in enumerate(schema.to_dict() if schema is not None else ()):
        name = str(column.get("name") or ("x" if number == 0 else f"x{number}"))
        if column["type"] == "tensor":
            spec = column["tensor-spec"]
            shape = [None if size == -1 else int(size) for size in spec["shape"]]
            yield tensor(name, spec["dtype"], shape)
        elif column["type"] in _DTYPES:
            yield tensor(name, _DTYPES[column["type"]], [None])
