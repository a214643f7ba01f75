"""What travels between a call and its connection, and what comes out in the end.

Request ──Wire──► Reply          what was sent, what came back, as HTTP has it
Answer                           the value of a call, with the facts around it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, complete."""

    method: str = "POST"
    path: str
    """Route of the api, without the base of the server."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""
    host: str = ""
    """What to say as ``Host``; "": the server's own name."""
    is_stream: bool = False
    """True when the body of a good answer is wanted piece by piece."""


@dataclass(slots=True)
class Reply:
    """One answer as it came."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytearray
    """Empty for a stream."""
    pieces: Any = None
    """For a stream: what its pieces are read from, an (async) iterator of bytes with ``close``."""

    @property
    def content_type(self) -> str:
        """Content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call, and what is known of it."""

    value: Any
    """What the api returned; for a stream, what its pieces are read from."""
    status: int
    """HTTP status, or what stands for it with gRPC."""
    request_id: str
    """Under which the server's log has it."""
    attempts: int
    """How often the request was sent."""
    seconds: float
    """From the first attempt to the whole answer; of a stream, to its head."""
    headers: Mapping[str, str]
    """Header fields of the answer, names in lower case."""
