"""Bodies and answers as a handler of TorchServe sees them: one item, whatever form it came in.

    JSON   {"x": …}, a native body         ──► the answer as it is
           {"instances": […]}               ──► {"predictions": […]}
           value, {"data": v}, {"body": v} ─┐
    form   parts data, body ────────────────┤──► the only parameter; its answer
    bytes  a file, a text, JSON ────────────┘

For an api with batches a value may be one row (the answer is then that of the row) or several.  The
answer is sent as a handler's is: text as text, bytes as bytes, all else as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Arguments, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import StringValue, Value
from modelpack.sdk.whole import alone
from modelpack.server.bodies import codecs, forms
from modelpack.server.bodies.writers import Write
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces import predictions
from modelpack.server.faces.rows import (
    axes_of,
    from_columns,
    from_instances,
    is_named,
    sole_parameter,
)
from modelpack.server.faces.tensors import bare
from modelpack.server.problems import Headers

_WRAPPERS = ("data", "body")
"""Keys and parts that stand for the item itself."""


class Handled:
    """Reads the bodies of one request head."""

    def __init__(self, endpoint: Endpoint, write: Write) -> None:
        """``write`` is how a native answer is written."""
        self._endpoint = endpoint
        self._write = write

    @property
    def _api(self) -> ApiSpec:
        return self._endpoint.decodes

    def read_json(self, body: bytes) -> Arguments:
        """Return the arguments of a JSON body; raises BadJson and InputError."""
        message = codecs.parse(body)
        try:
            return self._of_message(message)
        except (InputError, RecursionError):
            codecs.check_depth(message)
            raise

    def read_bytes(self, body: bytes) -> Arguments:
        """Return the arguments of a body that says nothing of itself."""
        whole = alone(self._api)
        if whole is not None and whole.value.is_file:
            return self._answered(self._api.decode({whole.name: body}))
        sole = sole_parameter(self._api)
        if sole is not None and _takes_text(sole.value):
            try:
                return self._of_value(body.decode(), f"/{sole.name}")
            except UnicodeDecodeError:
                at, got = f"/{sole.name}", f"{len(body)} other bytes"
                raise InputError.at(at, "a text in UTF-8", got) from None
        return self.read_json(body)

    def read_fields(self, body: bytes) -> Arguments:
        """Return the arguments of a form of names and values, or of JSON that claims to be one."""
        if body.lstrip()[:1] in (b"{", b"[") or b"=" not in body:
            return self.read_bytes(body)
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=forms.MAX_PARTS)
        except ValueError as error:
            issue = Issue("", "a form of names and values", str(error)[:100])
            raise InputError(f"the form is malformed: {issue.got}", issues=[issue]) from None
        return self.read_parts({name: value.encode() for name, value in pairs})

    def read_parts(self, parts: Mapping[str, bytes]) -> Arguments:
        """Return the arguments of a form's parts; raises InputError."""
        known = [p.name for p in self._api.parameters]
        if len(parts) == 1:
            ((name, data),) = parts.items()
            if name in _WRAPPERS and name not in known:
                return self.read_bytes(data)
        return self._answered(forms.read_parts(self._api, parts))

    def _of_message(self, message: Any) -> Arguments:
        api = self._api
        if is_named(api, message):
            return self._answered(from_columns(api, message, "").arguments)
        if isinstance(message, dict):
            if "instances" in message:
                return self._of_instances(message["instances"])
            if len(message) == 1 and (wrapper := next(iter(message))) in _WRAPPERS:
                return self._of_value(message[wrapper], f"/{wrapper}")
            sole = sole_parameter(api)
            if sole is None or isinstance(bare(sole.value), TensorValue | ListValue):
                return self._answered(api.decode(message))  # which says what is wrong
        return self._of_value(message, "")

    def _of_instances(self, instances: Any) -> Arguments:
        given = from_instances(self._endpoint, instances)
        rows, is_each = given.rows or 0, given.is_each

        def write(answer: Any) -> tuple[bytes, bytes, Headers]:
            found = predictions.predictions(answer, rows, is_each=is_each)
            return b"application/json", self._endpoint.writer.dump({"predictions": found}), ()

        given.arguments.write = write
        return given.arguments

    def _of_value(self, value: Any, at: str) -> Arguments:
        """Return the arguments of a value for the only parameter."""
        sole = sole_parameter(self._api)
        is_row = sole is not None and self._api.batch is not None and is_row_of(sole, value)
        raw = [value] if is_row else value
        arguments = from_columns(self._api, raw, at).arguments
        return self._answered(arguments, is_row=is_row)

    def _answered(self, arguments: Arguments, *, is_row: bool = False) -> Arguments:
        write = self._write

        def write_item(answer: Any) -> tuple[bytes, bytes, Headers]:
            item = row_of(answer) if is_row else answer
            if isinstance(item, str):
                return b"text/plain; charset=utf-8", item.encode("utf-8", "replace"), ()
            return write(item)

        if not self._endpoint.api.is_stream:
            arguments.write = write_item
        return arguments


def is_row_of(parameter: Parameter, raw: Any) -> bool:
    """Say whether a value is one row of a parameter with rows."""
    value = bare(parameter.value)
    if isinstance(value, TensorValue):
        shape = value.spec.shape
        return axes_of(raw) == (0 if shape is None else len(shape) - 1)
    return isinstance(value, ListValue) and not isinstance(raw, list)


def row_of(answer: Any) -> Any:
    """Return the only row of an answer, in the form that the answer has."""
    if isinstance(answer, tuple):
        return [column[0] for column in answer]
    columns = predictions.columns_of(answer)
    if columns is not None:
        return {name: column[0] for name, column in columns.items()}
    if isinstance(answer, np.ndarray | list) and len(answer) == 1:
        return answer[0]
    return answer


def _takes_text(value: Value) -> bool:
    value = bare(value)
    if isinstance(value, ListValue):
        value = bare(value.item)
    return isinstance(value, StringValue) or (
        isinstance(value, TensorValue) and value.spec.dtype == "str"
    )
