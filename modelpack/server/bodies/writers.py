"""Writes answers in the form that the client asked for.

    answer ──┬─ JSON, unless something else is asked for and can be given
             ├─ application/octet-stream    one array: its bytes; Modelpack-Dtype, Modelpack-Shape
             ├─ application/x-npy           one array with a header of its own
             └─ a file answer: its bytes, whatever is asked for

Every writer takes the plain answer (``ApiSpec.encode``, own rows only) and returns content type,
body and header lines; it raises BadOutput.  The binary forms are for answers that are one array,
or an object with one array in it and nothing else; what they cannot say is said in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelpack.sdk.api import ApiSpec
from modelpack.server.bodies import npy
from modelpack.server.bodies.binary import BINARY_DTYPES, DTYPE, SHAPE, shape_text
from modelpack.server.bodies.codecs import dump
from modelpack.server.bodies.media import BINARY, JSON, NPY, preferred
from modelpack.server.problems import BadOutput, Headers

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

Written = tuple[bytes, bytes, Headers]
"""Content type, body and header lines of an answer."""

Write = Callable[[Any], Written]
"""Returns content type, body and header lines of an answer."""

_JSON = JSON.encode()

MAX_KNOWN = 64
"""Most values of Accept whose writer is remembered."""


class AnswerWriter:
    """Chooses how the answers of one api are written."""

    def __init__(self, api: ApiSpec) -> None:
        self.is_file = api.returns.is_file and not api.is_stream
        """True when an answer is a file as it is, and no JSON."""
        self.dump: Callable[[Any], bytes] = dump if api.nan == "null" else _dump_finite
        """Returns the JSON of an answer, or of a piece of it; raises BadOutput."""
        self.json: Write = self._write_json
        """Writes what a client gets that asks for nothing."""
        if self.is_file:
            self.json = _file_writer(api.returns.media_type)
        elif api.nan == "null":
            self.json = write_json
        self._refuses_nan = api.nan != "null"
        self._known: dict[bytes, Write] = {}

    def writer_for(self, accept: bytes) -> Write:
        """Return what writes answers for a value of the Accept header."""
        if not accept or self.is_file:
            return self.json
        write = self._known.get(accept)
        if write is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            write = self._known[accept] = self._choose(accept)
        return write

    def _choose(self, accept: bytes) -> Write:
        kind = preferred(accept, (JSON, BINARY, NPY))
        if kind == BINARY:
            return partial(self._write_array, _bytes_of)
        return partial(self._write_array, _npy_of) if kind == NPY else self.json

    def _write_json(self, answer: Any) -> tuple[bytes, bytes, Headers]:
        return _JSON, self.dump(answer), ()

    def _write_array(
        self, form: Callable[[Array], tuple[bytes, bytes, Headers]], answer: Any
    ) -> tuple[bytes, bytes, Headers]:
        array = only_array(answer)
        if array is None:
            return self.json(answer)
        if self._refuses_nan:
            _refuse_nan(array)
        return form(array)


def write_json(answer: Any) -> tuple[bytes, bytes, Headers]:
    """Write JSON."""
    try:
        return _JSON, orjson.dumps(answer, None, orjson.OPT_SERIALIZE_NUMPY), ()
    except TypeError:
        return _JSON, dump(answer), ()  # something unusual in it


def only_array(answer: Any) -> Array | None:
    """Return the array that is all of an answer; None: there is more to it, or no such array."""
    if isinstance(answer, Mapping) and len(answer) == 1:
        (answer,) = answer.values()
    if isinstance(answer, np.ndarray) and answer.dtype.name in BINARY_DTYPES:
        return answer
    return None


def _bytes_of(array: Array) -> tuple[bytes, bytes, Headers]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return b"application/octet-stream", little.tobytes(), _headers(array.dtype.name, array.shape)


def _npy_of(array: Array) -> tuple[bytes, bytes, Headers]:
    return b"application/x-npy", npy.write(array), ()


@lru_cache(maxsize=256)
def _headers(dtype: str, shape: tuple[int, ...]) -> Headers:
    return (DTYPE, dtype.encode()), (SHAPE, shape_text(shape))


def _file_writer(media_type: str) -> Write:
    content_type = media_type.encode()

    def write(answer: Any) -> tuple[bytes, bytes, Headers]:
        return content_type, answer, ()

    return write


def _dump_finite(answer: Any) -> bytes:
    _refuse_nan(answer)
    return dump(answer)


def _refuse_nan(answer: Any) -> None:
    """Raise BadOutput when an answer holds NaN or an infinity."""
    if isinstance(answer, np.ndarray):
        is_fine = answer.dtype.kind not in "fc" or bool(np.isfinite(answer).all())
    elif isinstance(answer, float | np.floating):
        is_fine = math.isfinite(answer)
    else:
        is_fine = True
        if isinstance(answer, Mapping):
            answer = list(answer.values())
        if isinstance(answer, list | tuple):
            for one in answer:
                _refuse_nan(one)
    if not is_fine:
        raise BadOutput("the answer holds NaN or an infinity, and the api says nan='error'")
