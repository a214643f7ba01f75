"""Finds the adapter for a model, by name or by looking at the model.

framework("onnx")          by the name in model.json
framework_of(model)        the first that recognises it: specific ones before plain pickle
load_model(folder)         reads model.json and loads with its adapter
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from modelpack.errors import ModelpackError, NotFoundError, StoreError, UserCodeError, did_you_mean
from modelpack.frameworks.base import GROUP, Framework
from modelpack.manifest import MODEL_FILE, ModelRecord

LAST = "pickled"
"""The adapter that takes any object; asked only when no other does."""


@cache
def _names() -> tuple[str, ...]:
    names = {point.name for point in entry_points(group=GROUP)}
    return (*sorted(names - {LAST}), *({LAST} & names))


@cache
def framework(name: str) -> Framework:
    """Return the adapter of that name; raises NotFoundError."""
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        near = did_you_mean(name, _names())
        raise NotFoundError(
            f"no framework '{name}'",
            hint=f"did you mean '{near}'?" if near else "install the plugin that brings it",
        )
    try:
        adapter: Framework = points[0].load()()
    except Exception as cause:
        raise ModelpackError(
            f"the framework plugin '{name}' does not load: {cause}",
            hint="update or remove the distribution that brings it",
        ) from cause
    return adapter


def framework_of(model: object) -> Framework:
    """Return the first adapter that recognises the model."""
    for name in _names():
        if (adapter := framework(name)).recognises(model):
            return adapter
    raise NotFoundError(
        f"no framework takes a '{type(model).__name__}'",
        hint=f"name one: framework='{_names()[0]}'" if _names() else "install modelpack-cli",
    )


def read_record(folder: Path) -> ModelRecord:
    """Return what ``model.json`` in ``folder`` says; raises StoreError."""
    try:
        return ModelRecord.from_json(json.loads((folder / MODEL_FILE).read_bytes()))
    except (OSError, ValueError) as cause:
        raise StoreError(f"'{folder / MODEL_FILE}' cannot be read: {cause}") from cause


def load_model(folder: Path) -> Any:
    """Load the model in ``folder`` with its adapter; raises UserCodeError when that fails."""
    record = read_record(folder)
    try:
        return framework(record.framework).load(folder)
    except ModelpackError:
        raise
    except ModuleNotFoundError as cause:
        raise UserCodeError(
            f"the model '{record.name}' needs the module '{cause.name}', which is not installed",
            hint="install " + ", ".join(record.requirements),
        ) from cause
    except Exception as cause:
        raise UserCodeError(
            f"the model '{record.name}' does not load: {type(cause).__name__}: {cause}",
            hint="save it again with the versions that serve it: " + ", ".join(record.requirements),
        ) from cause
