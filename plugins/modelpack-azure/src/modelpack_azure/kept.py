"""Where Azure keeps for us what a revision was made of.

    Entry ──written──► variable of the container, or property of an environment version ──read──► Entry

Revisions of Azure do not change and stay for a long time, so what they were made of is kept in them.
Which of them were found healthy is a tag of the app or endpoint.
"""

from __future__ import annotations

import json

from modelpack.deploy import Entry
from modelpack.errors import ModelpackError

VARIABLE = "MODELPACK_DEPLOYMENT"
"""Variable of a container that holds its entry."""


def written(entry: Entry) -> str:
    """Return an entry as one line of JSON, the same each time."""
    return json.dumps(entry.to_json(), sort_keys=True, separators=(",", ":"))


def read(text: str | None) -> Entry | None:
    """Read what ``written`` wrote; None for anything else."""
    try:
        return Entry.from_json(json.loads(text or ""))
    except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
        return None
