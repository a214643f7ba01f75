"""Finds the adapter for a model, by name or by looking at the model.

framework("onnx")          by the name in model.json
framework_of(model)        the first that recognises it: specific ones before plain pickle
brings_code(adapter, dir)  what the files say, whatever a record says of them
load_model(folder)         reads model.json and loads with its adapter

A record that calls a model free of code, while its form or its files carry some, is refused: it would
pass where only such models may (threat model S2).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from modelpack.errors import (
    ModelpackError,
    NotFoundError,
    RefusedError,
    StoreError,
    UserCodeError,
    did_you_mean,
)
from modelpack.frameworks.base import GROUP, FindsCode, Framework
from modelpack.manifest import MODEL_FILE, ModelRecord

LAST = ("torch", "sklearn", "pickled")
"""Adapters that take what others take in a better form; asked when no other does, in this order."""


@cache
def _names() -> tuple[str, ...]:
    names = {point.name for point in entry_points(group=GROUP)}
    return (*sorted(names - set(LAST)), *(name for name in LAST if name in names))


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


def brings_code(adapter: Framework, folder: Path) -> bool:
    """Say whether loading the files in ``folder`` runs code that they bring; loads nothing."""
    return adapter.carries_code or (isinstance(adapter, FindsCode) and adapter.finds_code(folder))


def load_model(folder: Path) -> Any:
    """Load the model in ``folder`` with its adapter.

    Raises UserCodeError when that fails, RefusedError when it carries code and its record denies it.
    """
    record = read_record(folder)
    try:
        adapter = framework(record.framework)
        if not record.carries_code and brings_code(adapter, folder):
            raise RefusedError(
                f"the model '{record.name}' carries code, and its record says that it does not",
                hint="do not trust where it came from; save it again",
            )
        return adapter.load(folder)
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
