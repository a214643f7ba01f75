"""Hugging Face Transformers, from local folders and with weights in safetensors: nothing is fetched.

    PreTrainedModel, Pipeline, local folder ──► model/… + recipe.json ──► the same class, or the pipeline

A folder whose ``config.json`` names code of its own (``auto_map``), or that keeps weights as pickles,
carries code; any other one is loaded without trusting it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import StoreError, UsageError
from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.folders import FOLDER, as_folder, copy_folder, files_below
from modelpack.frameworks.origin import is_a, library, pinned
from modelpack.frameworks.torchgraph import named
from modelpack.manifest import canonical_json
from modelpack.sdk.placement import device

RECIPE_FILE = "recipe.json"
_MARKER = "config.json"
_CODE = (".py", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".msgpack", ".h5")


class TransformersFramework:
    """Saves and loads models and pipelines."""

    name: ClassVar[str] = "transformers"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a model, a pipeline, or a folder whose ``config.json`` names an architecture."""
        if (folder := as_folder(model, _MARKER)) is not None:
            return b'"architectures"' in (folder / _MARKER).read_bytes()
        return is_a(model, "transformers", "PreTrainedModel", "Pipeline")

    def save(self, model: Any, folder: Path, *, task: str | None = None) -> Saved:
        """Write or copy the model.

        task  such as ``text-classification``: a folder is loaded as a pipeline for that, with the
              tokenizer in it; default: the bare model (a pipeline knows its own)
        """
        target = folder / FOLDER
        if (source := as_folder(model, _MARKER)) is not None:
            copy_folder(source, target)
        elif isinstance(model, str):
            raise UsageError(f"no folder '{model}' with a model", hint="download the model first")
        else:
            model.save_pretrained(target)
        if is_a(model, "transformers", "Pipeline"):
            task = task or str(model.task)
        recipe = {"task": task} if task else {"class": _architecture(target)}
        (folder / RECIPE_FILE).write_bytes(canonical_json(recipe))
        tokenizers = ("tokenizers",) if (target / "tokenizer.json").is_file() else ()
        return Saved(
            requirements=pinned("transformers", "torch", "safetensors", "numpy", *tokenizers)
        )

    def finds_code(self, folder: Path) -> bool:
        """Say whether the folder brings modules, names some, or keeps weights as pickles."""
        files = list(files_below(folder / FOLDER))
        configs = [path for path in files if path.suffix == ".json" and "config" in path.name]
        return any(path.suffix in _CODE for path in files) or any(
            b'"auto_map"' in path.read_bytes() or b'"custom_pipelines"' in path.read_bytes()
            for path in configs
        )

    def load(self, folder: Path) -> Any:
        """Return the pipeline or the model, on the device of its replica."""
        transformers = library("transformers")
        recipe = json.loads((folder / RECIPE_FILE).read_bytes())
        brings_code = self.finds_code(folder)
        # None: whatever is there.  A folder without pickles must not turn into one with them.
        safe = None if brings_code else True
        place = str(folder / FOLDER)
        if task := recipe.get("task"):
            return transformers.pipeline(
                str(task),
                model=place,
                tokenizer=place,
                device=device(),
                trust_remote_code=brings_code,
                model_kwargs={"use_safetensors": safe},
            )
        name = str(recipe["class"])
        cls = getattr(transformers, name, transformers.AutoModel)
        if not (isinstance(cls, type) and hasattr(cls, "from_pretrained")):
            raise StoreError(
                f"the model names '{name}', which is no model of transformers",
                hint="do not trust where it came from; save it again",
            )
        model = cls.from_pretrained(
            place, local_files_only=True, trust_remote_code=brings_code, use_safetensors=safe
        )
        return model.to(device()).eval()

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return the tensors that a model answers to arrays by name, or a pipeline's scores."""
        import numpy

        torch = library("torch")
        if is_a(model, "transformers", "Pipeline"):
            found = [model(str(text)) for text in next(iter(inputs.values()))]
            return {"scores": numpy.array([_scores(one) for one in found])}
        model.eval()
        tensors = {k: torch.from_numpy(v).to(model.device) for k, v in inputs.items()}
        with torch.no_grad():
            return named(dict(model(**tensors)))


def _architecture(folder: Path) -> str:
    found = json.loads((folder / _MARKER).read_bytes()).get("architectures")
    if not found:
        raise UsageError(
            f"'{_MARKER}' names no architecture", hint="save the model with save_pretrained"
        )
    return str(found[0])


def _scores(answer: Any) -> list[float]:
    """Return the numbers in a pipeline's answer, in their order."""
    if isinstance(answer, dict):
        return [number for value in answer.values() for number in _scores(value)]
    if isinstance(answer, list):
        return [number for value in answer for number in _scores(value)]
    return [float(answer)] if isinstance(answer, int | float) else []
