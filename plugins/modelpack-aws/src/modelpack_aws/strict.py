"""Checks a request against all that the service's own model says of it.

    ("sagemaker", "UpdateEndpoint", {...}) ──problems──► ["EndpointName: 64 characters, at most 63"]

botocore checks names, types, what is required and the least value.  Its models also hold
enumerations, patterns and the largest value, which the services check and botocore does not: a
request with ``ml.z9.big`` leaves the machine.  Here all of it counts, so that what is wrong is said
before anything is asked of AWS, and a stub in a test is nearly as strict as the service.

Not here: what depends on other resources, and rules between two members that no model holds.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelpack.errors import UsageError

# What Java writes otherwise than Python; letters and digits stand together wherever either is used.
_JAVA = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{Print}": r"[^\x00-\x1f\x7f]",
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",
}


def problems(service: str, operation: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters of an operation, such as ``CreateModel``.

    Raises UsageError for a service or an operation that botocore does not know.
    """
    shape = _input(service, operation)
    if shape is None:
        return ["it takes no parameters"] if parameters else []
    return list(_check(shape, parameters, ""))


def require(service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    """Raise UsageError when anything is wrong with the parameters."""
    found = problems(service, operation, parameters)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UsageError(f"{operation} would be refused: {found[0]}{more}")


def guard(client: Any) -> Any:
    """Have every call of a client of boto3 checked before it is sent; returns the client.

    The call raises UsageError then.  A ``Stubber`` of that client sees only what passed.
    """

    def check(params: Mapping[str, Any], model: Any, **_: Any) -> None:
        require(model.service_model.service_name, model.name, params)

    client.meta.events.register("before-parameter-build", check)
    return client


@functools.cache
def _model(service: str) -> Any:
    import botocore.exceptions
    import botocore.session

    try:
        return botocore.session.get_session().get_service_model(service)
    except botocore.exceptions.UnknownServiceError as cause:
        raise UsageError(f"AWS has no service '{service}'") from cause


def _input(service: str, operation: str) -> Any:
    import botocore.exceptions
    import botocore.model

    try:
        return _model(service).operation_model(operation).input_shape
    except botocore.model.OperationNotFoundError as cause:
        raise UsageError(f"'{service}' has no operation '{operation}'") from cause


def _check(shape: Any, value: Any, where: str) -> Iterator[str]:
    kind = shape.type_name
    check = _CHECKS.get(kind)
    if check is not None:
        yield from check(shape, value, where)


def _structure(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{where or 'it'}: must be members and values, got {_kind(value)}"
        return
    for name in shape.required_members:
        if name not in value:
            yield f"{_at(where, name)}: is required"
    for name, one in value.items():
        if name not in shape.members:
            yield f"{_at(where, name)}: there is no such member"
        else:
            yield from _check(shape.members[name], one, _at(where, name))
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"{where}: must have exactly one of its members, got {len(value)}"


def _list(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, list | tuple):
        yield f"{where}: must be a list, got {_kind(value)}"
        return
    yield from _bounds(shape, len(value), where, "items")
    for number, one in enumerate(value):
        yield from _check(shape.member, one, f"{where}[{number}]")


def _map(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{where}: must be keys and values, got {_kind(value)}"
        return
    yield from _bounds(shape, len(value), where, "entries")
    for key, one in value.items():
        yield from _check(shape.key, key, f"{where}, key '{key}'")
        yield from _check(shape.value, one, _at(where, str(key)))


def _string(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where}: must be text, got {_kind(value)}"
        return
    if shape.enum and value not in shape.enum:
        yield f"{where}: '{value}' is none of its {len(shape.enum)} values"
    yield from _bounds(shape, len(value), where, "characters")
    if text := shape.metadata.get("pattern"):
        pattern = _compiled(text)
        if pattern is not None and not pattern.fullmatch(value):
            yield f"{where}: '{value[:60]}' does not match {text[:80]}"


def _whole(shape: Any, value: Any, where: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        yield f"{where}: must be a whole number, got {_kind(value)}"
    else:
        yield from _bounds(shape, value, where, "")


def _number(shape: Any, value: Any, where: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"{where}: must be a number, got {_kind(value)}"
    else:
        yield from _bounds(shape, value, where, "")


def _boolean(_: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{where}: must be true or false, got {_kind(value)}"


def _blob(shape: Any, value: Any, where: str) -> Iterator[str]:
    if isinstance(value, bytes | bytearray | str):
        yield from _bounds(shape, len(value), where, "bytes")
    elif not hasattr(value, "read"):
        yield f"{where}: must be bytes, got {_kind(value)}"


_CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _whole,
    "long": _whole,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
    "blob": _blob,
}


def _bounds(shape: Any, size: float, where: str, unit: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    words = f"{size:g} {unit}".strip()
    if least is not None and size < least:
        yield f"{where}: {words}, at least {least}"
    if most is not None and size > most:
        yield f"{where}: {words}, at most {most}"


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern of Java for Python; None when it has no counterpart, and then says nothing."""
    for java, python in _JAVA.items():
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _kind(value: Any) -> str:
    return type(value).__name__
