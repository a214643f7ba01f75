"""Messages between ``modelpack batch`` and the process that runs the service.

    message ──to_bytes──► length (8 bytes, little endian), ``packing`` of a mapping ──► message

    to the service                                     from the service
    chunk N, rows | json | arrays, careful, dead       hello      what the api takes and gives
    readings                                           chunk N, good, answer, bad, run_s
                                                       chunk N, at        (careful) the row that begins
                                                       readings   the counts so far
                                                       failed     why there is no service, or no more

Arrays that come in are views of the bytes that were read, and may be written to.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

import orjson

from modelpack.server.bodies.codecs import dump
from modelpack.server.runners.process.packing import pack
from modelpack.server.runners.process.unpacking import unpack

LENGTH = struct.Struct("<Q")

MOST_BYTES = 1 << 32
"""Longest message that is believed."""

Message = Mapping[str, Any]


def to_bytes(message: Message) -> bytearray:
    """Return the bytes of a message; raises PackingError for what is no plain value."""
    packed = pack(dict(message), plain=_plain)
    data = bytearray(LENGTH.size + packed.size)
    LENGTH.pack_into(data, 0, packed.size)
    packed.write(data, LENGTH.size)
    return data


def read_message(channel: socket.socket) -> dict[str, Any] | None:
    """Wait for a message; None: the other side is gone."""
    head = bytearray(LENGTH.size)
    if not _fill(channel, head):
        return None
    body = bytearray(_length(head))
    return _message(body) if _fill(channel, body) else None


async def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Return the next message, as ``read_message``, of a socket that does not block."""
    head = bytearray(LENGTH.size)
    if not await _receive_into(channel, head):
        return None
    body = bytearray(_length(head))
    return _message(body) if await _receive_into(channel, body) else None


def _fill(channel: socket.socket, data: bytearray) -> bool:
    left = memoryview(data)
    while left:
        try:
            count = channel.recv_into(left)
        except ConnectionError:
            count = 0
        if not count:
            return False
        left = left[count:]
    return True


async def _receive_into(channel: socket.socket, data: bytearray) -> bool:
    loop = asyncio.get_running_loop()
    left = memoryview(data)
    while left:
        try:
            count = await loop.sock_recv_into(channel, left)
        except ConnectionError:
            count = 0
        if not count:
            return False
        left = left[count:]
    return True


def _length(head: bytearray) -> int:
    size: int = LENGTH.unpack(head)[0]
    if size > MOST_BYTES:
        raise ValueError(f"a message of {size} bytes")
    return size


def _message(body: bytearray) -> dict[str, Any]:
    value = unpack(body)
    if not isinstance(value, dict):
        raise ValueError("a message is a mapping")
    return value


def _plain(value: Any) -> Any:
    """Return what JSON makes of a value that is not plain, such as a time; raises BadOutput."""
    return orjson.loads(dump(value))
