"""The way in for inference requests of the protocol.

    head ──InferDoor.asked──► how long is the JSON, is the body compressed, may the answer be?
    body ──Reader.read──► frame and pieces ──known frame?──► Plan ──► arrays ──► Arguments
                  └── anything unusual ──► read as a whole, which also says what is wrong

``Content-Type`` decides nothing: clients of the protocol send all kinds of it, or none.  The JSON
ends where ``Inference-Header-Content-Length`` says; without it everything is JSON; with 0 everything
is bytes.  The length holds for the body without its compression.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import Arguments
from modelpack.sdk.values import Issues
from modelpack.server.bodies.codecs import check_depth, parse
from modelpack.server.bodies.readers import LIGHT_BINARY_BYTES, LIGHT_BYTES, Read
from modelpack.server.bodies.writers import Write
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces.oip.columns import as_rows, is_table
from modelpack.server.faces.oip.cut import ID, cut, place
from modelpack.server.faces.oip.data import UNSURE, parsed
from modelpack.server.faces.oip.plan import Plan, Planner
from modelpack.server.faces.oip.write import HEADER_LENGTH
from modelpack.server.faces.packed import packed, packing
from modelpack.server.problems import (
    BadJson,
    RefusedRequest,
    WriteProblem,
    bad_header,
)

MAX_PLANS = 64
"""Most frames whose plans are kept."""

MAX_FRAME_BYTES = 2048

_LONGEST_NUMBER = 18
_NOT_OURS = (b"content-type", b"content-encoding", b"accept")


class Reader:
    """Reads the requests to one model."""

    def __init__(self, endpoint: Endpoint, planner: Planner) -> None:
        self._endpoint = endpoint
        self._planner = planner
        self._plans: dict[bytes, Plan] = {}
        self._bare: dict[int, Plan] = {}

    def read(self, header: int | None, body: bytes) -> Arguments:
        """Return the arguments of a request; raises InputError, BadJson or RefusedRequest.

        ``header`` is the length of the JSON part; None: it is all JSON, 0: there is none.
        """
        if header == 0:
            return self._arguments(self._plan_bare(len(body)), [], memoryview(body))
        text, behind = body, memoryview(b"")
        if header is not None:
            if header > len(body):
                raise InputError.at(
                    "", f"a JSON part of {header} bytes", f"{len(body)} bytes in all"
                )
            text, behind = body[:header], memoryview(body)[header:]
        try:
            frame, pieces, id_ = cut(text)
            plan = self._plans.get(frame) or self._learn(frame, len(pieces), has_id=id_ is not None)
            arguments = self._arguments(plan, pieces, behind)
            if id_ is not None:
                arguments.write = plan.write_for(b'"%b"' % id_ if id_ else b"")
            return arguments
        except UNSURE:
            return self._read_whole(text, behind)

    def _plan_bare(self, size: int) -> Plan:
        """Return the plan for a body of so many bytes; raises InputError."""
        plan = self._bare.get(size)
        if plan is None:
            plan = self._planner.plan_bare(size)
            if len(self._bare) >= MAX_PLANS:
                self._bare.clear()
            self._bare[size] = plan
        return plan

    def _learn(self, frame: bytes, pieces: int, *, has_id: bool) -> Plan:
        """Return the plan for a frame, and keep it; raises ValueError when it is not sure."""
        try:
            head = parse(frame)
            if is_table(head):
                raise ValueError
            plan = self._planner.plan(head)
        except (BadJson, InputError) as error:
            raise ValueError from error  # which of them it is, the whole body shows
        places = [one.at for one in plan.sent if one.size is None]
        data = [one.get("data") for one in head["inputs"] if one.get("data") is not None]
        if len(places) != pieces or data != [place(index) for index in range(pieces)]:
            raise ValueError
        if has_id and head.get("id") != ID:
            raise ValueError
        if len(frame) <= MAX_FRAME_BYTES:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[frame] = plan
        return plan

    def _arguments(self, plan: Plan, pieces: list[bytes], behind: memoryview) -> Arguments:
        _check_length(plan, behind)
        values = dict(plan.rest)
        issues: Issues = []
        at = next_piece = 0
        for sent in plan.sent:
            if sent.size is None:
                array = sent.from_json(pieces[next_piece])
                next_piece += 1
            else:
                array = sent.from_raw(behind[at : at + sent.size])
                at += sent.size
            if sent.is_direct:
                values[sent.name] = array
            else:
                if sent.is_base64:
                    array = _from_base64(array, sent.at, issues)
                values[sent.name] = sent.port.take(array, issues)
        return self._done(plan, values, issues)

    def _read_whole(self, text: bytes, behind: memoryview) -> Arguments:
        """Read a body that is out of the ordinary, or say what is wrong with it."""
        head = parse(text)
        check_depth(head)
        if is_table(head):
            head = as_rows(head, self._planner.ports)
        plan = self._planner.plan(head)
        _check_length(plan, behind)
        given = {one["name"]: one for one in head["inputs"]}
        values = dict(plan.rest)
        issues: Issues = []
        at = 0
        for sent in plan.sent:
            before = len(issues)
            if sent.size is None:
                data, place = given[sent.name]["data"], f"{sent.at}/data"
                array = parsed(data, sent.datatype, sent.shape, place, issues)
            else:
                array = sent.from_raw(behind[at : at + sent.size])
                at += sent.size
            if sent.is_base64 and len(issues) == before:
                array = _from_base64(array, sent.at, issues)
            if len(issues) == before:
                values[sent.name] = sent.port.take(array, issues)
        return self._done(plan, values, issues)

    def _done(self, plan: Plan, values: dict[str, Any], issues: Issues) -> Arguments:
        if issues:
            raise InputError.of(issues)
        rows = plan.rows or self._endpoint.api.count_rows(values)
        return Arguments(values, rows, plan.write, plan.timeout_s, plan.priority)


class InferDoor(Door):
    """``POST /v2/models/{model}/infer``."""

    __slots__ = ("_is_quick", "_may_pack", "_reader")

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        write_problem: WriteProblem,
        reader: Reader,
        *,
        may_pack: bool,
        is_quick: bool,
    ) -> None:
        """``may_pack``: answers may be compressed; ``is_quick``: all inputs are numbers."""
        super().__init__(path, endpoint, write_problem)
        self._reader = reader
        self._may_pack = may_pack
        self._is_quick = is_quick

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields ask for; raises RefusedRequest."""
        plain = {name: value for name, value in fields.items() if name not in _NOT_OURS}
        asked = self.endpoint.asked({**plain, b"content-type": b"application/json"})
        header = header_length(fields)
        coding = packing(fields.get(b"accept-encoding", b"")) if self._may_pack else ""
        read: Read = partial(self._reader.read, header)
        if coding:
            read = partial(_packing, read, coding)
        light = LIGHT_BYTES
        if self.endpoint.reader.is_heavy(fields):
            light = -1
        elif header is not None and header <= LIGHT_BYTES and self._is_quick:
            light = LIGHT_BINARY_BYTES
        return replace(
            asked,
            read=self.endpoint.reader.inflating(fields, lambda _: read),
            light_bytes=light,
            write_problem=self.write_problem,
        )


def header_length(fields: Mapping[bytes, bytes]) -> int | None:
    """Return how long the JSON part is; None: it is all JSON.  Raises RefusedRequest (400)."""
    value = fields.get(HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > _LONGEST_NUMBER:
        name = "Inference-Header-Content-Length"
        raise RefusedRequest(bad_header(name, "whole bytes", value))
    return int(value)


def _packing(read: Read, coding: str, body: bytes) -> Arguments:
    arguments = read(body)
    write: Write = arguments.write
    arguments.write = lambda answer: packed(write(answer), coding)
    return arguments


def _check_length(plan: Plan, behind: memoryview) -> None:
    if plan.raw_bytes != len(behind):
        expected = f"{plan.raw_bytes} bytes behind the JSON part"
        raise InputError.at("", expected, f"{len(behind)} bytes")


def _from_base64(array: Any, at: str, issues: Issues) -> Any:
    found = np.empty(array.size, object)
    try:
        found[:] = [base64.b64decode(one, validate=True) for one in array.reshape(-1).tolist()]
    except (binascii.Error, ValueError):
        issues.append(Issue(f"{at}/data", "texts in base64", "others"))
    return found.reshape(array.shape)
