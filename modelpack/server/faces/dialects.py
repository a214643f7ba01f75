"""The forms in which platforms send rows, and in which they want answers: what SageMaker, MLflow,
Vertex AI and Azure ML have in common.

    Content-Type ─┬─ application/json ─┬─ the api's own body {"x": [[1, 2]]} ─────► own answer
                  │                    └─ a key of the dialect {"instances": …} ──► answer, wrapped
                  ├─ text/csv, application/jsonlines ──► rows ────────────────────► answer, wrapped
                  └─ octet-stream, npy, pictures, forms ──► as on the api's own path
    Accept ───────┬─ application/json   (what is sent when nothing is asked for)
                  └─ text/csv, application/jsonlines, application/x-npy, application/octet-stream

    Reader(endpoint, dialect).read_for(fields) ──► Read: body ──► Arguments, with their writer

A batched api is called once; any other once a row (``spread``), because it takes no more at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from modelpack.errors import InputError
from modelpack.sdk.api import Arguments
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import describe, escape
from modelpack.sdk.whole import alone
from modelpack.server.bodies.binary import DTYPE, SHAPE, shape_text
from modelpack.server.bodies.codecs import MAX_DEPTH, check_depth, parse
from modelpack.server.bodies.media import BINARY, JSON, NPY, is_json, media_type, preferred
from modelpack.server.bodies.readers import Read
from modelpack.server.bodies.simd import is_numeric
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.frames import Arrange
from modelpack.server.faces.predictions import packer, predictions
from modelpack.server.faces.rows import Given, sole_parameter
from modelpack.server.faces.texts import (
    CSV,
    JSON_LINES,
    from_csv,
    from_json_lines,
    has_header,
    to_csv,
    to_json_lines,
)
from modelpack.server.problems import Headers, RefusedRequest, unsupported_media_type

Fields = Mapping[bytes, bytes]
"""Header fields of a request, names in lower case."""
Written = tuple[bytes, bytes, Headers]
"""Content type, body and header lines of an answer."""


def _no_headers(_fields: Fields) -> Headers:
    return ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one platform."""

    forms: Mapping[str, Arrange]
    """How rows stand under each key; a body has one of these keys."""
    extra: str
    """Key of arguments that are meant for all rows."""
    wrap: Callable[[Answer], Any]
    """Makes the JSON of an answer."""
    has_always_header: bool = False
    """True: the first line of CSV names the columns, whatever it looks like."""
    headers: Callable[[Fields], Headers] = _no_headers
    """Header lines of an answer, by those of the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole and in parts."""

    whole: Any
    """As the method gave it; of several calls the list of their answers."""
    given: Given

    @property
    def rows(self) -> Sequence[Any]:
        """One prediction an instance; raises RefusedRequest (400) when there are none."""
        if self.given.rows is None:
            return [self.whole]
        found: Sequence[Any] = predictions(
            self.whole, self.given.rows, is_each=self.given.is_each and self.given.rows > 1
        )
        return found


class Reader:
    """Reads what one api is asked in one dialect."""

    def __init__(self, endpoint: Endpoint, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._own = frozenset(one.name for one in endpoint.api.parameters)
        self._quick = _quick_key(endpoint, dialect)
        names = "|".join(map(re.escape, self._own - dialect.forms.keys() - {dialect.extra}))
        self._begins_own = re.compile(rb'\s*\{\s*"(?:%b)"\s*:' % (names or "$.").encode())
        """Finds a body whose first key is a parameter's, and no word of the dialect."""

    def light_bytes(self, fields: Fields) -> int:
        """Return the longest body that is read on the event loop; -1: none is."""
        reader = self._endpoint.reader
        if media_type(fields.get(b"content-type", b"")) in ("", CSV, *JSON_LINES):
            return reader.light_bytes({**fields, b"content-type": b"application/json"})
        return reader.light_bytes(fields)

    def read_for(self, fields: Fields) -> Read:
        """Return what reads a body with these fields; raises RefusedRequest (415)."""
        header = fields.get(b"content-type", b"")
        kind, form = media_type(header), self._form(fields)
        if not header or is_json(header):
            return partial(self._json, form)
        if kind == CSV:
            return partial(self._csv, form, self._has_header(header))
        if kind in JSON_LINES:
            return partial(self._lines, form)
        return partial(self._plain, form, self._plain_reader(fields, kind))

    def _plain_reader(self, fields: Fields, kind: str) -> Read:
        """Return what reads a body that the api's own path would take, too."""
        reader = self._endpoint.reader
        if kind == BINARY and DTYPE not in fields and SHAPE not in fields:
            lone = alone(self._endpoint.api)
            if lone is not None and isinstance(lone.value, TensorValue):
                return partial(self._bare_array, lone.value)
        if kind in (NPY, BINARY) or kind in reader.accepted or kind.startswith("image/"):
            return reader.reader_for({**fields, b"content-encoding": b""})
        got = f"'{fields[b'content-type'].decode('latin-1')}'"
        accepted = [*reader.accepted, CSV, JSON_LINES[0]]
        raise RefusedRequest(unsupported_media_type(got, accepted))

    def _bare_array(self, value: TensorValue, body: bytes) -> Arguments:
        """Read an array of which nothing is told.

        Its type and most of its shape are those of the api; one free axis is as long as it has to be.
        """
        lengths = value.spec.shape
        fields = {b"content-type": BINARY.encode(), DTYPE: value.spec.dtype.encode()}
        if lengths is not None and sum(not isinstance(d, int) for d in lengths) < 2:
            known = math.prod(d for d in lengths if isinstance(d, int))
            row_bytes = max(1, known * np.dtype(value.spec.dtype).itemsize)
            count = max(1, -(-len(body) // row_bytes))  # too short a body is told by its length
            shape = [d if isinstance(d, int) else count for d in lengths]
            fields[SHAPE] = shape_text(shape)
        return self._endpoint.reader.reader_for(fields)(body)

    def _has_header(self, content_type: bytes) -> bool | None:
        charset = re.search(rb'charset\s*=\s*"?([^\s;"]+)', content_type.lower())
        if charset is not None and charset[1] not in (b"utf-8", b"utf8"):
            got = f"charset {charset[1].decode('latin-1')}"
            raise RefusedRequest(unsupported_media_type(got, ["CSV in UTF-8"]))
        told = has_header(content_type)
        return True if told is None and self._dialect.has_always_header else told

    def _json(self, form: Form, body: bytes) -> Arguments:
        if (quick := self._quickly(body)) is not None:
            return form.asked(self._endpoint, Given(quick, quick.rows))
        if self._begins_own.match(body):
            return self._plain(form, self._endpoint.reader.json, body)
        raw = parse(body)
        key = self._key_of(raw) if isinstance(raw, dict) else None
        if key is None:
            return self._plain(form, self._endpoint.reader.json, body)
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            check_depth(raw)
        extra = raw.get(self._dialect.extra)
        extra = {} if extra is None else extra
        if not isinstance(extra, dict):
            raise InputError.at(f"/{self._dialect.extra}", "an object", describe(extra))
        if unknown := [name for name in extra if name not in self._own]:
            at = f"/{self._dialect.extra}/{escape(unknown[0])}"
            raise InputError.at(at, "a parameter of the api", "an unknown key")
        given = self._dialect.forms[key](self._endpoint, raw[key], f"/{key}", extra)
        return form.asked(self._endpoint, given)

    def _key_of(self, raw: Mapping[str, Any]) -> str | None:
        """Return the key of the dialect that a body has; None: it is the api's own.

        Raises InputError when there are several, or something beside it.
        """
        known = self._dialect.forms
        keys = [key for key in raw if key in known]
        if not keys or raw.keys() <= self._own:
            return None
        others = [key for key in raw if key not in known and key != self._dialect.extra]
        if len(keys) > 1 or others:
            expected = f"exactly one of {', '.join(known)}, and {self._dialect.extra}"
            raise InputError.at("", expected, ", ".join([*keys, *others])[:200])
        return keys[0]

    def _quickly(self, body: bytes) -> Arguments | None:
        """Return the arguments of rows of numbers, read without an object for each; None: it is
        not sure that there is nothing else.
        """
        if self._quick is None or (found := self._quick[0].match(body)) is None:
            return None
        try:
            return self._endpoint.reader.json(self._quick[1] + body[found.end() :])
        except Exception:  # the long way finds out, and says what is wrong
            return None

    def _csv(self, form: Form, header: bool | None, body: bytes) -> Arguments:
        return form.asked(self._endpoint, from_csv(self._endpoint, body, header=header))

    def _lines(self, form: Form, body: bytes) -> Arguments:
        return form.else_lines().asked(self._endpoint, from_json_lines(self._endpoint, body))

    def _plain(self, form: Form, read: Read, body: bytes) -> Arguments:
        arguments = read(body)
        rows = arguments.rows if self._endpoint.api.batch is not None else None
        arguments.write = form.own(self._endpoint, Given(arguments, rows))
        return arguments

    def _form(self, fields: Fields) -> Form:
        accept = fields.get(b"accept", b"")
        kind = preferred(accept, (JSON, CSV, *JSON_LINES, BINARY, NPY)) or ""
        return Form(kind, accept, self._dialect, self._dialect.headers(fields))


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is to look."""

    kind: str
    """Content type that is asked for; "": none that we have."""
    accept: bytes
    dialect: Dialect
    headers: Headers

    def else_lines(self) -> Form:
        """Return the form for who has sent JSON lines and does not say what he wants."""
        return replace(self, kind=JSON_LINES[0]) if self.accept in (b"", b"*/*") else self

    def own(self, endpoint: Endpoint, given: Given) -> Callable[[Any], Written]:
        """Return what writes an answer as the api's own path would, or as text."""
        plain = endpoint.writer.writer_for(self.accept)

        def write(answer: Any) -> Written:
            if self._is_text(endpoint):
                return self._text(Answer(answer, given).rows)
            content_type, body, headers = plain(answer)
            return content_type, body, (*headers, *self.headers)

        return write

    def asked(self, endpoint: Endpoint, given: Given) -> Arguments:
        """Return the arguments with what writes their answer in the dialect."""
        plain = self.own(endpoint, given)
        pack = packer(endpoint.api, as_tensors=False)
        is_one = not given.is_each or given.rows == 1

        def write(whole: Any) -> Written:
            if is_one and (self.kind in (BINARY, NPY) or endpoint.writer.is_file):
                return plain(whole)
            if pack is not None:
                whole = pack(whole) if is_one else [pack(one) for one in whole]
            if given.is_each and is_one:
                whole = [whole]
            answer = Answer(whole, given)
            if self._is_text(endpoint):
                return self._text(answer.rows)
            body = endpoint.writer.dump(self.dialect.wrap(answer))
            return b"application/json", body, self.headers

        given.arguments.write = write
        return given.arguments

    def _is_text(self, endpoint: Endpoint) -> bool:
        return self.kind in (CSV, *JSON_LINES) and not endpoint.writer.is_file

    def _text(self, rows: Sequence[Any]) -> Written:
        if self.kind == CSV:
            return b"text/csv; charset=utf-8", to_csv(rows), self.headers
        return self.kind.encode(), to_json_lines(rows), self.headers


def _quick_key(endpoint: Endpoint, dialect: Dialect) -> tuple[re.Pattern[bytes], bytes] | None:
    """Return what finds a body of nothing but rows of numbers, and its beginning as the api has it."""
    only, words = sole_parameter(endpoint.api), "|".join(map(re.escape, dialect.forms))
    if endpoint.api.batch is None or only is None or not is_numeric(only.value):
        return None
    names = {one.name for one in endpoint.api.parameters}
    if names & {*dialect.forms, dialect.extra}:
        return None
    pattern = re.compile(rb'\s*\{\s*"(?:%b)"\s*:\s*(?=\[[\s\[\d.+-])' % words.encode())
    return pattern, b'{"%b":' % only.name.encode()
