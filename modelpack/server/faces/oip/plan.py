"""What a request asks for besides its numbers, worked out once for all requests that ask the same.

    parsed JSON (or a frame, see ``cut``) ──Planner.plan──► Plan(sent, rest, write …)
                                     └──► InputError: what does not fit, with its place

Read of a request (Open Inference Protocol, required API; Triton's extensions in brackets):

    id, inputs[name, datatype, shape, data], outputs[name]
    parameters.binary_data_output, inputs[].parameters.binary_data_size,
    outputs[].parameters.binary_data                                    (binary tensor data)
    parameters.priority, .timeout in microseconds                       (schedule policy)
    outputs[].parameters.classification                                 (classification)
    parameters.content_type, inputs[].parameters.content_type           (MLServer: ``base64``, ``pd``)

Any other parameter is passed over, as the protocol has it.  What would change the answer if it were
passed over is refused: a sequence, shared memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelpack.errors import InputError
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import describe
from modelpack.server.bodies.writers import Write
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.oip.data import (
    BYTES,
    FastReader,
    FastReaders,
    RawReader,
    bare_text_reader,
    item_bytes,
    raw_reader,
)
from modelpack.server.faces.oip.fields import (
    flag_in,
    id_of,
    list_in,
    number_in,
    object_in,
    shape_of,
)
from modelpack.server.faces.oip.write import AnswerWriter, Wanted
from modelpack.server.faces.tensors import DATATYPES, InputPort, Shape, bare

KNOWN = frozenset(DATATYPES.values())
"""Datatypes that are read."""

_HIGH, _NORMAL, _LOW = 0, 1, 2
_PRIORITIES = {1: _HIGH, 2: _NORMAL}
"""Ours by theirs: 1 is the highest, 3 and beyond are low, 0 says nothing."""

_CONTENT = "content_type"


@dataclass(frozen=True, slots=True)
class Sent:
    """One tensor of a request, without its data."""

    port: InputPort
    name: str
    at: str
    """JSON pointer of it."""
    datatype: str
    shape: Shape
    size: int | None
    """Bytes behind the JSON; None: the data stands in the JSON."""
    is_direct: bool
    """True when the array is the argument as it is."""
    is_base64: bool
    from_json: FastReader
    from_raw: RawReader


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with the data of a request, and with its answer."""

    sent: tuple[Sent, ...]
    rest: Mapping[str, Any]
    """Arguments that the request leaves out."""
    write: Write
    write_for: Callable[[bytes], Write]
    """Returns what writes the answer to the same request with an id, given as JSON."""
    rows: int | None
    """Rows of the request; None: the arguments show it."""
    raw_bytes: int
    """Bytes behind the JSON."""
    timeout_s: float | None
    priority: int | None


class Planner:
    """Makes the plans for one model."""

    def __init__(self, served: Served, writer: AnswerWriter) -> None:
        self._served = served
        self._writer = writer
        self._ports = {port.name: port for port in served.inputs}
        self._readers = FastReaders()

    @property
    def ports(self) -> tuple[InputPort, ...]:
        """The inputs of the model."""
        return self._served.inputs

    def plan(self, head: Any) -> Plan:
        """Return the plan for a request, given as parsed JSON; raises InputError."""
        if not isinstance(head, dict):
            raise InputError.at("", "an object with 'inputs'", describe(head))
        parameters = object_in(head, "parameters", "")
        inputs = list_in(head, "inputs", "")
        content = parameters.get(_CONTENT)
        sent: dict[str, Sent] = {}
        for index, one in enumerate(inputs):
            tensor = self._sent(one, f"/inputs/{index}", content)
            if tensor.name in sent:
                raise InputError.at(
                    f"{tensor.at}/name", "each input once", f"'{tensor.name}' again"
                )
            sent[tensor.name] = tensor
        if missing := [
            p.name for p in self._ports.values() if p.is_required and p.name not in sent
        ]:
            names = ", ".join(f"'{name}'" for name in missing)
            raise InputError.at("/inputs", f"also the input {names}", f"{len(inputs)} others")
        _refuse_state(parameters)
        is_binary = flag_in(parameters, "binary_data_output", "/parameters") or False
        wanted = self._wanted(head, is_binary=is_binary)
        timeout_us = number_in(parameters, "timeout", "/parameters")
        priority = number_in(parameters, "priority", "/parameters")
        return self._made(
            tuple(sent.values()),
            partial(self._writer.writer, wanted, is_binary=is_binary),
            id_of(head),
            timeout_us / 1e6 if timeout_us else None,
            _PRIORITIES.get(priority, _LOW) if priority else None,
        )

    def plan_bare(self, size: int) -> Plan:
        """Return the plan for the bytes of the only input, with nothing around them.

        It is a request of one row, and its answers are binary (raw binary request).
        """
        required = [port for port in self._ports.values() if port.is_required]
        ports = required or list(self._ports.values())
        if len(ports) != 1:
            raise InputError.at("", "a JSON part: the model has several inputs", "bytes alone")
        (port,) = ports
        api = self._served.api
        one_row = (1, *port.shape[1:]) if port.name in api.batched else port.shape
        if port.datatype == BYTES:
            shape = tuple(1 if length < 0 else length for length in one_row)
            if math.prod(shape) != 1:
                raise InputError.at(
                    "", f"a JSON part: '{port.name}' has several texts", "bytes alone"
                )
        else:
            shape = _filled(port, one_row, size)
        at = f"/{port.name}"
        read = bare_text_reader(shape) if port.datatype == BYTES else None
        sent = self._tensor(port, at, port.datatype, shape, size, read=read)
        write_for = partial(self._writer.writer, None, is_binary=True)
        return self._made((sent,), write_for, b"", None, None)

    def _made(
        self,
        sent: tuple[Sent, ...],
        write_for: Callable[[bytes], Write],
        id_: bytes,
        timeout_s: float | None,
        priority: int | None,
    ) -> Plan:
        names = {one.name for one in sent}
        parameters = self._served.endpoint.decodes.parameters
        return Plan(
            sent,
            {one.name: one.default for one in parameters if one.name not in names},
            write_for(id_),
            write_for,
            self._rows(sent),
            sum(one.size or 0 for one in sent),
            timeout_s,
            priority,
        )

    def _rows(self, sent: tuple[Sent, ...]) -> int | None:
        """Return the rows that the shapes tell of; None: the arguments have to be looked at."""
        api = self._served.api
        if api.batch is None:
            return 1
        shapes = {one.name: one.shape for one in sent if one.is_direct}
        counts = {shapes[name][0] if name in shapes else 0 for name in api.batched}
        return counts.pop() or None if len(counts) == 1 else None

    def _sent(self, one: Any, at: str, content: Any) -> Sent:
        """Return one element of ``inputs``; raises InputError."""
        if not isinstance(one, dict):
            raise InputError.at(at, "an object with name, datatype, shape and data", describe(one))
        name = one.get("name")
        port = self._ports.get(name) if isinstance(name, str) else None
        if port is None:
            known = ", ".join(f"'{name}'" for name in self._ports)
            got = describe(name) if name is not None else "nothing"
            raise InputError.at(f"{at}/name", f"one of the inputs {known}", got)
        datatype = one.get("datatype")
        if not isinstance(datatype, str) or datatype not in KNOWN:
            expected = f"a datatype, such as {port.datatype}"
            raise InputError.at(f"{at}/datatype", expected, describe(datatype))
        shape = shape_of(one.get("shape"), datatype, f"{at}/shape")
        parameters = object_in(one, "parameters", at)
        if "shared_memory_region" in parameters:
            raise InputError.at(f"{at}/parameters", "data in the request", "a shared memory region")
        size = number_in(parameters, "binary_data_size", f"{at}/parameters")
        if (size is None) == (one.get("data") is None):
            both = "both" if size is not None else "neither"
            raise InputError.at(at, "either data or the parameter binary_data_size", both)
        if size is not None and (each := item_bytes(datatype)) and size != math.prod(shape) * each:
            expected = f"{math.prod(shape) * each} for {datatype}{list(shape)}"
            raise InputError.at(f"{at}/parameters/binary_data_size", expected, str(size))
        is_base64 = parameters.get(_CONTENT, content) == "base64" and datatype == BYTES
        return self._tensor(port, at, datatype, shape, size, is_base64=is_base64)

    def _tensor(
        self,
        port: InputPort,
        at: str,
        datatype: str,
        shape: Shape,
        size: int | None,
        *,
        is_base64: bool = False,
        read: RawReader | None = None,
    ) -> Sent:
        value = bare(port.parameter.value)
        is_direct = False
        if isinstance(value, TensorValue):
            if datatype != port.datatype:
                raise InputError.at(f"{at}/datatype", port.datatype, datatype)
            trouble = value.check_shape(shape)
            if trouble is None and not shape and value.spec.shape is None:
                trouble = "shape []"
            if trouble is not None:
                raise InputError.at(f"{at}/shape", value.expectation, trouble)
            is_direct = datatype != BYTES and not (port.refuses_nan and datatype.startswith("F"))
        return Sent(
            port,
            port.name,
            at,
            datatype,
            shape,
            size,
            is_direct,
            is_base64,
            self._readers.reader(datatype, shape),
            read or raw_reader(datatype, shape, at),
        )

    def _wanted(self, head: Mapping[str, Any], *, is_binary: bool) -> tuple[Wanted, ...] | None:
        """Return the outputs that are asked for; None: all."""
        declared = {port.name for port in self._served.outputs.declared}
        wanted = []
        for index, one in enumerate(list_in(head, "outputs", "")):
            at = f"/outputs/{index}"
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str):
                raise InputError.at(at, "an object with the name of an output", describe(one))
            if declared and name not in declared:
                known = ", ".join(f"'{name}'" for name in sorted(declared))
                raise InputError.at(f"{at}/name", f"one of the outputs {known}", describe(name))
            parameters = object_in(one, "parameters", at)
            if "shared_memory_region" in parameters:
                raise InputError.at(
                    f"{at}/parameters", "data in the answer", "a shared memory region"
                )
            binary = flag_in(parameters, "binary_data", f"{at}/parameters")
            classes = number_in(parameters, "classification", f"{at}/parameters") or 0
            wanted.append(Wanted(name, is_binary if binary is None else binary, classes))
        if len({one.name for one in wanted}) < len(wanted):
            raise InputError.at("/outputs", "each output once", "one of them again")
        return tuple(wanted) or None


def _filled(port: InputPort, shape: Shape, size: int) -> Shape:
    """Return the shape with its one open axis as long as so many bytes make it."""
    each = item_bytes(port.datatype)
    fixed = each * math.prod(length for length in shape if length >= 0)
    if sum(length < 0 for length in shape) > 1:
        raise InputError.at("", f"a JSON part: '{port.name}' has several open axes", "bytes alone")
    if -1 in shape and fixed and size % fixed == 0:
        return tuple(size // fixed if length < 0 else length for length in shape)
    if -1 in shape or fixed != size:
        told = ", ".join("?" if length < 0 else str(length) for length in shape)
        raise InputError.at("", f"the bytes of one row, {port.datatype}[{told}]", f"{size} bytes")
    return shape


def _refuse_state(parameters: Mapping[str, Any]) -> None:
    """Raise InputError for a request that is a part of a sequence: an answer without it is wrong."""
    if parameters.get("sequence_id") not in (None, 0, ""):
        raise InputError.at(
            "/parameters/sequence_id", "none: nothing is kept between requests", "one"
        )
