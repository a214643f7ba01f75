"""One request of gRPC: its arguments, read where that holds nobody up, and its answer.

    messages ──taken──► parsed, and made arguments: on the event loop, or in a thread when that is long
                           └─ swapped meanwhile ──► made again, for the version that answers now
    Taken    ──answered──► the api's queue ──► the message that is made of the answer

What a thread takes is counted only when it is queued; a version that has nothing counted may end.  So
what was read for another version than the current one is read once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from modelpack.sdk.api import Arguments
from modelpack.server.bodies.readers import LIGHT_BINARY_BYTES
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.inference import Finish, infer, refuse
from modelpack.server.grpc.calls import Asked
from modelpack.server.grpc.messages import Message, parsed
from modelpack.server.grpc.serving import Serving

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

FACE = "grpc"
"""What counts and logs call all of it."""

_A_NUMBER = 16
"""How much longer a byte of typed contents takes than one of raw contents."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that can be queued."""

    catalog: Catalog
    served: Served
    arguments: Arguments
    asked: Asked


Find = Callable[[Catalog], Served]
Read = Callable[[Served], tuple[Arguments, Asked]]


async def parsed_aside(kind: Message, body: bytes) -> Message:
    """Return the message in the bytes of a call; raises RefusedRequest."""
    return await _aside(len(body) > LIGHT_BINARY_BYTES, parsed, kind, body)


async def taken(
    serving: Serving, find: Find, read: Read, *, size_bytes: int, is_raw: bool, asked: Asked
) -> Taken:
    """Return what a request asks of the version that is served; raises RefusedRequest.

    find    the model that it names; raises RefusedRequest
    read    its arguments, and what it asks for; what this raises is counted
    is_raw  its numbers need not be looked at one by one
    """
    weight = size_bytes if is_raw else size_bytes * _A_NUMBER
    while True:
        catalog = serving.catalog()
        served = find(catalog)
        is_long = weight > served.endpoint.reader.light_bytes({})  # any picture is
        try:
            arguments, wishes = await _aside(is_long, read, served)
        except Exception as error:  # whatever the bytes made fail is counted and answered
            raise refuse(served.endpoint, error, request_id=asked.request_id, face=FACE) from error
        if catalog is serving.catalog():
            return Taken(catalog, served, arguments, wishes)


async def answered(one: Taken, asked: Asked, size_bytes: int, finish: Finish) -> Any:
    """Return what ``finish`` makes of the answer to a request; raises RefusedRequest.

    size_bytes  how long the request was, for the limit of the queue
    """
    return await infer(
        one.served.endpoint,
        one.arguments,
        request_id=asked.request_id,
        timeout_s=one.asked.timeout_s,
        priority=one.asked.priority,
        size_bytes=size_bytes,
        fields=asked.fields,
        face=FACE,
        finish=finish,
    )


async def _aside(is_long: bool, function: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
    """Call a function here, or in a thread."""
    if is_long:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)
