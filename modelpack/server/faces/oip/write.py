"""Writes answers as named tensors, in JSON, in bytes, or some in the one and some in the other.

    answer ──OutputPorts.split──► tensors ──choose──► [classes] ──┬─ {"name", "datatype", "shape", "data"}
                                                                  └─ {… "binary_data_size"} + bytes behind

| tensor            | in JSON                                                              |
| ----------------- | -------------------------------------------------------------------- |
| numbers, booleans | flat, row by row; NaN and infinities are ``null``, unless the api says error |
| FP16              | as FP32: JSON has no numbers of 16 bits (KServe, binary extension)    |
| BYTES             | texts; where one is not UTF-8 all of them in base64, and said so by ``content_type`` |

With bytes the content type is ``application/octet-stream`` and ``Inference-Header-Content-Length``
says how long the JSON is (binary tensor data extension).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.errors import Issue
from modelpack.server.bodies.writers import Write
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.oip.data import BYTES, raw_bytes
from modelpack.server.faces.tensors import Named
from modelpack.server.problems import BadOutput, Headers, Problem, RefusedRequest

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

HEADER_LENGTH = b"inference-header-content-length"

_JSON, _BINARY = b"application/json", b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that a request asks for."""

    name: str
    is_binary: bool
    classes: int = 0
    """How many classes to name instead of giving the numbers; 0: the numbers."""


class AnswerWriter:
    """Writes the answers of one model."""

    def __init__(self, served: Served, version: str) -> None:
        names = orjson.dumps({"model_name": served.name, "model_version": version})
        self._begin = names[:-1]
        self._outputs = served.outputs
        self._refuses_nan = served.api.nan == "error"
        self._has_rows = served.api.batch is not None

    def writer(self, wanted: Sequence[Wanted] | None, id_: bytes, *, is_binary: bool) -> Write:
        """Return what writes the answers to requests that want the same.

        wanted      outputs, in their order; None: all, binary or not as ``is_binary`` says
        id_         comes back in the answer, as JSON; b"": none was given
        """
        begin = self._begin + (b',"id":' + id_ if id_ else b"") + b',"outputs":['
        if wanted is None and not is_binary:
            return partial(self._write_json, begin)
        return partial(self._write, begin, wanted, is_binary)

    def _write_json(self, begin: bytes, answer: Any) -> tuple[bytes, bytes, Headers]:
        parts = [self._in_json(one) for one in self._outputs.split(answer)]
        return _JSON, begin + b",".join(parts) + b"]}", ()

    def _write(
        self, begin: bytes, wanted: Sequence[Wanted] | None, is_binary: bool, answer: Any
    ) -> tuple[bytes, bytes, Headers]:
        found = self._outputs.split(answer)
        if wanted is None:
            chosen = [(one, is_binary) for one in found]
        else:
            chosen = self._chosen(wanted, {one.name: one for one in found})
        parts, behind = [], []
        for one, as_bytes in chosen:
            if as_bytes:
                self._check(one)
                data = raw_bytes(one.data)
                size = b',"parameters":{"binary_data_size":%d}}' % len(data)
                parts.append(_named(one.name, one.datatype, one.shape) + size)
                behind.append(data)
            else:
                parts.append(self._in_json(one))
        text = begin + b",".join(parts) + b"]}"
        if not behind:
            return _JSON, text, ()
        return _BINARY, b"".join([text, *behind]), ((HEADER_LENGTH, b"%d" % len(text)),)

    def _chosen(
        self, wanted: Sequence[Wanted], found: dict[str, Named]
    ) -> list[tuple[Named, bool]]:
        chosen = []
        for one in wanted:
            named = found.get(one.name)
            if named is None:
                known = ", ".join(f"'{name}'" for name in found)
                raise _refused(f"one of the outputs {known}", f"'{one.name[:60]}'")
            if one.classes:
                named = classes_of(named, one.classes, has_rows=self._has_rows)
            chosen.append((named, one.is_binary))
        return chosen

    def _in_json(self, one: Named) -> bytes:
        data = one.data
        if isinstance(data, list):
            return _texts_in_json(one, data)
        self._check(one)
        datatype = one.datatype
        if datatype == "FP16":
            data, datatype = data.astype(np.float32), "FP32"
        is_flat = data.ndim == 1 and data.flags.c_contiguous
        flat = data if is_flat else np.ascontiguousarray(data).reshape(-1)
        numbers = orjson.dumps(flat, None, orjson.OPT_SERIALIZE_NUMPY)
        return b'%b,"data":%b}' % (_named(one.name, datatype, one.shape), numbers)

    def _check(self, one: Named) -> None:
        data = one.data
        if (
            self._refuses_nan
            and not isinstance(data, list)
            and data.dtype.kind == "f"
            and not np.isfinite(data).all()
        ):
            raise BadOutput("the answer holds NaN or an infinity, and the api says nan='error'")


def classes_of(one: Named, most: int, *, has_rows: bool) -> Named:
    """Return the highest values of a tensor as ``value:index``, best first (classification).

    ``has_rows``: the first axis is the batch, and each row has classes of its own.  Of equal values
    the one with the lower index comes first.  Raises RefusedRequest (400) for texts.
    """
    data = one.data
    if isinstance(data, list):
        raise _refused(f"no classification of '{one.name[:60]}'", "one: it holds texts")
    rows = len(data) if has_rows and data.ndim else 1
    table: Array = data.reshape(rows, -1) if data.size else data.reshape(rows, 0)
    most = min(most, table.shape[1])
    best = np.argsort(-table.astype(np.float64), axis=1, kind="stable")[:, :most]
    is_float = table.dtype.kind == "f"
    found = [
        (f"{table[row, index]:f}:{index}" if is_float else f"{int(table[row, index])}:{index}")
        for row in range(rows)
        for index in best[row].tolist()
    ]
    shape = (rows, most) if has_rows else (most,)
    return Named(one.name, BYTES, shape, [text.encode() for text in found])


def _texts_in_json(one: Named, data: list[bytes]) -> bytes:
    note = b""
    try:
        texts = [text.decode() for text in data]
    except UnicodeDecodeError:
        texts = [base64.b64encode(text).decode() for text in data]
        note = b',"parameters":{"content_type":"base64"}'
    head = _named(one.name, BYTES, one.shape)
    return b'%b%b,"data":%b}' % (head, note, orjson.dumps(texts))


@lru_cache(maxsize=256)
def _named(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """Return the beginning of a tensor in JSON, open at its end."""
    return orjson.dumps({"name": name, "datatype": datatype, "shape": list(shape)})[:-1]


def _refused(expected: str, got: str) -> RefusedRequest:
    detail = f"/outputs: expected {expected}, got {got}"
    issues = (Issue("/outputs", expected, got),)
    return RefusedRequest(
        Problem(400, "bad-input", "the body does not fit the api", detail, issues)
    )
