"""What a stack remembers of its deployment, in the metadata of its template.

    Kept(spec, image, history) ──to_json──► Template.metadata["Modelpack"] ──► CloudFormation ──► Kept

The spec is all that a template is made of, so the specs of former revisions are all that going back
to them takes.  No values of secrets are in a spec.  CloudFormation changes metadata only together with
resources (user guide, "Metadata"), so what moves without them is kept elsewhere: which revision was
found healthy is a tag of the image repository (``push``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import Entry
from modelpack.errors import ModelpackError

KEY = "Modelpack"
MOST = 10
"""How many former revisions are kept."""

_MOST_BYTES = 16_000
"""Of a template, that the history may take; older revisions are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The revision that stands, and those before it, oldest first."""

    now: Entry
    history: tuple[Entry, ...] = ()

    @property
    def revision(self) -> str:
        """Of what stands."""
        return self.now.spec.revision

    def find(self, mark: str) -> Entry | None:
        """Return the newest entry with a mark, this one or a former."""
        for entry in (self.now, *reversed(self.history)):
            if entry.mark == mark:
                return entry
        return None

    def before(self, mark: str) -> tuple[Entry, ...]:
        """Return the history as it was when a former revision stood."""
        for number in range(len(self.history) - 1, -1, -1):
            if self.history[number].mark == mark:
                return self.history[:number]
        return self.history

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; as much of the history as there is room for."""
        entries = [entry.to_json() for entry in self.history[-MOST:]]
        while entries and len(json.dumps(entries)) > _MOST_BYTES:
            entries.pop(0)
        return {KEY: {**self.now.to_json(), "history": entries}}

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Kept | None:
        """Read the metadata of a template; None when nothing of ours is there to be read."""
        try:
            value = metadata[KEY]
            return cls(
                now=Entry.from_json(value),
                history=tuple(Entry.from_json(one) for one in value.get("history") or ()),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
            return None
