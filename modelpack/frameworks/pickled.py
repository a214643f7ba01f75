"""Any Python object, kept by cloudpickle: the adapter of last resort.

Loading runs code that the file brings; the record says so.  Classes and functions of the user's
own ``__main__`` are kept by value; the libraries of all others are pinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.origin import pinned, pins_of

FILE = "model.pkl"


class PickledFramework:
    """Saves and loads any object that cloudpickle takes."""

    name: ClassVar[str] = "pickled"
    carries_code: ClassVar[bool] = True

    def recognises(self, model: object) -> bool:  # noqa: ARG002
        """Take anything."""
        return True

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.pkl``."""
        import cloudpickle

        with (folder / FILE).open("wb") as file:
            # Protocol 5 is what Python 3.11 reads; the bytes must not depend on the writer's own.
            cloudpickle.dump(model, file, protocol=5)
        needs = {*pinned("cloudpickle"), *pins_of(model)}
        return Saved(requirements=tuple(sorted(needs)))

    def load(self, folder: Path) -> Any:
        """Return the object."""
        import cloudpickle

        with (folder / FILE).open("rb") as file:
            return cloudpickle.load(file)

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return what ``predict``, or the object itself, answers to the arrays in their order."""
        import numpy

        found = getattr(model, "predict", model)(*inputs.values())
        answers = found if isinstance(found, Mapping) else {"output": found}
        return {str(name): numpy.asarray(value) for name, value in answers.items()}
