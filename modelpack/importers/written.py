"""Writes the small service that a model without code of its own needs.

    inputs of the model ──write_project──► NAME_service.py, with one api ``predict``

One array goes in as an array, several as several; columns of a table go in as rows of a table.  The
project is plain code that its new owner may take and change.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpack.config.settings import Project
from modelpack.importers.base import ForeignModel

_PREDICTS = "return self.model.predict({})"
_CALLS = {
    "sklearn": _PREDICTS,
    "mlflow": _PREDICTS,
    "pickled": _PREDICTS,
    "torch": "with torch.no_grad():\n            return self.model({}).numpy()",
    "tensorflow": "return self.model.run({})",
}
"""How a model of each framework is called."""

_SERVICE = '''\
"""Serves the model '{name}', imported from {source}."""

import modelpack


@modelpack.service
class {cls}:
    """The model '{name}', as it was packed by {source}."""

    model = modelpack.Model("{name}:{version}")

    @modelpack.api(batch=True{batching})
    def predict(self, {parameters}) -> {answer}:
        """Return what the model makes of each row."""
{imports}        {call}
'''


def can_be_written(model: ForeignModel) -> bool:
    """Say whether enough is known of a model to write its service."""
    return bool(model.inputs) and model.framework in _CALLS and _is_complete(model.inputs)


def _is_complete(inputs: Sequence[Mapping[str, Any]]) -> bool:
    return all(
        one["dtype"] and one["shape"] and one["shape"][0] is None and _word(one["name"])
        for one in inputs
    )


def write_project(model: ForeignModel, folder: Path) -> Project:
    """Write the project of a model into an empty folder; its version must be set."""
    module = f"{_word(model.name)}_service"
    cls = "".join(part.capitalize() for part in _word(model.name).split("_"))
    parameters, argument, imports = _arguments(model)
    if imports:
        imports = f"        import {imports}  # comes with the model\n\n"
    size = f", max_batch_size={model.max_batch_size}" if model.max_batch_size else ""
    text = _SERVICE.format(
        name=model.name, version=model.version, source=model.labels["imported_from"],
        imports=imports, cls=cls, batching=size, parameters=parameters,
        answer=_answer(model), call=_CALLS[model.framework].format(argument),
    )  # fmt: skip
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return Project(root=folder, name=model.name, service=f"{module}:{cls}")


def _arguments(model: ForeignModel) -> tuple[str, str, str]:
    """Return the parameters, what the model is called with, and the module that makes it."""
    names = [str(one["name"]) for one in model.inputs]
    if model.framework in {"sklearn", "mlflow"} and all(
        list(one["shape"]) == [None] for one in model.inputs
    ):
        columns = ", ".join(map(repr, names))
        return (
            "rows: list[dict[str, object]]",
            f"pandas.DataFrame(rows, columns=[{columns}])",
            "pandas",
        )
    words = [_word(name) for name in names]
    hints = [_hint(one) for one in model.inputs]
    parameters = ", ".join(f"{w}: {h}" for w, h in zip(words, hints, strict=True))
    if model.framework == "torch":
        return parameters, ", ".join(f"torch.from_numpy({word})" for word in words), "torch"
    if model.framework == "tensorflow":
        pairs = ", ".join(f"{name!r}: {word}" for name, word in zip(names, words, strict=True))
        return parameters, f"{{{pairs}}}", ""
    return parameters, ", ".join(words), ""


def _hint(tensor: Mapping[str, Any]) -> str:
    dims = ["batch", *tensor["shape"][1:]]
    return f"modelpack.Tensor[{', '.join(map(repr, [tensor['dtype'], *dims]))}]"


def _answer(model: ForeignModel) -> str:
    """Return the hint of the answer: an array where just one is known, else rows of anything."""
    outputs = model.outputs
    if model.framework == "tensorflow":
        return "dict[str, list]"
    if len(outputs) == 1 and outputs[0]["dtype"] not in {"", "str"} and outputs[0]["shape"]:
        return _hint(outputs[0])
    return "list"


def _word(text: str) -> str:
    """Make a Python name of any text; empty when nothing of it can be kept."""
    word = re.sub(r"\W+", "_", text).strip("_")
    if not word or keyword.iskeyword(word) or word == "self":
        return f"{word}_" if word else ""
    return f"_{word}" if word[0].isdigit() else word
