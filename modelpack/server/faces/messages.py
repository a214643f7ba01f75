"""Messages of Seldon Core v1: what is in one, and what its answer looks like.

    {"meta", one of data, jsonData, strData, binData} ──read──► Arguments
                         answer ──► {"meta", one of the same}

| in the message                | for the api                                                    |
| ----------------------------- | -------------------------------------------------------------- |
| data.ndarray, data.tensor     | its only parameter, or a column a parameter where names say so |
| jsonData                      | a native body, or the value of its only parameter              |
| strData, binData              | its only parameter, a text or a file                           |

An answer of numbers has the form that the data came in, else ``tensor``; other lists are ``ndarray``,
objects ``jsonData`` (Seldon Core, ``construct_response``).  Values of a ``tensor`` are doubles there: whole
ones are taken for integers.  ``tftensor`` is refused: it is TensorFlow's own message.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.sdk.examples import example_answer
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import describe
from modelpack.server.bodies import codecs
from modelpack.server.faces import predictions
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.handled import is_row_of, row_of
from modelpack.server.faces.rows import (
    Given,
    axes_of,
    from_columns,
    from_instances,
    sole_parameter,
)
from modelpack.server.faces.tensors import bare
from modelpack.server.problems import Headers

KINDS = ("data", "jsonData", "strData", "binData")
"""What may be in a message, one at a time."""

_FORMS = ("ndarray", "tensor", "tftensor")
_MOST_AXES = 32


class Messages:
    """Reads and writes the messages of one api."""

    def __init__(self, served: Served, tag: str) -> None:
        """``tag`` is said as the path that a message took."""
        self._served = served
        self._tag = tag

    def read(self, body: bytes) -> Arguments:
        """Return the arguments of a message; raises BadJson and InputError."""
        message = codecs.parse(body)
        try:
            return self._read(message)
        except (InputError, RecursionError):
            codecs.check_depth(message)
            raise

    def _read(self, message: Any) -> Arguments:
        kind = kind_of(message)
        meta = _meta_of(message)
        form, is_row = "tensor", False
        if kind == "data":
            form, given = self._of_data(message["data"])
        elif kind == "jsonData":
            given = from_columns(self._api, message[kind], "/jsonData")
        else:
            raw = message[kind] if kind == "strData" else {"b64": message[kind]}
            if not isinstance(message[kind], str):
                raise InputError.at(f"/{kind}", "a string", describe(message[kind]))
            sole = sole_parameter(self._api)
            is_row = sole is not None and self._api.batch is not None and is_row_of(sole, raw)
            given = from_columns(self._api, [raw] if is_row else raw, f"/{kind}")

        def write(answer: Any) -> tuple[bytes, bytes, Headers]:
            if is_row:
                value = row_of(answer)
            else:  # what was asked as an object is answered as one
                value = answer if kind == "jsonData" else _value_of(answer, given)
            reply = {"meta": self._meta(meta), **_payload(value, form)}
            return b"application/json", self._served.endpoint.writer.dump(reply), ()

        given.arguments.write = write
        return given.arguments

    def example(self) -> Any:
        """Return the message that answers the api's own example; None: its types do not tell."""
        answer = example_answer(self._served.api)
        if answer is None:
            return None
        reply = {"meta": self._meta({"puid": "example"}), **_payload(answer, "tensor")}
        return orjson.loads(codecs.dump(reply))

    @property
    def _api(self) -> ApiSpec:
        return self._served.endpoint.decodes

    def _of_data(self, data: Any) -> tuple[str, Given]:
        """Return the form of ``data`` and what it gives."""
        if not isinstance(data, dict):
            raise InputError.at("/data", "an object", describe(data))
        found = [form for form in _FORMS if form in data]
        if len(found) != 1 or found == ["tftensor"]:
            got = " and ".join(f"'{one}'" for one in found) or "neither"
            raise InputError.at("/data", "either 'ndarray' or 'tensor'", got)
        (form,) = found
        at = f"/data/{form}"
        raw = data[form] if form == "ndarray" else self._unfolded(data[form], at)
        if not isinstance(raw, list):
            raise InputError.at(at, "a list", describe(raw))
        return form, self._of_array(raw, data.get("names"), at)

    def _of_array(self, raw: list[Any], names: Any, at: str) -> Given:
        api, endpoint = self._api, self._served.endpoint
        known = [p.name for p in api.parameters]
        if isinstance(names, list) and len(known) > 1 and sorted(map(str, names)) == sorted(known):
            for index, row in enumerate(raw):
                if not isinstance(row, list) or len(row) != len(names):
                    expected = f"a list of {len(names)}, one for each name"
                    raise InputError.at(f"{at}/{index}", expected, describe(row))
            rows = [dict(zip(map(str, names), row, strict=True)) for row in raw]
            return from_instances(endpoint, rows, at)
        sole = sole_parameter(api)
        value = bare(sole.value) if sole is not None else None
        shape = value.spec.shape if isinstance(value, TensorValue) else None
        fits = shape is not None and len(shape) == axes_of(raw)
        if api.batch is not None or fits:
            return from_columns(api, raw, at)
        return from_instances(endpoint, raw, at)

    def _unfolded(self, tensor: Any, at: str) -> Any:
        """Return a tensor as nested lists."""
        if not isinstance(tensor, dict):
            raise InputError.at(at, "an object with 'shape' and 'values'", describe(tensor))
        shape, values = tensor.get("shape"), tensor.get("values")
        if not isinstance(values, list) or not values:  # of nothing any shape could be claimed
            got = "an empty list" if values == [] else describe(values)
            raise InputError.at(f"{at}/values", "a list of values", got)
        if not isinstance(shape, list) or not all(
            isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in shape
        ):
            raise InputError.at(f"{at}/shape", "a list of lengths", describe(shape))
        if not 0 < len(shape) <= _MOST_AXES or math.prod(shape) != len(values):
            expected = f"a shape for {len(values)} values"
            raise InputError.at(f"{at}/shape", expected, str(shape)[:60])
        flat = np.empty(len(values), dtype=object)
        flat[:] = _whole(values) if self._takes_integers else values
        return flat.reshape(shape).tolist()

    @property
    def _takes_integers(self) -> bool:
        sole = sole_parameter(self._api)
        value = bare(sole.value) if sole is not None else None
        return isinstance(value, TensorValue) and "int" in value.spec.dtype

    def _meta(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        puid = meta.get("puid") or uuid.uuid4().hex
        return {
            "puid": puid,
            "tags": meta.get("tags") or {},
            "routing": {},
            "requestPath": {self._served.name: self._tag},
            "metrics": [],
        }


def kind_of(message: Any) -> str:
    """Return what is in a message; raises InputError unless it is just one thing."""
    if not isinstance(message, dict):
        raise InputError.at("", "a message: an object", describe(message))
    found = [kind for kind in KINDS if kind in message]
    if len(found) != 1:
        got = " and ".join(f"'{one}'" for one in found) or "none of them"
        raise InputError.at("", f"one of {', '.join(KINDS)}", got)
    return found[0]


def check_feedback(body: bytes) -> float:
    """Return the reward that feedback gives; raises BadJson and InputError."""
    message = codecs.parse(body)
    if not isinstance(message, dict):
        raise InputError.at("", "feedback: an object", describe(message))
    for key in ("request", "response", "truth"):
        if not isinstance(message.get(key, {}), dict):
            raise InputError.at(f"/{key}", "a message: an object", describe(message[key]))
    reward = message.get("reward", 0.0)
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise InputError.at("/reward", "a number", describe(reward))
    return float(reward)


def _meta_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = {} if message.get("meta") is None else message["meta"]
    if not isinstance(meta, dict):
        raise InputError.at("/meta", "an object", describe(meta))
    for name, kind, expected in (("puid", str, "a string"), ("tags", dict, "an object")):
        if not isinstance(meta.get(name, kind()), kind):
            raise InputError.at(f"/meta/{name}", expected, describe(meta[name]))
    return meta


def _value_of(answer: Any, given: Given) -> Any:
    if given.rows is None:
        return predictions.outputs(answer)
    return predictions.predictions(answer, given.rows, is_each=given.is_each)


def _payload(value: Any, form: str) -> dict[str, Any]:
    """Return the part of a message that an answer is."""
    if isinstance(value, str):
        return {"strData": value}
    if isinstance(value, bytes):
        return {"binData": base64.b64encode(value).decode()}
    if not isinstance(value, np.ndarray | list):
        return {"jsonData": value}
    array = _numbers(value)
    if array is None:
        return {"data": {"names": [], "ndarray": value}}
    names = [f"t:{i}" for i in range(array.shape[1])] if array.ndim > 1 else []
    if form == "ndarray":
        return {"data": {"names": names, "ndarray": array}}
    tensor = {"shape": list(array.shape), "values": np.ascontiguousarray(array).reshape(-1)}
    return {"data": {"names": names, "tensor": tensor}}


def _numbers(value: Any) -> Any:
    """Return numbers as an array; None: there is something else among them."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "fiu" else None


def _whole(values: list[Any]) -> list[Any]:
    return [int(one) if isinstance(one, float) and one.is_integer() else one for one in values]
