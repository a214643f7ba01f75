"""A path on which an api is asked in the words of a platform.

    POST path ──asked(fields)──► Reader(endpoint, dialect) ──► arguments, and how their answer looks

``wishes`` is for platforms that strip all header fields but one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from modelpack.errors import InputError
from modelpack.sdk.api import Arguments
from modelpack.server.bodies.readers import Read
from modelpack.server.door import Door
from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.faces.dialects import Dialect, Fields, Reader
from modelpack.server.problems import WriteProblem

Wishes = Callable[[Fields], Fields]
"""Adds to header fields what the platform has hidden in one of its own."""


def _as_they_are(fields: Fields) -> Fields:
    return fields


class Scoring(Door):
    """A door at which rows are handed over as a platform does."""

    __slots__ = ("_reader", "_wishes")

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        dialect: Dialect,
        write_problem: WriteProblem,
        wishes: Wishes = _as_they_are,
    ) -> None:
        super().__init__(path, endpoint, write_problem)
        self._reader = Reader(endpoint, dialect)
        self._wishes = wishes

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields ask for; raises RefusedRequest."""
        fields = self._wishes(fields)
        # What the same head says with JSON behind it: how soon, how important, with which trace.
        asked = self.endpoint.asked({**fields, b"content-type": b"application/json"})
        read = self.endpoint.reader.inflating(fields, self._reader.read_for)
        return replace(
            asked,
            read=partial(_one_row, read) if self.endpoint.api.is_stream else read,
            light_bytes=self._reader.light_bytes(fields),
            write_problem=self.write_problem,
        )


def _one_row(read: Read, body: bytes) -> Arguments:
    """Read the body of a call whose answer is a stream: there is one for each call."""
    arguments = read(body)
    if arguments.take is not None:
        raise InputError.at("", "one row, as the api streams its answer", "several")
    return arguments
