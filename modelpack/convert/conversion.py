"""The whole way from a saved model to its ONNX form.

    find ──► load ──► export ──► ask both the same ──► within the tolerance? ──► save NAME-onnx
                                                             └ no: RefusedError with the difference

What was converted, by what and how well it fits stands in a statement beside the new model; its label
``converted-from`` names the original by its digest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from modelpack import models
from modelpack.convert.exporters import EXPORTERS, TOOLS, is_booster
from modelpack.convert.samples import Samples, random_samples, read_samples
from modelpack.errors import ModelpackError, RefusedError, ToolMissingError, UsageError
from modelpack.frameworks.base import Arrays, Predicts
from modelpack.frameworks.catalog import framework, load_model, read_record
from modelpack.frameworks.compare import Difference, difference
from modelpack.manifest import ModelRecord, canonical_json
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

CONVERSION_TYPE = "application/vnd.modelpack.conversion.v1+json"
"""Artifact type and media type of the statement."""
TOLERANCE = 1e-4
ROWS = 256
LABEL = "converted-from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion made, and how well it fits."""

    tag: Tag
    """The new model."""
    source: Tag
    """The model that it was made from, with its version."""
    difference: Difference
    tolerance: float
    rows: int
    samples: str
    """``random``, or ``sha256:HEX`` of the file with samples."""
    tools: Mapping[str, str]
    """Versions of what did the work."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "tag": str(self.tag),
            "source": str(self.source),
            "largest_difference": self.difference.largest,
            "where": self.difference.where,
            "tolerance": self.tolerance,
            "rows": self.rows,
            "samples": self.samples,
            "tools": dict(self.tools),
        }


def convert(
    tag: Tag,
    *,
    name: str | None = None,
    version: str | None = None,
    samples: Path | None = None,
    rows: int = ROWS,
    tolerance: float = TOLERANCE,
    allow_code: bool = False,
    store: Store | None = None,
) -> Converted:
    """Save the ONNX form of a model, and return it once it has answered samples as the model does.

    name        default: the model's own with ``-onnx`` behind it
    version     default: made of the content
    samples     ``.npy``, ``.npz`` or ``.jsonl``; default: random rows within the signature
    rows        how many random rows
    tolerance   largest difference of an answer, relative where answers are greater than 1
    allow_code  load the model though its files carry code, as those of scikit-learn do

    Raises ModelNotFoundError, UsageError (a framework or model that cannot be converted, samples
    that do not fit), ToolMissingError (a converter that is not installed), RefusedError (it carries
    code, or the answers differ too much).
    """
    store = store or Store()
    entry = store.find(tag, Kind.MODEL)
    record = store.model_record(entry)
    if record.framework not in EXPORTERS:
        raise UsageError(
            f"a model of '{record.framework}' cannot be converted to ONNX",
            hint=f"those of {', '.join(EXPORTERS)} can",
        )
    if record.carries_code and not allow_code:
        raise RefusedError(
            f"'{entry.tag}' carries code, and converting it runs that code",
            hint="add --allow-code when you trust where it came from",
        )
    folder = models.folder(entry.tag, store=store)
    asked = read_samples(samples, record.inputs) if samples else _random(record, rows)
    proto = _exported(record, folder, asked)
    saved = _checked(proto, folder, asked, tolerance)
    new = models.save(
        name or f"{entry.tag.name}-onnx",
        proto,
        framework="onnx",
        version=version,
        labels={**record.labels, LABEL: entry.digest},
        store=store,
    )
    made = Converted(
        tag=new,
        source=entry.tag,
        difference=saved,
        tolerance=tolerance,
        rows=asked.rows,
        samples=asked.source,
        tools={tool: version_of(tool) for tool in TOOLS[record.framework]},
    )
    _note(store, store.find(new, Kind.MODEL), entry, made)
    return made


def read_conversion(store: Store, entry: Entry) -> dict[str, Any] | None:
    """Return what the statement says of a converted model; None for one that was not converted."""
    found = store.referrers(entry, CONVERSION_TYPE)
    if not found:
        return None
    said: dict[str, Any] = json.loads(store.read_referrer(found[-1]))
    return said


def _random(record: ModelRecord, rows: int) -> Samples:
    if rows < 1:
        raise UsageError(f"--rows must be at least 1, got {rows}")
    return random_samples(record.inputs, rows)


def _exported(record: ModelRecord, folder: Path, asked: Samples) -> Any:
    try:
        arrays = _as_onnx(record, asked.arrays)
        return EXPORTERS[record.framework](folder, load_model(folder), arrays)
    except ModelpackError:
        raise
    except ModuleNotFoundError as cause:
        raise ToolMissingError(
            f"converting a model of '{record.framework}' needs the module '{cause.name}', "
            "which is not installed",
            hint="pip install 'modelpack-cli[convert]'",
        ) from cause
    except Exception as cause:  # whatever the converters raise
        said = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        raise UsageError(
            f"the model '{record.name}' cannot be converted: {said[:200]}",
            hint="write a service around the model as it is",
        ) from cause


def _checked(proto: Any, folder: Path, asked: Samples, tolerance: float) -> Difference:
    """Return how far the two are apart; raises RefusedError when that is too much."""
    record = read_record(folder)
    model = load_model(folder)
    inputs = _as_onnx(record, asked.arrays)
    # Both are given the same numbers: what 64-bit input loses is not the conversion's.
    same = {name: array.astype(asked.arrays[name].dtype) for name, array in inputs.items()}
    wanted = _answers(record.framework, model, same)
    answers = _answers("onnx", proto, inputs)
    if is_booster(model):
        wanted, answers = _of_booster(wanted, answers)
    answers = {name: _shaped(array, wanted.get(name)) for name, array in answers.items()}
    found = difference(wanted, answers)
    if found.exceeds(tolerance):
        real = "give rows of real data with --samples"
        raise RefusedError(
            f"the converted model answers otherwise: the largest difference is {found}, "
            f"{tolerance:g} is allowed",
            hint=real
            if math.isinf(found.largest)
            else f"raise --tolerance if that does, or {real}",
        )
    return found


def _answers(name: str, model: Any, inputs: Arrays) -> Arrays:
    adapter = framework(name)
    if not isinstance(adapter, Predicts):  # one of a plugin's, under a name of ours
        raise UsageError(
            f"the framework '{name}' cannot ask its models", hint="remove the plugin that brings it"
        )
    return adapter.predict(model, inputs)


def _as_onnx(record: ModelRecord, arrays: Arrays) -> Arrays:
    """Return arrays in the dtypes of the converted model.

    Graphs of torch keep theirs; converters of trees and estimators know 32-bit numbers, 64-bit whole
    ones.
    """
    if record.framework == "torch":
        return arrays
    short = {"f": "float32", "u": "int64", "i": "int64"}
    return {
        name: array.astype(short[array.dtype.kind]) if array.dtype.kind in short else array
        for name, array in arrays.items()
    }


def _of_booster(wanted: Arrays, answers: Arrays) -> tuple[Arrays, Arrays]:
    """Return both sides of a booster in one form: where ONNX made a classifier, its probabilities."""
    import numpy

    if "probabilities" not in answers:
        return wanted, answers
    (found,) = wanted.values()
    both = found if found.ndim == 2 else numpy.vstack((1.0 - found, found)).T
    return {"probabilities": both}, {"probabilities": answers["probabilities"]}


def _shaped(array: Any, like: Any) -> Any:
    """Return one number a row as the original has it: ONNX gives a column."""
    if like is not None and array.shape == (*like.shape, 1):
        return array[..., 0]
    return array


def _note(store: Store, new: Entry, source: Entry, made: Converted) -> None:
    facts = made.to_json()
    statement = {
        "source": {"tag": str(source.tag), "digest": source.digest},
        "tools": facts["tools"],
        "check": {
            key: facts[key]
            for key in ("rows", "samples", "tolerance", "largest_difference", "where")
        },
    }
    store.attach(
        new,
        artifact_type=CONVERSION_TYPE,
        media_type=CONVERSION_TYPE,
        data=canonical_json(statement),
    )
