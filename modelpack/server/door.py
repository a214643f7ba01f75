"""A way in to an api: a path, and how bodies, answers and errors look there.

    POST path ──Door.asked(fields)──► Asked(read, write, write_problem …) ──► Endpoint.accept

Every api has one door of its own, ``/predict``.  The contracts of other servers (``faces``) add
more: the api, its queue, its limits and its counts stay the same behind all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelpack.server.endpoint import Asked, Endpoint
from modelpack.server.problems import WriteProblem, write_problem


class Door:
    """The api's own way in; subclasses read and write as another contract says."""

    __slots__ = ("endpoint", "face", "path", "write_problem")

    def __init__(
        self, path: str, endpoint: Endpoint, write_problem: WriteProblem = write_problem
    ) -> None:
        """``write_problem`` answers a request that is refused by its head."""
        self.path = path
        self.endpoint = endpoint
        self.write_problem = write_problem
        self.face = ""
        """Name of the contract that it belongs to; "": it is the api's own."""

    def ask(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields ask for, and in whose words; raises RefusedRequest."""
        asked = self.asked(fields)
        if self.endpoint.payloads is not None:
            from modelpack.server.observe.payloads.record import said_of

            asked = replace(asked, said=said_of(self.path, fields, self.face))
        return replace(asked, face=self.face) if self.face else asked

    def asked(self, fields: Mapping[bytes, bytes]) -> Asked:
        """Return what header fields (names in lower case) ask for; raises RefusedRequest."""
        return self.endpoint.asked(fields)
