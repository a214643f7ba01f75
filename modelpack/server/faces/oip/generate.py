"""Texts in, texts out: Triton's generate extension, as clients of language models use it.

    {"text_input": "…", "parameters": {…}} ──Prompts.arguments──► arguments of the api
    answer ──Prompts.written──► {"model_name", "model_version", "text_output": "…"}

``text_input`` is the parameter of that name, else the only text that the api needs.  Any other key,
in the body or in its ``parameters``, is the parameter of that name; what the api has none for is
passed over.  An api with batches gets a batch of one.  An answer that is an object keeps its keys,
any other one is ``text_output``; a list of one is what is in it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from modelpack.errors import InputError
from modelpack.sdk.api import ApiSpec, Arguments, Parameter
from modelpack.sdk.containers import ListValue
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import StringValue, Value, describe
from modelpack.server.bodies.codecs import check_depth, dump, parse
from modelpack.server.bodies.writers import Write
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.tensors import bare
from modelpack.server.problems import Headers, WriteProblem

TEXT_IN, TEXT_OUT = "text_input", "text_output"

_NOT_OURS = (b"content-type", b"content-encoding", b"accept")


class Prompts:
    """Reads and writes the generate requests of one model."""

    def __init__(self, served: Served, version: str) -> None:
        self._served = served
        self._facts = {"model_name": served.name, "model_version": version}
        self._has_rows = served.api.batch is not None
        self._text = _text_parameter(served.api)

    def arguments(self, body: bytes) -> Arguments:
        """Return the arguments of a request; raises InputError or BadJson."""
        parsed = parse(body)
        check_depth(parsed)
        if not isinstance(parsed, dict):
            raise InputError.at("", f"an object with '{TEXT_IN}'", describe(parsed))
        given = parsed.get("parameters")
        if given is not None and not isinstance(given, dict):
            raise InputError.at("/parameters", "an object", describe(given))
        api = self._served.endpoint.decodes
        named = {**(given or {}), **parsed}
        values = {}
        for parameter in api.parameters:
            name = parameter.name
            if name == self._text and TEXT_IN in named:
                values[name] = self._in_rows(parameter, named[TEXT_IN])
            elif name in named:
                values[name] = self._in_rows(parameter, named[name])
        arguments = api.decode(values)
        id_ = parsed.get("id")
        if id_ is not None and not isinstance(id_, str):
            raise InputError.at("/id", "a string", describe(id_))
        facts = {**({"id": id_} if id_ else {}), **self._facts}
        write: Write = partial(self.written, facts)
        arguments.write = write
        return arguments

    def _in_rows(self, parameter: Parameter, raw: Any) -> Any:
        """Return a value as an api with batches has it: one row."""
        is_row = self._has_rows and parameter.name in self._served.api.batched
        return [raw] if is_row and not isinstance(raw, list) else raw

    def written(self, facts: Mapping[str, str], answer: Any) -> tuple[bytes, bytes, Headers]:
        """Write an answer, or a piece of one that streams."""
        outputs = dict(answer) if isinstance(answer, Mapping) else {TEXT_OUT: answer}
        plain = {str(name): _single(one) for name, one in outputs.items()}
        return b"application/json", dump({**facts, **plain}), ()


class GenerateDoor(Door):
    """``POST /v2/models/{model}/generate`` of an api that answers at once."""

    __slots__ = ("_prompts",)

    def __init__(
        self, path: str, endpoint: Endpoint, write_problem: WriteProblem, prompts: Prompts
    ) -> None:
        super().__init__(path, endpoint, write_problem)
        self._prompts = prompts

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields ask for; raises RefusedRequest."""
        plain = {name: value for name, value in fields.items() if name not in _NOT_OURS}
        asked = self.endpoint.asked({**plain, b"content-type": b"application/json"})
        reader = self.endpoint.reader
        return replace(
            asked,
            read=reader.inflating(fields, lambda _: self._prompts.arguments),
            light_bytes=-1 if reader.is_heavy(fields) else asked.light_bytes,
            write_problem=self.write_problem,
        )


def joined(pieces: list[Any]) -> Any:
    """Return the pieces of a stream as one answer: texts as one text, others as a list."""
    if pieces and all(isinstance(one, str) for one in pieces):
        return "".join(pieces)
    return pieces


def _text_parameter(api: ApiSpec) -> str:
    """Return the name of the parameter that a text is for; "": there is none, or several."""
    texts = [one for one in api.parameters if _is_text(bare(one.value))]
    if any(one.name == TEXT_IN for one in texts):
        return TEXT_IN
    needed = [one for one in texts if one.is_required] or texts
    return needed[0].name if len(needed) == 1 else ""


def _is_text(value: Value) -> bool:
    if isinstance(value, ListValue):
        value = bare(value.item)
    if isinstance(value, TensorValue):
        return value.spec.dtype == "str"
    return isinstance(value, StringValue)


def _single(value: Any) -> Any:
    """Return what is in a list of one; a file is base64, as it is everywhere inside JSON."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.item()
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value
