"""Chooses how a body is read, by what its head says of it.

    application/json             the parameters as an object            every api
    application/octet-stream     one array, dtype and shape in headers   apis whose only required
    application/x-npy            the same, with a header of its own      parameter is an array
    multipart/form-data          one part a parameter                    apis with a file
    application/octet-stream     the only file, nothing around it        apis with one file
    image/*                      the same, for a picture

    fields ──reader_for──► Read: bytes ──► Arguments        raises InputError, BadJson
                       └──► RefusedRequest: 415, unread

Anything else is refused before it is read, pickles first of all; so are compressed bodies, unless
the server takes them.  ``light_bytes`` says up to which size a body is read on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Arguments, Parameter
from modelpack.sdk.files import ImageValue
from modelpack.sdk.whole import alone
from modelpack.server.bodies import binary, npy
from modelpack.server.bodies.decoders import json_decoder
from modelpack.server.bodies.forms import form_reader
from modelpack.server.bodies.inflate import CODINGS, inflate
from modelpack.server.bodies.media import BINARY, JSON, NPY, UTF8_JSON, is_json, media_type
from modelpack.server.bodies.simd import is_numeric
from modelpack.server.problems import RefusedRequest, unsupported_media_type

Read = Callable[[bytes], Arguments]

LIGHT_BYTES = 64 * 1024
"""Longest JSON body that is read on the event loop: a millisecond or two, whatever is in it."""

LIGHT_ARRAY_BYTES = 256 * 1024
"""The same where it is read without an object for each number, and two milliseconds if wrong."""

LIGHT_BINARY_BYTES = 4 * 1024 * 1024
"""The same for a body that is only copied."""

_FORM = "multipart/form-data"


class BodyReader:
    """Chooses how the bodies of one api are read."""

    def __init__(self, api: ApiSpec, max_inflated_bytes: int | None = None) -> None:
        """``max_inflated_bytes`` is the longest body after decompression; None: none is taken."""
        self._api = api
        self._max_inflated_bytes = max_inflated_bytes
        self.json: Read = json_decoder(api)
        is_quick = all(is_numeric(p.value) for p in api.parameters)
        self._light_json = LIGHT_ARRAY_BYTES if is_quick else LIGHT_BYTES
        self.has_files = any(p.value.is_file for p in api.parameters)
        """True when the api takes a file or image: its bodies take long to decode."""
        self._alone = alone(api)
        self.accepted = _accepted(self._alone, has_files=self.has_files)
        """Content types that the api reads."""

    def reader_for(self, fields: Mapping[bytes, bytes]) -> Read:
        """Return what reads a body with these header fields; raises RefusedRequest (415)."""
        return self.inflating(fields, self._plain_reader)

    def inflating(
        self, fields: Mapping[bytes, bytes], reader: Callable[[Mapping[bytes, bytes]], Read]
    ) -> Read:
        """Return what ``reader`` gives, with the body decompressed first where it is compressed.

        Raises RefusedRequest (415) for a coding that the server does not take.
        """
        coding = _coding(fields)
        if coding == "identity":
            return reader(fields)
        most = self._max_inflated_bytes
        if most is None or coding not in CODINGS:
            raise _wrong_coding(coding, CODINGS if most is not None else ())
        read = reader(fields)
        return lambda body: read(inflate(body, coding, most))

    def is_heavy(self, fields: Mapping[bytes, bytes]) -> bool:
        """Say whether bodies with these fields are never read on the event loop."""
        return self.has_files or _coding(fields) != "identity"

    def light_bytes(self, fields: Mapping[bytes, bytes]) -> int:
        """Return the longest body with these fields that is read on the event loop; -1: none."""
        if self.is_heavy(fields):
            return -1  # a picture, or what is much larger than it looks
        is_text = is_json(fields.get(b"content-type", b""))
        return self._light_json if is_text else LIGHT_BINARY_BYTES

    def _plain_reader(self, fields: Mapping[bytes, bytes]) -> Read:
        header = fields.get(b"content-type", b"")
        if is_json(header):
            return self.json
        kind = media_type(header)
        got = f"'{header.decode('latin-1')}'" if header else ""
        if kind == JSON:
            raise RefusedRequest(unsupported_media_type(got, [UTF8_JSON]))
        whole = self._alone
        is_image = kind.startswith("image/") and "image/*" in self.accepted
        if kind in self.accepted or is_image:
            if kind == _FORM:
                return form_reader(self._api, header)
            if whole is not None and whole.value.is_file:
                return partial(_read_file, self._api, whole.name)
            if whole is not None:
                return _array_reader(self._api, whole, kind, fields)
        raise RefusedRequest(unsupported_media_type(got, self.accepted))


def _accepted(alone: Parameter | None, *, has_files: bool) -> list[str]:
    accepted = [JSON]
    if has_files:
        accepted.append(_FORM)
    if alone is not None:
        accepted.append(BINARY)
        if isinstance(alone.value, ImageValue):
            accepted.append("image/*")
        elif not alone.value.is_file:
            accepted.append(NPY)
    return accepted


def _coding(fields: Mapping[bytes, bytes]) -> str:
    coding = fields.get(b"content-encoding")
    if coding is None:
        return "identity"
    name = coding.strip().lower().decode("latin-1")
    return {"x-gzip": "gzip", "": "identity"}.get(name, name)


def _wrong_coding(coding: str, taken: tuple[str, ...]) -> RefusedRequest:
    expected = [f"a body in {one}" for one in taken] or ["an uncompressed body"]
    return RefusedRequest(unsupported_media_type(f"content coding '{coding}'", expected))


def _read_file(api: ApiSpec, name: str, body: bytes) -> Arguments:
    return api.decode({name: body})


def _array_reader(
    api: ApiSpec, parameter: Parameter, kind: str, fields: Mapping[bytes, bytes]
) -> Read:
    """Return what reads an array's bytes; what is wrong with its head is said as it is read."""
    value: Any = parameter.value
    name, at = parameter.name, f"/{parameter.name}"
    defaults = {p.name: p.default for p in api.parameters if p is not parameter}
    refuses_nan = api.nan == "error"

    def arguments(array: Any) -> Arguments:
        values = {name: array, **defaults}
        return Arguments(values, api.count_rows(values))

    if kind == NPY:

        def read_npy(body: bytes) -> Arguments:
            claim, data = npy.read(body, at)
            return arguments(binary.to_array(value, at, claim, data, refuses_nan=refuses_nan))

        return read_npy
    try:
        claim = binary.told(fields, value, at)
        make = binary.maker(value, at, claim, refuses_nan=refuses_nan)
    except InputError as error:
        return partial(_refuse, error.message, error.issues)
    if api.batched == (name,) and claim.shape[0]:
        rows = claim.shape[0]
        return lambda body: Arguments({name: make(body), **defaults}, rows)
    return lambda body: arguments(make(body))


def _refuse(message: str, issues: tuple[Issue, ...], _body: bytes) -> Arguments:
    raise InputError(message, issues=issues)
