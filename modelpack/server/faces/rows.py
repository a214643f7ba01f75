"""Instances and columns: how KServe v1, TensorFlow Serving and others hand over arguments.

    [instance, instance …]       ──from_instances──► Given(arguments, rows)      the row form
    value, or {"name": value}    ──from_columns────► Given(arguments, None)      the column form

An instance is an object of the api's parameters, or the bare value of the only one that is needed.

| the api                                        | instances become                                |
| ---------------------------------------------- | ----------------------------------------------- |
| has batches                                    | the rows of one call                            |
| has none, and an instance is one axis short    | the first axis of one call's arrays             |
| has none                                       | a call each, a few at a time (``spread``)       |

What always holds: values are checked as those of a native body are, nothing is cast, and what is
wrong is said with its place in the body.  ``{"b64": "..."}`` stands for bytes where text or a file is
wanted (TensorFlow Serving, RESTful API, "Encoding binary values").
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Arguments, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import StringValue, Value, describe
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.spread import Spread
from modelpack.server.faces.tensors import bare

Named = dict[str, Any]
"""Parsed JSON by the name of a parameter."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a request asks an api."""

    arguments: Arguments
    rows: int | None
    """How many instances came, each of which gets a prediction; None: no rows, the answer is one."""
    is_each: bool = False
    """True when each instance is a call of its own: the answer is ``All``, or that of the only one."""


def sole_parameter(api: ApiSpec, given: Mapping[str, Any] | None = None) -> Parameter | None:
    """Return the parameter that a bare value is for: the only one, else the only required one.

    ``given`` are values that stand elsewhere already.
    """
    left = [p for p in api.parameters if p.name not in (given or {})]
    if len(left) == 1:
        return left[0]
    required = [p for p in left if p.is_required]
    return required[0] if len(required) == 1 else None


def is_named(api: ApiSpec, raw: Any) -> bool:
    """Say whether an object has the api's parameters as its keys, all that are required."""
    if not isinstance(raw, dict):
        return False
    known = {p.name: p.is_required for p in api.parameters}
    return raw.keys() <= known.keys() and all(n in raw for n, needed in known.items() if needed)


def from_columns(api: ApiSpec, raw: Any, at: str = "/inputs") -> Given:
    """Return the one call that named values, or a bare one, are; raises InputError."""
    named = _plain(api, _named(api, raw, at))
    return Given(_decoded(api, named, "" if is_named(api, raw) else at), None)


def from_instances(
    endpoint: Endpoint,
    raw: Any,
    at: str = "/instances",
    common: Mapping[str, Any] | None = None,
    *,
    api: ApiSpec | None = None,
) -> Given:
    """Return what instances ask; raises InputError.

    at      JSON pointer of the instances, for errors
    common  values that stand beside the instances and hold for all of them
    api     how values are decoded; None: as for any body of the endpoint
    """
    api = api or endpoint.decodes
    if not isinstance(raw, list) or not raw:
        got = "an empty list" if raw == [] else describe(raw)
        raise InputError.at(at, "a list of instances", got)
    common = common or {}
    rows = [_plain(api, _named(api, one, f"{at}/{i}", common)) for i, one in enumerate(raw)]
    is_bare = not is_named(api, _merged(raw[0], common))
    if api.batch is None and not _is_short(api, rows[0]):
        return Given(_each(endpoint, api, rows, at, is_bare=is_bare), len(rows), is_each=True)
    joined = _joined(api, rows, at)
    try:
        arguments = _decoded(api, joined, at if is_bare else "")
    except InputError as error:
        raise error if is_bare else _placed(error, at) from None
    return Given(arguments, len(rows))


def _named(api: ApiSpec, raw: Any, at: str, common: Mapping[str, Any] | None = None) -> Named:
    """Return values by the name of their parameter; raises InputError."""
    common = common or {}
    if is_named(api, merged := _merged(raw, common)):
        named: Named = merged
        return named
    sole = sole_parameter(api, common)
    if sole is None:
        keys = ", ".join(f"'{p.name}'" for p in api.parameters) or "none"
        raise InputError.at(at, f"an object with the keys {keys}", describe(raw))
    return {**common, sole.name: raw}


def _merged(raw: Any, common: Mapping[str, Any]) -> Any:
    return {**common, **raw} if common and isinstance(raw, dict) else raw


def _is_short(api: ApiSpec, row: Named) -> bool:
    """Say whether an instance lacks just the first axis of the api's arrays, and is nothing else."""
    values = {p.name: bare(p.value) for p in api.parameters}
    for name, raw in row.items():
        value = values[name]
        if not isinstance(value, TensorValue) or not value.spec.shape:
            return False
        if axes_of(raw) != len(value.spec.shape) - 1:
            return False
    return bool(row)


def _each(
    endpoint: Endpoint, api: ApiSpec, rows: Sequence[Named], at: str, *, is_bare: bool
) -> Arguments:
    """Return the arguments of a call for each instance."""
    calls = []
    for index, row in enumerate(rows):
        place = f"{at}/{index}"
        try:
            calls.append(_decoded(api, row, place if is_bare else "").values)
        except InputError as error:
            raise error if is_bare else _moved(error, place) from None
    take = Spread(endpoint, calls) if len(calls) > 1 else None
    return Arguments(calls[0], 1, take=take)


def _joined(api: ApiSpec, rows: Sequence[Named], at: str) -> Named:
    """Return a native body of the instances: rows where there are rows, one value elsewhere."""
    with_rows = api.batched if api.batch is not None else tuple(rows[0])
    joined: Named = {}
    issues: list[Issue] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        missing = next((i for i, row in enumerate(rows) if name not in row), None)
        if missing is not None:
            issues.append(Issue(f"{at}/{missing}/{name}", "a value as in the others", "nothing"))
        elif name in with_rows:
            joined[name] = [row[name] for row in rows]
        else:
            joined[name] = rows[0][name]
            for index, row in enumerate(rows):
                if row[name] != joined[name] or type(row[name]) is not type(joined[name]):
                    expected = "the same value in every instance: it has no rows"
                    issues.append(Issue(f"{at}/{index}/{name}", expected, describe(row[name])))
                    break
    if issues:
        raise InputError.of(issues)
    return joined


def _decoded(api: ApiSpec, named: Named, at: str) -> Arguments:
    """Return the arguments; ``at`` is where a bare value stands, "" when keys name them."""
    if not at:
        return api.decode(named)
    try:
        return api.decode(named)
    except InputError as error:
        sole = sole_parameter(api)
        head = f"/{sole.name}" if sole is not None else ""
        raise InputError.of([
            replace(one, pointer=at + one.pointer.removeprefix(head)) for one in error.issues
        ]) from None  # fmt: skip


def _moved(error: InputError, place: str) -> InputError:
    return InputError.of([replace(one, pointer=place + one.pointer) for one in error.issues])


def _placed(error: InputError, at: str) -> InputError:
    """Put the row of ``/name/row/rest`` first: ``/instances/row/name/rest``."""
    issues = []
    for one in error.issues:
        name, _, rest = one.pointer.removeprefix("/").partition("/")
        row, slash, inner = rest.partition("/")
        pointer = f"{at}/{row}/{name}{slash}{inner}" if row else f"{at}/*/{name}"
        issues.append(replace(one, pointer=pointer))
    return InputError.of(issues)


def _plain(api: ApiSpec, named: Named) -> Named:
    """Replace ``{"b64": ...}`` where bytes or text are wanted."""
    return {
        name: _unpacked(value, named[name])
        for name, value in ((p.name, p.value) for p in api.parameters)
        if name in named
    }


def _unpacked(value: Value, raw: Any) -> Any:
    item = bare(value)
    while isinstance(item, ListValue):
        item = bare(item.item)
    is_text = isinstance(item, StringValue) or (
        isinstance(item, TensorValue) and item.spec.dtype == "str"
    )
    return _unpack(raw, is_text=is_text) if is_text or item.is_file else raw


def _unpack(raw: Any, *, is_text: bool) -> Any:
    if isinstance(raw, list):
        return [_unpack(one, is_text=is_text) for one in raw]
    if isinstance(raw, dict) and raw.keys() == {"b64"} and isinstance(raw["b64"], str):
        try:
            data = base64.b64decode(raw["b64"], validate=True)
            return data.decode() if is_text else data
        except (binascii.Error, ValueError):
            return raw  # the parameter says what it expects
    return raw


def axes_of(raw: Any) -> int:
    """Return how deep lists are nested, read along the first elements."""
    axes = 0
    while isinstance(raw, list):
        axes += 1
        if not raw:
            break
        raw = raw[0]
    return axes
