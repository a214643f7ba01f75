"""Keras 3, kept as a ``.keras`` file whose bytes do not depend on when it was written.

    keras.Model ──► model.keras + keras.json (the backend) ──► keras.Model

The layers stand in the file by name, their weights as HDF5.  A Lambda layer keeps Python bytecode there,
and a class that is not Keras's own is imported by name: such a file carries code, any other one is
loaded in Keras's safe mode.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import UsageError, UserCodeError
from modelpack.frameworks.base import Arrays, Saved, dtype_name, tensor
from modelpack.frameworks.origin import is_a, library, pinned
from modelpack.manifest import canonical_json

FILE = "model.keras"
BACKEND_FILE = "keras.json"
_BACKENDS = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


class KerasFramework:
    """Saves and loads Keras models."""

    name: ClassVar[str] = "keras"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a Keras model or the path of a ``.keras`` file."""
        if isinstance(model, str | os.PathLike):
            return Path(model).suffix == ".keras"
        return is_a(model, "keras", "Model")

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.keras``; raises UsageError for a path where no file is."""
        keras = library("keras")
        backend = str(keras.config.backend())
        written = folder / "written.keras"
        if isinstance(model, str | os.PathLike):
            if not Path(model).is_file():
                raise UsageError(f"no file '{model}'", hint="give the path of a .keras file")
            shutil.copyfile(model, written)
        else:
            model.save(written)
        _timeless(written, folder / FILE)
        written.unlink()
        (folder / BACKEND_FILE).write_bytes(canonical_json({"backend": backend}))
        loaded = model
        if isinstance(model, str | os.PathLike):  # code of somebody's file is not run to look at it
            loaded = None if self.finds_code(folder) else self.load(folder)
        return Saved(
            requirements=pinned("keras", "numpy", _BACKENDS.get(backend, backend)),
            inputs=_tensors(getattr(loaded, "inputs", None), "input"),
            outputs=_tensors(getattr(loaded, "outputs", None), "output"),
        )

    def finds_code(self, folder: Path) -> bool:
        """Say whether the file holds bytecode or names classes that are not Keras's own."""
        with zipfile.ZipFile(folder / FILE) as archive:
            config = json.loads(archive.read("config.json"))
        return any(_is_code(part) for part in _objects(config))

    def load(self, folder: Path) -> Any:
        """Return the model; raises UserCodeError when Keras runs on another backend already."""
        backend = str(json.loads((folder / BACKEND_FILE).read_bytes())["backend"])
        if "keras" not in sys.modules:
            os.environ.setdefault("KERAS_BACKEND", backend)
        keras = library("keras")
        if keras.config.backend() != backend:
            raise UserCodeError(
                f"the model was saved with Keras on {backend}, here Keras runs on "
                f"{keras.config.backend()}",
                hint=f"set KERAS_BACKEND={backend}",
            )
        return keras.saving.load_model(
            folder / FILE, compile=False, safe_mode=not self.finds_code(folder)
        )

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the outputs for arrays that are given in the order of the inputs."""
        import numpy

        arrays = list(inputs.values())
        found = model.predict(arrays if len(arrays) > 1 else arrays[0], verbose=0)
        if isinstance(found, dict):
            return {str(name): numpy.asarray(value) for name, value in found.items()}
        values = found if isinstance(found, list | tuple) else [found]
        return {_numbered("output", i): numpy.asarray(value) for i, value in enumerate(values)}


def _timeless(source: Path, target: Path) -> None:
    """Copy a ``.keras`` file without the times in it, so that the same model has the same bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            if name == "metadata.json":
                facts = json.loads(old.read(name))
                facts.pop("date_saved", None)
                new.writestr(entry, canonical_json(facts))
                continue
            with old.open(name) as weights, new.open(entry, "w", force_zip64=True) as copy:
                shutil.copyfileobj(weights, copy, 1 << 20)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a configuration."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)


def _is_code(part: dict[str, Any]) -> bool:
    if "class_name" not in part:
        return False
    module = part.get("module")
    is_foreign = isinstance(module, str) and module.partition(".")[0] != "keras"
    return (
        is_foreign
        or part.get("registered_name") not in (None, part["class_name"])
        or (
            part["class_name"]
            in ("__lambda__", "Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
        )
    )


def _tensors(tensors: Any, word: str) -> tuple[Arrays, ...]:
    """Return the signature of Keras's symbolic tensors; nothing for a model that was never built."""
    if not isinstance(tensors, list):
        return ()
    return tuple(
        tensor(
            str(one.name) if word == "input" else _numbered(word, number),
            dtype_name(one.dtype),
            list(one.shape),
        )
        for number, one in enumerate(tensors)
    )


def _numbered(word: str, number: int) -> str:
    return word if number == 0 else f"{word}_{number}"
