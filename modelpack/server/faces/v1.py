"""``/v1/models/…``, which KServe v1 and TensorFlow Serving share.

    POST /v1/models/{m}:predict ──Asking.read──► instances or inputs ──► rows ──► the api's queue
                 answer ──Answer──► {"predictions": …} or {"outputs": …}

                            instances           inputs                 NaN
    KServe alone            predictions         the same as instances  as the api says
    TensorFlow Serving      predictions         outputs                tokens
    both                    predictions         outputs                tokens where a request can only
                                                                       be TensorFlow's

A request can only be TensorFlow's when it has ``inputs``, ``signature_name`` or a NaN in it, or a
version or label in its path; strict parsers of other clients never meet a token.  Keys besides these
are ignored, but for ``parameters``: values that hold for all instances.

What always holds: whatever content type is claimed, the body is JSON or an event; clients of both
contracts send it as ``application/x-www-form-urlencoded`` (``curl -d``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec, Arguments
from modelpack.sdk.values import describe
from modelpack.server.bodies import codecs
from modelpack.server.bodies.decoders import row_decoder
from modelpack.server.bodies.media import UTF8_JSON, is_json, media_type
from modelpack.server.bodies.readers import Read
from modelpack.server.bodies.simd import array_decoder, is_numeric
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked
from modelpack.server.faces import events, predictions, tokens
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.events import Event
from modelpack.server.faces.face import write_error
from modelpack.server.faces.predictions import Pack
from modelpack.server.faces.registry import chosen
from modelpack.server.faces.rows import Given, from_columns, from_instances
from modelpack.server.faces.spread import Elsewhere
from modelpack.server.problems import (
    Headers,
    Problem,
    RefusedRequest,
    unsupported_media_type,
)

PREDICT, EXPLAIN, CLASSIFY, REGRESS = "predict", "explain", "classify", "regress"

SIGNATURE = "serving_default"
"""Name of the signature that a request means which names none (TensorFlow)."""

_KEYS = {PREDICT: "predictions", EXPLAIN: "explanations"}
_INSTANCES = "instances"
_SIGNED = re.compile(rb'\s*\{\s*"signature_name"\s*:\s*"serving_default"\s*,')
"""How bodies begin that name the signature of their path, which says nothing more."""

_READ = frozenset(
    {"", "application/json", "application/x-www-form-urlencoded", "text/plain",
     "application/octet-stream", events.MEDIA_TYPE}
)  # fmt: skip
"""Content types that a body in JSON comes with."""


class Shared:
    """Which of the two contracts are spoken, and what their doors have in common."""

    def __init__(self, catalog: Catalog) -> None:
        on = chosen(catalog.settings.faces, os.environ)
        self.catalog = catalog
        self.has_kserve = "kserve" in on
        self.has_tensors = "tfserving" in on
        """True when TensorFlow Serving is spoken."""

    def door(self, path: str, served: Served, verb: str, *, is_tensors: bool = False) -> Door:
        """Return the door of an api; ``is_tensors``: only a client of TensorFlow asks there."""
        return V1Door(path, Asking(self, served, verb, is_tensors=is_tensors))

    def by_signature(self, served: Served, name: str) -> Served:
        """Return the api that a signature is; raises RefusedRequest (400)."""
        if name in ("", SIGNATURE, served.api.name):
            return served
        found = self.catalog.api(name) if served is self.catalog.default else None
        if found is None:
            what = f'"{name[:100]}" not found in signature def'
            raise RefusedRequest(Problem(400, "bad-input", "Serving signature name", what))
        if found.api.is_stream:
            raise RefusedRequest(is_stream(found))
        return found


class V1Door(Door):
    """A way in for bodies of both contracts."""

    __slots__ = ("_asking",)

    def __init__(self, path: str, asking: Asking) -> None:
        super().__init__(path, asking.served.endpoint, write_error)
        self._asking = asking

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what a head asks for; raises RefusedRequest."""
        header = fields.get(b"content-type", b"")
        kind = media_type(header)
        if kind not in _READ or (kind == "application/json" and not is_json(header)):
            got = f"'{header.decode('latin-1')}'"
            raise RefusedRequest(unsupported_media_type(got, [UTF8_JSON]))
        event = events.of_fields(fields)
        read: Read = self._asking.read
        if event is not None or kind == events.MEDIA_TYPE:
            read = partial(self._asking.read_event, event)
        as_json = {**fields, b"content-type": b"application/json"}
        asked = self.endpoint.asked(as_json)
        return replace(
            asked,
            read=self.endpoint.reader.inflating(as_json, lambda _: read),
            write_problem=write_error,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """Writes the answer to one request (a ``bodies.writers.Write``)."""

    verb: str
    given: Given
    served: Served
    is_tensors: bool
    pack: Pack | None
    event: Event | None = None

    def __call__(self, answer: Any) -> tuple[bytes, bytes, Headers]:
        """Return content type, body and header lines; raises RefusedRequest and BadOutput."""
        body = self._dump(self._message(self._packed(answer)))
        if self.event is not None:
            return self.event.wrap(body, b"application/json", self.served.name)
        return b"application/json", body, ()

    def _message(self, answer: Any) -> dict[str, Any]:
        given = self.given
        if given.rows is None:
            return {"outputs": predictions.outputs(answer)}
        if self.verb == CLASSIFY:
            found: Any = predictions.classes(answer, given.rows, is_each=given.is_each)
            return {"results": found}
        if self.verb == REGRESS:
            return {"results": predictions.values(answer, given.rows, is_each=given.is_each)}
        found = predictions.predictions(answer, given.rows, is_each=given.is_each)
        return {_KEYS[self.verb]: found}

    def _packed(self, answer: Any) -> Any:
        pack = self.pack
        if pack is None:
            return answer
        is_several = self.given.is_each and (self.given.rows or 0) > 1
        return [pack(one) for one in answer] if is_several else pack(answer)

    def _dump(self, message: dict[str, Any]) -> bytes:
        if self.is_tensors and self.served.api.nan != "error":
            return predictions.dump_tokens(message)
        return self.served.endpoint.writer.dump(message)


class Asking:
    """Reads the bodies of one door."""

    def __init__(self, shared: Shared, served: Served, verb: str, *, is_tensors: bool) -> None:
        self.served = served
        self._shared = shared
        self._verb = verb
        self._is_tensors = is_tensors or not shared.has_kserve
        self._packs = [predictions.packer(served.api, as_tensors=one) for one in (False, True)]
        self._quick: Callable[[bytes], Arguments] | None = None
        self._quick_for: ApiSpec | None = None

    def read(self, body: bytes) -> Arguments:
        """Return the arguments of a body; raises BadJson, InputError and RefusedRequest."""
        api = self.served.endpoint.decodes
        if self._quick_for is not api:
            self._quick, self._quick_for = self._quick_reader(api), api
        if self._quick is None:
            return self._read(body)
        signed = _SIGNED.match(body) if self._shared.has_tensors else None
        try:
            arguments = self._quick(body if signed is None else b"{" + body[signed.end() :])
        except _Unsure:
            return self._read(body)
        (array,) = arguments.values.values()
        arguments.values = {api.parameters[0].name: array}
        is_tensors = self._is_tensors or signed is not None
        arguments.write = self._answer(Given(arguments, arguments.rows), is_tensors)
        return arguments

    def read_event(self, event: Event | None, body: bytes) -> Arguments:
        """Return the arguments of an event; None: the body is its envelope."""
        message, has_tokens = self._parse(body)
        if event is None:
            event, message = events.unwrap(message, codecs.parse)
        return self._take(body, message, event, has_tokens=has_tokens)

    def _read(self, body: bytes) -> Arguments:
        message, has_tokens = self._parse(body)
        event = None
        if self._shared.has_kserve and events.is_envelope(message):
            event, message = events.unwrap(message, codecs.parse)
        return self._take(body, message, event, has_tokens=has_tokens)

    def _parse(self, body: bytes) -> tuple[Any, bool]:
        return tokens.parse(body) if self._shared.has_tensors else (codecs.parse(body), False)

    def _quick_reader(self, api: ApiSpec) -> Callable[[bytes], Arguments] | None:
        """Return what reads ``{"instances": [numbers]}`` as quickly as a native body.

        It raises _Unsure for all else.
        """
        if api.batch is None or len(api.parameters) != 1 or self._verb not in _KEYS:
            return None
        only = api.parameters[0]
        if not is_numeric(only.value):
            return None
        renamed = replace(api, parameters=(replace(only, name=_INSTANCES),))
        arrays = array_decoder(renamed, _unsure)
        return None if arrays is None else row_decoder(renamed, arrays) or arrays

    def _take(
        self, body: bytes, message: Any, event: Event | None, *, has_tokens: bool
    ) -> Arguments:
        """Return the arguments of what was parsed of a body."""
        if not isinstance(message, dict):
            raise InputError.at("", f"an object with {self._forms}", describe(message))
        asking = self
        is_signed = self._shared.has_tensors and "signature_name" in message
        if is_signed:
            asking = self._of_signature(message["signature_name"])

        def read(_body: bytes) -> Arguments:
            try:
                given = asking.given(message, has_tokens=has_tokens)
            except (InputError, RecursionError):
                codecs.check_depth(message)
                raise
            is_tensors = asking._is_tensors or is_signed or has_tokens or given.rows is None
            given.arguments.write = asking._answer(given, is_tensors, event)
            return given.arguments

        if asking is self:
            return read(body)
        return Arguments({}, 1, take=Elsewhere(asking.served.endpoint, body, read))

    def given(self, message: Mapping[str, Any], *, has_tokens: bool) -> Given:
        """Return what a message gives to the api; raises InputError."""
        endpoint = self.served.endpoint
        api = tokens.with_tokens(endpoint.decodes) if has_tokens else endpoint.decodes
        if self._verb in (CLASSIFY, REGRESS):
            if "examples" not in message:
                raise InputError.at("/examples", "a list of instances", "nothing")
            common = self._common(message, "context", api)
            return from_instances(endpoint, message["examples"], "/examples", common, api=api)
        found = [key for key in (_INSTANCES, "inputs") if key in message]
        if len(found) != 1:
            raise InputError.at("", f"an object with {self._forms}", _both_or_none(found))
        key = found[0]
        if key == "inputs" and self._shared.has_tensors:
            return from_columns(api, message[key])
        common = self._common(message, "parameters", api)
        return from_instances(endpoint, message[key], f"/{key}", common, api=api)

    def _common(self, message: Mapping[str, Any], key: str, api: ApiSpec) -> Mapping[str, Any]:
        """Return the values that hold for all instances."""
        common = {} if message.get(key) is None else message[key]
        if not isinstance(common, dict):
            raise InputError.at(f"/{key}", "an object", describe(common))
        known = [p.name for p in api.parameters]
        for name in common:
            if name not in known:
                keys = ", ".join(f"'{one}'" for one in known) or "none"
                raise InputError.at(
                    f"/{key}/{name[:60]}", f"only the keys {keys}", "an unknown key"
                )
        return common

    def _of_signature(self, name: Any) -> Asking:
        if not isinstance(name, str):
            raise InputError.at("/signature_name", "a string", describe(name))
        served = self._shared.by_signature(self.served, name)
        if served is self.served:
            return self
        return Asking(self._shared, served, self._verb, is_tensors=True)

    def _answer(self, given: Given, is_tensors: bool, event: Event | None = None) -> Answer:
        return Answer(self._verb, given, self.served, is_tensors, self._packs[is_tensors], event)

    @property
    def _forms(self) -> str:
        if self._verb in (CLASSIFY, REGRESS):
            return "'examples'"
        return "'instances' or 'inputs'" if self._shared.has_tensors else "'instances'"


class _Unsure(Exception):
    """The body is not as simple as that."""


def _unsure(_body: bytes) -> Arguments:
    raise _Unsure


def is_stream(served: Served) -> Problem:
    """The api answers piece by piece, which these contracts have no form for."""
    detail = f"'{served.name}' answers piece by piece; call it at '{served.api.route}'"
    return Problem(400, "bad-input", "no form for a stream", detail)


def _both_or_none(found: list[str]) -> str:
    return "both" if found else "neither"
