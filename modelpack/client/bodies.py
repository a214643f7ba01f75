"""Arguments as bodies, and answers as values, in the server's own forms.

    arguments ──body_of(api)──┬─ one array alone        its bytes, dtype and shape in headers
                              ├─ one file alone         its bytes
                              ├─ a file and others      a form
                              └─ anything else          JSON

    reply ──value_of(api)──┬─ bytes with Modelpack-Dtype   an array
                           ├─ JSON                         by the schema: arrays, bytes, tuples
                           └─ a file                       bytes

Forms of the server: its reference page "HTTP".
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelpack.client import values
from modelpack.client.decoding import Schema
from modelpack.client.errors import CallError
from modelpack.client.reply import Reply
from modelpack.client.schema import BINARY, FORM, JSON, NPY, Api, Parameter

if TYPE_CHECKING:
    from modelpack.client.values import Array

_DTYPE, _SHAPE = "modelpack-dtype", "modelpack-shape"


@dataclass(frozen=True, slots=True)
class Body:
    """A body and what the head says of it."""

    content_type: str
    data: bytes | memoryview
    headers: Mapping[str, str] = field(default_factory=dict)


def body_of(api: Api, arguments: Mapping[str, Any]) -> Body:
    """Return the body for arguments, the shortest form that says all of them.

    Raises TypeError for what has no form at all; whether the values fit is the server's to say.
    """
    _check_paths(api, arguments)
    files = {
        p.name: found
        for p in api.parameters
        if p.is_file and (found := values.file_of(arguments.get(p.name))) is not None
    }
    if len(arguments) == 1 and (whole := api.whole) is not None and whole.name in arguments:
        if whole.name in files:
            return Body(BINARY, files[whole.name][0])
        dtype = whole.dtype or "str"
        array = values.array_of(arguments[whole.name], dtype)
        if array is not None:
            return _array_body(array, dtype)
    if files and FORM in api.bodies:
        return _form(api, arguments, files)
    return json_of(api, arguments)


def _check_paths(api: Api, arguments: Mapping[str, Any]) -> None:
    """Raise TypeError for the name of a file here where the file itself is wanted."""
    for one in api.parameters:
        value = arguments.get(one.name)
        if one.is_file and isinstance(value, str) and _names_a_file(value):
            raise TypeError(f"{api.name}: '{one.name}' is a file, give it as Path({value!r})")


def _names_a_file(text: str) -> bool:
    try:
        return len(text) < 4096 and os.path.isfile(text)  # noqa: PTH113 - not to be normalised
    except ValueError:
        return False


def json_of(api: Api, arguments: Mapping[str, Any]) -> Body:
    """Return the body for arguments as JSON; raises TypeError for what has no such form."""
    return Body(JSON, values.dump({name: _cast(api, name, one) for name, one in arguments.items()}))


def _cast(api: Api, name: str, value: Any) -> Any:
    """Return an array with the dtype of its parameter, so that it is written as that."""
    parameter = api.parameter(name)
    if parameter is None or not parameter.has_bytes:
        return value
    array = values.array_of(value, parameter.dtype or "str")
    return value if array is None else array


def _array_body(array: Array, dtype: str) -> Body:
    shape = ",".join(map(str, array.shape))
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    data = memoryview(little.data).cast("B") if little.size else b""
    return Body(BINARY, data, {_DTYPE: dtype, _SHAPE: shape})


def _form(api: Api, arguments: Mapping[str, Any], files: Mapping[str, tuple[bytes, str]]) -> Body:
    """Return a form of one part a parameter (RFC 7578)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for name, one in arguments.items():
        about = f'form-data; name="{_quoted(name)}"'
        kind = ""
        if name in files:
            data, file_name = files[name]
            about += f'; filename="{_quoted(file_name)}"'
            kind = "\r\ncontent-type: application/octet-stream"
        else:
            data = _part(api.parameter(name), _cast(api, name, one))
        head = f"--{boundary}\r\ncontent-disposition: {about}{kind}\r\n\r\n"
        parts += [head.encode(), data, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return Body(f"{FORM}; boundary={boundary}", b"".join(parts))


def _part(parameter: Parameter | None, value: Any) -> bytes:
    if isinstance(value, str) and parameter is not None and _takes_text(parameter.schema):
        return value.encode()
    return values.dump(value)


def _takes_text(schema: Schema) -> bool:
    return schema.get("type") == "string" or "enum" in schema


def _quoted(text: str) -> str:
    """Return a text as it stands between quotes in a part's head, as browsers write it."""
    for bad, good in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(bad, good)
    return text


def accept_of(api: Api) -> str:
    """Return the form in which the answer is wanted; "": the usual one."""
    return BINARY if _array_key(api) is not None else ""


def _array_key(api: Api) -> str | None:
    """Return under which key an answer has its one array, "" when it is the answer; None: nowhere."""
    if BINARY not in api.answers or JSON not in api.answers:
        return None
    if "x-dtype" in api.returns:
        return ""
    properties = api.returns.get("properties", {})
    return next(iter(properties)) if len(properties) == 1 else None


def value_of(api: Api, reply: Reply) -> Any:
    """Return the value that an answer is; raises CallError for one that cannot be read."""
    kind = reply.content_type
    if kind == JSON and (JSON in api.answers or api.is_stream):
        return piece_of(api, reply.body)
    if kind == BINARY and _DTYPE in reply.headers:
        key = _array_key(api)
        array = _to_array(reply)
        return {key: array} if key else array
    if kind in api.answers and kind not in (JSON, NPY):
        return bytes(reply.body)
    raise CallError(
        f"the answer of '{api.name}' is '{kind or 'of no type'}', not {' or '.join(api.answers)}",
        hint="something stands between us and the server, or its schema has changed",
    )


def piece_of(api: Api, body: bytes | bytearray) -> Any:
    """Return the value of JSON that is an answer, or a piece of one."""
    raw = raw_of(body)
    decode = api.decode
    try:
        return raw if decode is None else decode(raw)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CallError(
            f"the answer of '{api.name}' is not of the form that its schema says: {error}",
            hint="its schema may have changed: call 'reload'",
        ) from None


def raw_of(body: bytes | bytearray) -> Any:
    """Return parsed JSON as it is; raises CallError."""
    return values.load(body)


def _to_array(reply: Reply) -> Array:
    import numpy as np

    try:
        shape = tuple(map(int, filter(None, reply.headers.get(_SHAPE, "").split(","))))
        dtype = np.dtype(reply.headers[_DTYPE]).newbyteorder("<")
        # The body is ours alone: the array is a view of it that may be written to.
        array: Array = np.frombuffer(reply.body, dtype).reshape(shape)
    except (TypeError, ValueError) as error:
        raise CallError(f"the answer is no array: {error}") from None
    return array if sys.byteorder == "little" else array.astype(dtype.newbyteorder("="))
