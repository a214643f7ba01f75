"""Holds what is sent against the services' own models, as Azure's Python clients ship them.

    problems("ContainerApp", body)                  azure.mgmt.appcontainers.types      (2026-07-01)
    problems("OnlineDeployment", body)              azure.mgmt.machinelearningservices  (2023-04-01)
        ──► ["properties.template.scale.minReplicas: must be a whole number, got '1'", …]

The clients themselves check little: an unknown field is dropped or sent on, an enumeration takes any
text.  Here a field that the model does not have is a problem, and so are a wrong type, a word that is
none of an enumeration, a field that is missing, one that Azure alone may set, and a text that does not
have the form that the model asks for.

A plan is checked so before it is shown, so a mistake of ours never gets as far as Azure.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any

from modelpack.errors import RefusedError
from modelpack_azure.arm import Json

_DURATION = re.compile(r"P(?!$)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")


def require(model: str, body: Json) -> Json:
    """Return the body; raises RefusedError for the first thing that the model does not take."""
    found = problems(model, body)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise RefusedError(
            f"{model} is not what Azure takes: {found[0]}{more}",
            hint="nothing was sent; this is a mistake of the plugin, please report it",
        )
    return body


def problems(model: str, body: Json) -> list[str]:
    """Return everything in a body that the model of that name does not take."""
    if hasattr(_apps(), model):
        return list(_typed(getattr(_apps(), model), body, ""))
    return list(_mapped(getattr(_ml(), model), body, ""))


# Container Apps: typed dictionaries.


@cache
def _apps() -> Any:
    from azure.mgmt.appcontainers import types

    return types


@cache
def _hints(model: Any) -> dict[str, Any]:
    """Return the fields of a typed dictionary with their types, names of enumerations resolved."""
    from azure.mgmt.appcontainers import models

    known = {**vars(models), **vars(_apps())}
    found: dict[str, Any] = {}
    for base in reversed(model.__mro__ if hasattr(model, "__mro__") else [model]):
        found |= typing.get_type_hints(base, known, include_extras=True)
    return found


@cache
def _read_only(model: Any) -> frozenset[str]:
    """Return the fields that Azure alone sets, as the client's classes know them."""
    from azure.mgmt.appcontainers import models

    twin = getattr(models, model.__name__, None)
    if twin is None:
        return frozenset()
    twin.__new__(twin, {})  # a class of the client learns its fields with its first instance
    fields = getattr(twin, "_attr_to_rest_field", {})
    return frozenset(
        one._rest_name for one in fields.values() if getattr(one, "_visibility", None) == ["read"]
    )


def _typed(kind: Any, value: Any, at: str) -> Iterator[str]:
    origin = typing.get_origin(kind)
    if origin is typing.Union:
        yield from _any_of(typing.get_args(kind), value, at)
    elif str(origin).endswith(("Required", "NotRequired")):
        yield from _typed(typing.get_args(kind)[0], value, at)
    elif origin is list:
        if not isinstance(value, list):
            yield _wrong(at, "a list", value)
            return
        for number, one in enumerate(value):
            yield from _typed(typing.get_args(kind)[0], one, f"{at}[{number}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield _wrong(at, "an object", value)
            return
        for key, one in value.items():
            yield from _typed(typing.get_args(kind)[1], one, _below(at, key))
    elif isinstance(kind, type) and hasattr(kind, "__total__"):
        yield from _object(kind, value, at)
    else:
        yield from _plain(kind, value, at)


def _object(kind: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong(at, "an object", value)
        return
    fields = _hints(kind)
    for key, one in value.items():
        if key not in fields:
            yield f"{_below(at, key)}: '{kind.__name__}' has no such field"
        elif key in _read_only(kind):
            yield f"{_below(at, key)}: Azure alone sets it"
        else:
            yield from _typed(fields[key], one, _below(at, key))
    for key, hint in fields.items():
        if key not in value and str(typing.get_origin(hint)).endswith(".Required"):
            yield f"{_below(at, key)}: is missing"


def _any_of(kinds: tuple[Any, ...], value: Any, at: str) -> Iterator[str]:
    """Text together with an enumeration means the words of the enumeration."""
    words = [one for one in kinds if isinstance(one, type) and issubclass(one, Enum)]
    if words:
        yield from _word(words[0], value, at)
        return
    found = [list(_typed(one, value, at)) for one in kinds]
    if all(found):
        yield found[0][0]


# Azure Machine Learning: classes with a map of attributes.


@cache
def _ml() -> Any:
    from azure.mgmt.machinelearningservices import models

    return models


_ML_WORDS = {
    ("OnlineEndpointProperties", "authMode"): "EndpointAuthMode",
    ("OnlineEndpointProperties", "publicNetworkAccess"): "PublicNetworkAccessType",
    ("ManagedOnlineDeployment", "egressPublicNetworkAccess"): "EgressPublicNetworkAccessType",
    ("EnvironmentVersionProperties", "osType"): "OperatingSystemType",
    ("ManagedServiceIdentity", "type"): "ManagedServiceIdentityType",
}
"""Fields whose words the classes name in their text alone."""


def _mapped(kind: Any, value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong(at, "an object", value)
        return
    kind = _subtype(kind, value)
    fields = {one["key"]: (name, one["type"]) for name, one in kind._attribute_map.items()}
    rules: Mapping[str, Any] = kind._validation
    for key, one in value.items():
        if key not in fields:
            yield f"{_below(at, key)}: '{kind.__name__}' has no such field"
            continue
        name, type_name = fields[key]
        rule = rules.get(name, {})
        if rule.get("readonly"):
            yield f"{_below(at, key)}: Azure alone sets it"
        elif (kind.__name__, key) in _ML_WORDS:
            yield from _word(getattr(_ml(), _ML_WORDS[kind.__name__, key]), one, _below(at, key))
        else:
            yield from _of_type(type_name, one, _below(at, key))
            yield from _of_rule(rule, one, _below(at, key))
    for key, (name, _) in fields.items():
        if rules.get(name, {}).get("required") and key not in value:
            yield f"{_below(at, key)}: is missing"


def _subtype(kind: Any, value: Mapping[str, Any]) -> Any:
    """Return the class that a word in the value itself chooses, such as ``Managed``."""
    for name, classes in getattr(kind, "_subtype_map", {}).items():
        word = value.get(kind._attribute_map[name]["key"])
        if word in classes:
            return getattr(_ml(), classes[word])
    return kind


def _of_type(name: str, value: Any, at: str) -> Iterator[str]:
    if name.startswith("["):
        if not isinstance(value, list):
            yield _wrong(at, "a list", value)
            return
        for number, one in enumerate(value):
            yield from _of_type(name[1:-1], one, f"{at}[{number}]")
    elif name.startswith("{"):
        if not isinstance(value, dict):
            yield _wrong(at, "an object", value)
            return
        for key, one in value.items():
            yield from _of_type(name[1:-1], one, _below(at, key))
    elif name == "duration":
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            yield _wrong(at, "a duration such as PT30S", value)
    elif name in ("str", "int", "bool", "float"):
        yield from _plain({"str": str, "int": int, "bool": bool, "float": float}[name], value, at)
    else:
        yield from _mapped(getattr(_ml(), name), value, at)


def _of_rule(rule: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    pattern = rule.get("pattern")
    if pattern and isinstance(value, str) and not re.search(pattern, value):
        yield _wrong(at, f"text with {pattern}", value)
    if isinstance(value, str) and len(value) < int(rule.get("min_length") or 0):
        yield f"{at}: is too short"


# Both.


def _word(words: Any, value: Any, at: str) -> Iterator[str]:
    allowed = [str(one.value) for one in words]
    if value not in allowed:
        yield _wrong(at, f"one of {', '.join(allowed)}", value)


def _plain(kind: Any, value: Any, at: str) -> Iterator[str]:
    if kind is Any or kind is object:
        return
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield from _word(kind, value, at)
    elif kind is bool:
        if not isinstance(value, bool):
            yield _wrong(at, "true or false", value)
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool):
            yield _wrong(at, "a whole number", value)
    elif kind is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            yield _wrong(at, "a number", value)
    elif kind is str and not isinstance(value, str):
        yield _wrong(at, "text", value)


def _wrong(at: str, what: str, value: Any) -> str:
    return f"{at or 'the body'}: must be {what}, got {value!r:.60}"


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else str(key)
