"""``tensorflow.Example`` as instances: an object of the api's parameters for each example.

    Input(examples, context) ──instances_of──► [{"x": [0.5, 0.25]}, …], what all of them share
                                   └── with faces.rows ──given_of──► Given(arguments, rows)

A feature is a list without axes.  It becomes what one row of its parameter is: a bare value, a list,
or an array of the axes behind the first one.  Features have three kinds alone: ``int64_list`` is for
whole numbers, for floats and, as 0 and 1, for bool; ``bytes_list`` for files and for texts in UTF-8.
Features that no parameter has are refused, as unknown keys of JSON are.
tensorflow/core/example/example.proto, tensorflow_serving/apis/input.proto
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.tensor import Dim, TensorValue
from modelpack.sdk.values import BoolValue, Issues, Value
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.rows import Given, from_instances
from modelpack.server.faces.tensors import bare
from modelpack.server.faces.tokens import with_tokens
from modelpack.server.grpc.messages import Message

AT = "/examples"
CONTEXT = "/context"

Values = dict[str, Any]


def given_of(served: Served, message: Message) -> Given:
    """Return what an ``Input`` asks of an api; raises InputError with every issue."""
    endpoint = served.endpoint
    api = endpoint.decodes
    instances, context = instances_of(api, message)
    if any(map(_is_odd, (context, *instances))):
        if api.nan == "error":
            raise InputError.at(AT, "finite numbers", "NaN or an infinity")
        api = with_tokens(api)
    return from_instances(endpoint, instances, AT, context, api=api)


def instances_of(api: ApiSpec, message: Message) -> tuple[list[Values], Values]:
    """Return the examples as objects, and what they share; raises InputError with every issue."""
    kind = message.WhichOneof("kind")
    given = getattr(message, kind) if kind else message.example_list
    issues: Issues = []
    context: Values = {}
    if kind == "example_list_with_context":
        context = _object(api, given.context, CONTEXT, issues)
    instances = [
        _object(api, example, f"{AT}/{index}", issues)
        for index, example in enumerate(given.examples)
    ]
    required = [one.name for one in api.parameters if one.is_required and one.name not in context]
    for index, instance in enumerate(instances):
        for name in required:
            if name not in instance:
                issues.append(Issue(f"{AT}/{index}/{name}", "a feature", "nothing"))
    if issues:
        raise InputError.of(issues)
    return instances, context


def _object(api: ApiSpec, example: Message, at: str, issues: Issues) -> Values:
    """Return the features of an example by the names of their parameters."""
    known = {one.name: one for one in api.parameters}
    found: Values = {}
    for name, feature in example.features.feature.items():
        place = f"{at}/{name[:60]}"
        if name not in known:
            names = ", ".join(f"'{one}'" for one in known) or "none"
            issues.append(Issue(place, f"only the features {names}", "an unknown feature"))
        elif feature.WhichOneof("kind") is not None:  # else it is not there
            found[name] = _value(api, known[name], feature, place, issues)
    return found


def _value(api: ApiSpec, parameter: Parameter, feature: Message, at: str, issues: Issues) -> Any:
    """Return what a feature is for a parameter; ``decode`` says later what is wrong with it."""
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value)
    element = _element(parameter.value)
    if kind == "bytes_list" and not element.is_file:
        try:
            values = [one.decode() for one in values]
        except UnicodeDecodeError:
            issues.append(Issue(at, "texts in UTF-8", "other bytes"))
    elif kind == "int64_list" and _is_bool(element) and set(values) <= {0, 1}:
        values = list(map(bool, values))
    return _shaped(values, row_axes(api, parameter))


def row_axes(api: ApiSpec, parameter: Parameter) -> Sequence[Dim]:
    """Return the axes that one example gives of a parameter; none: it gives a single value."""
    value = bare(parameter.value)
    has_rows = parameter.name in api.batched
    if isinstance(value, ListValue) and has_rows:
        value, has_rows = bare(value.item), False
    if isinstance(value, TensorValue):
        shape = value.spec.shape
        if shape is None:
            return (None,)
        # Without batches the examples are the first axis of one call, if that is of any length.
        is_first = len(shape) > 1 and not isinstance(shape[0], int) and api.batch is None
        return shape[1:] if has_rows or is_first else shape
    return (None,) if isinstance(value, ListValue) else ()


def _shaped(values: list[Any], axes: Sequence[Dim]) -> Any:
    """Put a list into axes, of which one may be of any length; as it is when it does not fit."""
    if not axes:
        return values[0] if len(values) == 1 else values
    known = math.prod(one for one in axes if isinstance(one, int))
    free = sum(not isinstance(one, int) for one in axes)
    if not values or not known or len(values) % known or free > 1:
        return values
    if not free and len(values) != known:
        return values
    lengths = [one if isinstance(one, int) else len(values) // known for one in axes]
    for length in reversed(lengths[1:]):
        values = [values[at : at + length] for at in range(0, len(values), length)]
    return values


def _element(value: Value) -> Value:
    value = bare(value)
    while isinstance(value, ListValue):
        value = bare(value.item)
    return value


def _is_bool(value: Value) -> bool:
    return isinstance(value, BoolValue) or (
        isinstance(value, TensorValue) and value.spec.dtype == "bool"
    )


def _is_odd(instance: Mapping[str, Any] | Sequence[Any] | Any) -> bool:
    """Say whether a number that no JSON has is in there."""
    if isinstance(instance, Mapping):
        return any(map(_is_odd, instance.values()))
    if isinstance(instance, list):
        return any(map(_is_odd, instance))
    return isinstance(instance, float) and not math.isfinite(instance)
