"""spaCy pipelines, kept as the folder that spaCy writes: no pickle, no code.

    Language, folder with config.cfg and meta.json ──► model/… ──► Language

The components are registered by installed packages; only what ``meta.json`` asks for is pinned besides.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.folders import FOLDER, as_folder, copy_folder, files_below
from modelpack.frameworks.origin import is_a, library, pinned, plain_requirements

_MARKERS = ("config.cfg", "meta.json")


class SpacyFramework:
    """Saves and loads pipelines."""

    name: ClassVar[str] = "spacy"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a ``Language``, or a folder that spaCy wrote."""
        return as_folder(model, *_MARKERS) is not None or is_a(model, "spacy", "Language")

    def save(self, model: Any, folder: Path) -> Saved:
        """Write or copy the pipeline."""
        target = folder / FOLDER
        if (source := as_folder(model, *_MARKERS)) is not None:
            copy_folder(source, target)
        else:
            model.to_disk(target)
        meta = json.loads((target / "meta.json").read_bytes())
        asked = plain_requirements(map(str, meta.get("requirements", ())))
        return Saved(
            requirements=tuple(sorted({*pinned("spacy", "numpy"), *asked})),
            inputs=({"name": "text", "dtype": "str", "shape": [None]},),
        )

    def finds_code(self, folder: Path) -> bool:
        """Say whether a component left a pickle or Python in the folder."""
        return any(path.suffix in _CODE for path in files_below(folder / FOLDER))

    def load(self, folder: Path) -> Any:
        """Return the pipeline."""
        return library("spacy").load(folder / FOLDER)

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return what the pipeline says of texts: scores of categories, and marks of all tokens."""
        import numpy

        (texts,) = inputs.values()
        docs = [model(str(text)) for text in texts]
        cats = [[doc.cats[name] for name in sorted(doc.cats)] for doc in docs]
        marks = [doc.to_array(["POS", "TAG", "DEP", "HEAD", "ENT_TYPE"]).ravel() for doc in docs]
        return {"cats": numpy.array(cats), "marks": numpy.concatenate(marks)}


_CODE = (".py", ".pkl", ".pickle", ".joblib")
