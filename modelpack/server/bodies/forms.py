"""Reads ``multipart/form-data``: one part a parameter, files as they are, the rest as JSON or text.

    body + boundary ──parse_form──► parts by name ──form_reader(api)──► Arguments

Forms are for apis with a file or image parameter only; parts, part headers and the boundary are
limited, and the whole by the limit of every body (threat model S15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import ApiSpec, Arguments, Parameter
from modelpack.sdk.values import ChoiceValue, StringValue, describe
from modelpack.server.bodies.codecs import Decoder, parse
from modelpack.server.problems import BadJson, RefusedRequest, unsupported_media_type

MAX_PARTS = 128
"""Most parts of a form."""

MAX_BOUNDARY = 70
"""Longest boundary between parts (RFC 2046)."""

MAX_PART_HEADERS = 8 * 1024
"""Longest header block of one part, in bytes."""


def form_reader(api: ApiSpec, content_type: bytes) -> Decoder:
    """Return what reads forms with that header; raises RefusedRequest for a bad boundary."""
    return partial(_read_form, api, boundary_of(content_type))


def _read_form(api: ApiSpec, boundary: bytes, body: bytes) -> Arguments:
    return read_parts(api, parse_form(body, boundary))


def read_parts(api: ApiSpec, parts: Mapping[str, bytes]) -> Arguments:
    """Return the arguments that parts by the name of a parameter are; raises InputError."""
    known = {p.name: p for p in api.parameters}
    issues: list[Issue] = []
    values: dict[str, Any] = {}
    for name, data in parts.items():
        if name in known:
            values[name] = _part_value(known[name], data, issues)
        else:
            values[name] = None  # decode names it among the unknown keys
    if issues:
        raise InputError.of(issues)
    return api.decode(values)


def _part_value(parameter: Parameter, data: bytes, issues: list[Issue]) -> Any:
    """Return what JSON would have at that key: a form has only bytes and text."""
    value = parameter.value
    if value.is_file:
        return data
    pointer = f"/{parameter.name}"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        issues.append(Issue(pointer, value.expectation, "bytes that are not UTF-8"))
        return None
    if isinstance(value, StringValue) or (isinstance(value, ChoiceValue) and text in value.options):
        return text
    try:
        return parse(data)
    except BadJson:
        issues.append(Issue(pointer, f"{value.expectation}, as JSON", describe(text)))
        return None


def boundary_of(header: bytes) -> bytes:
    """Return what stands between the parts; raises RefusedRequest (415)."""
    from python_multipart.multipart import parse_options_header

    boundary: bytes = parse_options_header(header)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise RefusedRequest(
            unsupported_media_type("a form without a valid boundary", ["multipart/form-data"])
        )
    return boundary


class _FormError(Exception):
    """The form is not one, or has more than it may."""


class _Parts:
    """Collects the parts of a form as its parser calls back."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._header_bytes = 0
        self._data: list[bytes] = []

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Return the callbacks by the names that the parser knows."""
        names = ("on_part_begin", "on_part_data", "on_part_end", "on_header_field",
                 "on_header_value", "on_header_end")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def on_part_begin(self) -> None:
        self._headers, self._data, self._header_bytes = {}, [], 0

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._count(end - start)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count(end - start)

    def on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def on_part_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise _FormError("a part without a name")
        if name in self.values:
            raise _FormError(f"two parts '{name[:60]}'")
        if len(self.values) >= MAX_PARTS:
            raise _FormError(f"more than {MAX_PARTS} parts")
        self.values[name] = b"".join(self._data)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_PART_HEADERS:
            raise _FormError("too long a header in a part")


def parse_form(body: bytes, boundary: bytes) -> dict[str, bytes]:
    """Return the parts of a form by name; raises InputError."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    parts = _Parts()
    is_complete = False

    def on_end() -> None:
        nonlocal is_complete
        is_complete = True

    parser = MultipartParser(boundary, {**parts.callbacks(), "on_end": on_end})  # type: ignore
    try:
        parser.write(body)
        parser.finalize()
    except (FormParserError, _FormError) as error:
        raise _bad_form(str(error)) from None
    if not is_complete:
        raise _bad_form("it ends before its last boundary")
    return parts.values


def _bad_form(why: str) -> InputError:
    issue = Issue("", "a form as in RFC 7578", why[:200])
    return InputError(f"the form is malformed: {issue.got}", issues=[issue])
