"""CatBoost, kept in its own binary form: no pickle, no code.

CatBoostClassifier and the like ──► model.cbm + wrapper.json ──► the same class
"model.cbm"                     ──► the same, as a CatBoost
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import UsageError
from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.estimators import answers, signature
from modelpack.frameworks.folders import read_class, write_class
from modelpack.frameworks.origin import base_of, is_a, library, pinned

FILE = "model.cbm"
WRAPPERS = ("CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker", "CatBoost")


class CatboostFramework:
    """Saves and loads CatBoost models."""

    name: ClassVar[str] = "catboost"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a CatBoost model or the path of a ``.cbm`` file."""
        if isinstance(model, str | os.PathLike):
            return Path(model).suffix == ".cbm"
        return is_a(model, "catboost", *WRAPPERS)

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.cbm``; the width of the input is known where every column is a number."""
        if isinstance(model, str | os.PathLike):
            if not Path(model).is_file():
                raise UsageError(f"no file '{model}'", hint="give the path of a .cbm file")
            shutil.copyfile(model, folder / FILE)
            wrapper = "CatBoost"
        else:
            model.save_model(str(folder / FILE), format="cbm")
            base = base_of(model, "catboost", *WRAPPERS)
            wrapper = base.__name__ if base else "CatBoost"
        write_class(folder, wrapper)
        loaded = self.load(folder)
        others = (*loaded.get_cat_feature_indices(), *loaded.get_text_feature_indices())
        width = None if others else len(loaded.feature_names_)
        inputs, outputs = signature(loaded, width)
        return Saved(requirements=pinned("catboost", "numpy"), inputs=inputs, outputs=outputs)

    def load(self, folder: Path) -> Any:
        """Return the model."""
        model = getattr(library("catboost"), read_class(folder, WRAPPERS) or "CatBoost")()
        model.load_model(str(folder / FILE), format="cbm")
        return model

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return label and probabilities, or one number a row."""
        return answers(model, inputs)
