"""The messages of ``protos/``, in a pool of their own.

protos/*.proto ──scripts/grpc_descriptors.py──► descriptors.py ──► message("inference.…")

protobuf keeps one pool of messages for a process, and two definitions of one name in it are an
error.  A service whose code uses a client of Triton or of TensorFlow Serving has those already, so
ours are in another pool.  The descriptors are read by any protobuf runtime from 4 on, unlike the
modules that ``protoc`` writes, which are made for one.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from modelpack.server.grpc.descriptors import FILES
from modelpack.server.problems import Problem, RefusedRequest

Message = Any
"""A message; its fields are made as the program runs, so type checkers know nothing of them."""

_POOL = descriptor_pool.DescriptorPool()


def _fill() -> dict[str, bytes]:
    """Add every file to the pool; returns them by name."""
    files = {}
    for data in FILES:
        _POOL.AddSerializedFile(data)
        files[descriptor_pb2.FileDescriptorProto.FromString(data).name] = data
    return files


FILES_BY_NAME = _fill()
"""Serialized descriptors, each after those that it imports."""


def message(name: str) -> Message:
    """Return the class of a message by its whole name."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def enum(name: str) -> dict[str, int]:
    """Return the numbers of an enumeration by the names of its values."""
    values = _POOL.FindEnumTypeByName(name).values
    return {value.name: value.number for value in values}


def file_of(symbol: str) -> str:
    """Return the name of the file that defines a message or service; raises KeyError."""
    return str(_POOL.FindFileContainingSymbol(symbol).name)


def imports_of(file: str) -> list[str]:
    """Return the names of a file and of all that it imports, itself first; raises KeyError."""
    names = [file]
    for name in names:
        found = _POOL.FindFileByName(name).dependencies
        names += [one.name for one in found if one.name not in names]
    return names


def parsed(kind: Message, data: bytes) -> Message:
    """Return the message in the bytes of a call; raises RefusedRequest."""
    try:
        return kind.FromString(data)
    except DecodeError as cause:
        detail = f"the bytes are no {kind.DESCRIPTOR.name}"
        raise RefusedRequest(Problem(400, "bad-request", "bad request", detail)) from cause
