"""TensorFlow, kept as a SavedModel: a folder with a graph and its variables.

    folder with saved_model.pb, tf.Module ──► model/… ──► SavedModel, called like an ONNX model

A graph is a program: its operations may read and write files.  It counts as code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays, Saved, tensor
from modelpack.frameworks.folders import FOLDER, as_folder, copy_folder
from modelpack.frameworks.origin import is_a, library, pinned

SIGNATURE = "serving_default"
_MARKER = "saved_model.pb"


class SavedModel:
    """A loaded SavedModel: call it with its inputs, get its outputs by name."""

    def __init__(self, loaded: Any) -> None:
        """Raise UsageError when it has no serving signature."""
        if SIGNATURE not in loaded.signatures:
            raise UsageError(
                f"the SavedModel has no signature '{SIGNATURE}'",
                hint="save it with signatures={'serving_default': function}",
            )
        self.loaded = loaded
        """What ``tf.saved_model.load`` returned."""
        self._run = loaded.signatures[SIGNATURE]
        specs = self._run.structured_input_signature[1]
        self.inputs = tuple(_entry(name, specs[name]) for name in sorted(specs))
        found = self._run.structured_outputs
        self.outputs = tuple(_entry(name, found[name]) for name in sorted(found))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run on named arrays; returns every output by its name."""
        constant = library("tensorflow").constant
        answers = self._run(**{name: constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in sorted(answers.items())}

    def __call__(self, *args: Any, **named: Any) -> dict[str, Any]:
        """Run on arrays in the order of the inputs, or by name; returns the outputs by name."""
        names = [str(one["name"]) for one in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"{len(names)} inputs, got {len(args)}")
        return self.run({**dict(zip(names, args, strict=False)), **named})


class TensorflowFramework:
    """Saves and loads SavedModels."""

    name: ClassVar[str] = "tensorflow"
    carries_code: ClassVar[bool] = True

    def recognises(self, model: object) -> bool:
        """Take a folder with ``saved_model.pb``, or a ``tf.Module``."""
        if as_folder(model, _MARKER):
            return True
        return is_a(model, "tensorflow", "Module", "AutoTrackable", "_UserObject")

    def save(self, model: Any, folder: Path, *, signatures: Any = None) -> Saved:
        """Write or copy the SavedModel.

        signatures  what ``tf.saved_model.save`` takes of that name, for a ``tf.Module``
        """
        target = folder / FOLDER
        if (source := as_folder(model, _MARKER)) is not None:
            copy_folder(source, target)
        else:
            library("tensorflow").saved_model.save(model, str(target), signatures=signatures)
        loaded = self.load(folder)
        return Saved(
            requirements=pinned("tensorflow", "numpy"),
            inputs=loaded.inputs,
            outputs=loaded.outputs,
        )

    def load(self, folder: Path) -> SavedModel:
        """Return the model, ready to be called."""
        return SavedModel(library("tensorflow").saved_model.load(str(folder / FOLDER)))

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the outputs of the serving signature."""
        ready = model if isinstance(model, SavedModel) else SavedModel(model)
        return ready.run(inputs)


def _entry(name: str, spec: Any) -> Arrays:
    shape = spec.shape.as_list() if spec.shape.rank is not None else []
    dtype = spec.dtype.name
    return tensor(name, "str" if dtype == "string" else dtype, shape)
