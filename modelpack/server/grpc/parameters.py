"""Parameters of requests and outputs that mean something here; all others are let through.

| parameter                     | of       | meaning                                               |
| ----------------------------- | -------- | ----------------------------------------------------- |
| timeout                       | request  | microseconds that it may take                         |
| priority                      | request  | 0: as usual, 1: first, 2: as usual, from 3 on: last   |
| sequence_id                   | request  | not 0 or empty: refused, there are no sequences here  |
| triton_enable_empty_final_response | request | a stream says which answer is its last            |
| classification                | output   | the N largest values, as texts ``value:index``        |

Triton, protocol extensions: schedule policy, sequence, classification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelpack.server.faces.oip.write import classes_of
from modelpack.server.faces.tensors import Named
from modelpack.server.grpc.arguments import misfit
from modelpack.server.grpc.calls import Asked
from modelpack.server.grpc.messages import Message

EMPTY_FINAL = "triton_enable_empty_final_response"
FINAL = "triton_final_response"

_NORMAL, _LAST = 1, 2


def value_of(parameters: Mapping[str, Message], name: str) -> Any:
    """Return the value of a parameter; None: it is not there."""
    if name not in parameters:  # asking a map for a key would add it
        return None
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def wishes_of(request: Message, asked: Asked) -> Asked:
    """Return what a call asks for, its message included; raises InputError."""
    parameters = request.parameters
    if not parameters:
        return asked
    if value_of(parameters, "sequence_id"):
        raise misfit("/parameters/sequence_id", "no sequence: every request stands alone", "one")
    timeout_us = _whole(parameters, "timeout")
    timeout_s = asked.timeout_s
    if timeout_us:
        own_s = timeout_us / 1e6
        timeout_s = own_s if timeout_s is None else min(own_s, timeout_s)
    priority = asked.priority
    if level := _whole(parameters, "priority"):
        priority = 0 if level == 1 else _NORMAL if level == _LAST else _LAST
    return replace(asked, timeout_s=timeout_s, priority=priority)


def _whole(parameters: Mapping[str, Message], name: str) -> int:
    """Return a parameter that is a number from 0 on; 0: it is not there.  Raises InputError."""
    value = value_of(parameters, name)
    if value is None:
        return 0
    if isinstance(value, str) and value.isdigit() and len(value) < 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise misfit(f"/parameters/{name}", "a whole number from 0 on", repr(value)[:40])
    return value


def classified(one: Named, parameters: Mapping[str, Message], *, has_rows: bool) -> Named:
    """Return a tensor of an answer as its output asks for it; raises InputError, RefusedRequest."""
    count = _whole(parameters, "classification") if parameters else 0
    return classes_of(one, count, has_rows=has_rows) if count else one
