"""Writes answers in the form that the client asked for.

    answer ──AnswerWriter.json──► application/json, or the bytes of a file answer

Every writer takes the plain answer (``ApiSpec.encode``, own rows only) and returns content type,
body and header lines; it raises BadOutput.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelpack.sdk.api import ApiSpec
from modelpack.server.bodies import codecs
from modelpack.server.problems import Headers

Write = Callable[[Any], tuple[bytes, bytes, Headers]]
"""Returns content type, body and header lines of an answer."""


class AnswerWriter:
    """Chooses how the answers of one api are written."""

    def __init__(self, api: ApiSpec) -> None:
        self.is_file = api.returns.is_file and not api.is_stream
        """True when an answer is a file as it is, and no JSON."""
        self.json: Write = _file_writer(api.returns.media_type) if self.is_file else write_json
        """Writes what a client gets that asks for nothing."""

    def writer_for(self, _accept: bytes) -> Write:
        """Return what writes answers for a value of the Accept header."""
        return self.json


def write_json(answer: Any) -> tuple[bytes, bytes, Headers]:
    """Write JSON."""
    return b"application/json", codecs.dump(answer), ()


def _file_writer(media_type: str) -> Write:
    content_type = media_type.encode()

    def write(answer: Any) -> tuple[bytes, bytes, Headers]:
        return content_type, answer, ()

    return write
