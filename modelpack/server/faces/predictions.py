"""Answers as KServe v1 and TensorFlow Serving have them: predictions, outputs, classes, values.

    answer ──predictions──► [one an instance]       {"predictions": …}, {"explanations": …}
           ──outputs──────► value, or by name       {"outputs": …}
           ──classes──────► [[[label, score] …] …]  {"results": …} of classify
           ──values───────► [number …]              {"results": …} of regress

An answer that is an object (or a tuple) has named outputs: with several of them a prediction is an
object, with one it is the bare value.  Files are ``{"b64": "..."}``; with ``as_tensors`` so are the
texts of outputs whose name ends with ``_bytes``, and NaN and infinities are the tokens of that name,
which is no strict JSON (TensorFlow Serving, RESTful API).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelpack.sdk.api import ApiSpec
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue
from modelpack.sdk.values import Value
from modelpack.server.bodies.codecs import dump
from modelpack.server.faces.tensors import bare, output_name
from modelpack.server.problems import Problem, RefusedRequest

LABELS = frozenset({"label", "labels", "class", "classes", "output_label"})
"""Names of outputs that say which class it is."""

Rows = Sequence[Any]


def predictions(
    answer: Any, rows: int, *, is_each: bool = False, wanted: Sequence[str] = ()
) -> Rows | Any:
    """Return one prediction an instance; raises RefusedRequest (400) when the answer has no rows.

    is_each  the answer is a list with that of each instance, or that of the only one
    wanted   names of the outputs to give; empty: all
    """
    if is_each:
        answers = answer if rows > 1 else [answer]
        return [_only(_chosen(columns_of(one), wanted), one) for one in answers]
    columns = _chosen(columns_of(answer), wanted)
    if columns is None:
        return _with_rows(answer, rows)
    if len(columns) == 1:
        (column,) = columns.values()
        return _with_rows(column, rows)
    if any(_length(column) != rows for column in columns.values()):
        raise RefusedRequest(_no_rows())
    found = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in found]


def outputs(answer: Any) -> Any:
    """Return the whole answer, by the names of its outputs if there are several."""
    return _only(columns_of(answer), answer)


def classes(answer: Any, rows: int, *, is_each: bool = False) -> list[list[list[Any]]]:
    """Return labels with scores for each instance; raises RefusedRequest (400) when it has none."""
    return [_classes_of(row) for row in predictions(answer, rows, is_each=is_each)]


def values(answer: Any, rows: int, *, is_each: bool = False) -> list[Any]:
    """Return one number for each instance; raises RefusedRequest (400) when there is another thing."""
    return [_number_of(row) for row in predictions(answer, rows, is_each=is_each)]


def columns_of(answer: Any) -> dict[str, Any] | None:
    """Return named outputs; None: the answer has no names."""
    if isinstance(answer, Mapping) and not isinstance(answer, Packed):
        return {str(name): one for name, one in answer.items()} or None
    if isinstance(answer, tuple):
        return {output_name(i): one for i, one in enumerate(answer)} or None
    return None


def _chosen(columns: dict[str, Any] | None, wanted: Sequence[str]) -> dict[str, Any] | None:
    if columns is None or not wanted:
        return columns
    return {name: one for name, one in columns.items() if name in wanted} or columns


def _only(columns: dict[str, Any] | None, answer: Any) -> Any:
    if columns is None:
        return answer
    return next(iter(columns.values())) if len(columns) == 1 else columns


def _with_rows(column: Any, rows: int) -> Any:
    if _length(column) != rows:
        raise RefusedRequest(_no_rows())
    return column


def _length(column: Any) -> int:
    if isinstance(column, np.ndarray):
        return len(column) if column.ndim else -1
    return len(column) if isinstance(column, list) else -1


def _no_rows() -> Problem:
    detail = "the answer has not one row for each instance; send 'inputs' instead of 'instances'"
    return Problem(400, "bad-input", "the body does not fit the api", detail)


# --- classify and regress -----------------------------------------------------------------------


def _classes_of(row: Any) -> list[list[Any]]:
    if isinstance(row, Mapping):
        return _classes_of_object(row)
    if isinstance(row, str):
        return [[row, 1.0]]
    if isinstance(row, np.ndarray | list | tuple):
        scores = np.asarray(row)
        if scores.ndim == 1 and scores.size and scores.dtype.kind in "fiu":
            return [[str(index), score] for index, score in enumerate(list(scores))]
    elif isinstance(row, int | np.integer) and not isinstance(row, bool):
        return [[str(row), 1.0]]
    raise RefusedRequest(_other("classes: neither labels nor a score for each class"))


def _classes_of_object(row: Mapping[str, Any]) -> list[list[Any]]:
    label = next((one for name, one in row.items() if name in LABELS), None)
    others = [one for name, one in row.items() if name not in LABELS]
    scores = [one for one in others if isinstance(one, Mapping | np.ndarray | list)]
    if len(scores) == 1:
        return _classes_of(scores[0])
    if label is not None and not others:
        return _classes_of(label)
    if label is not None and len(others) == 1 and _is_number(others[0]):
        return [[str(label), others[0]]]
    if label is None and all(_is_number(one) for one in others):
        return [[name, one] for name, one in row.items()]
    raise RefusedRequest(_other("classes: neither labels nor a score for each class"))


def _number_of(row: Any) -> Any:
    one = row
    while isinstance(one, list | np.ndarray) and len(one) == 1:
        one = one[0]
    if _is_number(one):
        return one
    raise RefusedRequest(_other("values: more or less than one number for each instance"))


def _is_number(one: Any) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(one, kinds) and not isinstance(one, bool)


def _other(what: str) -> Problem:
    detail = f"this api does not answer {what}; use ':predict'"
    return Problem(400, "bad-input", "the api is of another kind", detail)


# --- bytes, NaN ---------------------------------------------------------------------------------


class Packed(dict[str, str]):
    """``{"b64": ...}``: one value, and no outputs by name."""


Pack = Callable[[Any], Any]


def packer(api: ApiSpec, *, as_tensors: bool) -> Pack | None:
    """Return what puts ``{"b64": ...}`` in the place of bytes in an answer; None: there are none."""
    return _packer(api.returns, "", as_tensors=as_tensors)


def _packer(value: Value, name: str, *, as_tensors: bool) -> Pack | None:
    value = bare(value)
    if value.is_file:
        return _pack_base64
    if isinstance(value, ListValue):
        pack = _packer(value.item, name, as_tensors=as_tensors)
        return None if pack is None else lambda answer: _each(pack, answer)
    if isinstance(value, ObjectValue):
        packs = {k: _packer(one, k, as_tensors=as_tensors) for k, one in value.fields.items()}
        found = {k: pack for k, pack in packs.items() if pack is not None}
        return (lambda answer: _by_name(found.get, answer)) if found else None
    if isinstance(value, MapValue) and as_tensors and not name:
        return lambda answer: _by_name(_packer_by_name, answer)
    return _pack_text if as_tensors and name.endswith("_bytes") else None


def _packer_by_name(name: str) -> Pack | None:
    return _pack_text if name.endswith("_bytes") else None


def _by_name(find: Callable[[str], Pack | None], answer: Any) -> Any:
    if not isinstance(answer, Mapping):
        return answer
    return {k: pack(one) if (pack := find(k)) else one for k, one in answer.items()}


def _each(pack: Pack, answer: Any) -> Any:
    return [pack(one) for one in answer] if isinstance(answer, list) else answer


def _pack_base64(answer: Any) -> Any:
    """A file is bytes as a whole answer, and base64 already inside of one."""
    if isinstance(answer, bytes):
        return Packed(b64=base64.b64encode(answer).decode())
    return Packed(b64=answer) if isinstance(answer, str) else answer


def _pack_text(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_pack_text(one) for one in answer]
    if isinstance(answer, str):
        return Packed(b64=base64.b64encode(answer.encode("utf-8", "surrogatepass")).decode())
    return answer


def dump_tokens(answer: Any) -> bytes:
    """Return JSON in which NaN and infinities are tokens; raises BadOutput."""
    if not _has_odd(answer):
        return dump(answer)
    return json.dumps(answer, default=_to_python, separators=(",", ":")).encode()


def _has_odd(answer: Any) -> bool:
    if isinstance(answer, np.ndarray):
        return answer.dtype.kind == "f" and not np.isfinite(answer).all()
    if isinstance(answer, float | np.floating):
        return not math.isfinite(answer)
    if isinstance(answer, Mapping):
        return any(map(_has_odd, answer.values()))
    return isinstance(answer, list | tuple) and any(map(_has_odd, answer))


def _to_python(one: Any) -> Any:
    # By their texts: float32 would else show digits that it does not have.
    if isinstance(one, np.ndarray):
        return (one.astype(str).astype(float) if one.dtype.kind == "f" else one).tolist()
    if isinstance(one, np.floating):
        return float(str(one))
    return json.loads(dump(one))
