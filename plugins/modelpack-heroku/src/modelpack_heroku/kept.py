"""What a deployment remembers of itself, in config vars of its apps.

    app          MODELPACK_KEPT   the revisions that were found healthy, the last one is what answers
    app-trial    MODELPACK_TRIAL  what is on trial there, and what going back from it means

A release of Heroku is code and config vars in one: going back to a release brings the memory of that
day back with it.  So the memory of an app is written with its variables and never by itself, for each
write starts its dynos anew.  A spec is all that a release is made of; no value of a secret is in one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy import Entry
from modelpack.errors import ModelpackError

MARK = "MODELPACK_DEPLOYMENT"
TARGET = "MODELPACK_TARGET"
TAG = "MODELPACK_TAG"
KEPT = "MODELPACK_KEPT"
TRIAL = "MODELPACK_TRIAL"
GIVEN = "MODELPACK_GIVEN"
"""Set where the app was there before the deployment, and stays when that goes."""
OWN = frozenset({MARK, TARGET, TAG, KEPT, TRIAL, GIVEN})
"""Config vars that the target sets itself."""

MOST = 10
"""How many revisions are kept, the one that answers among them."""

MOST_BYTES = 12_000
"""Of the text, out of the 32 KB that Heroku has for all config vars of an app."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The revisions of a deployment, oldest first."""

    entries: tuple[Entry, ...] = ()

    @property
    def settled(self) -> Entry | None:
        """What was found healthy last."""
        return self.entries[-1] if self.entries else None

    def healthy(self, entry: Entry) -> Kept:
        """Return it with one more; of the same apply there is one."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = tuple(one for one in self.entries if one.unit != entry.unit)
        return Kept((*before, replace(entry, since=now))[-MOST:])

    def text(self) -> str:
        """Return the text, with as much of the history as there is room for."""
        entries = list(self.entries)
        while True:
            text = _text({"entries": [entry.to_json() for entry in entries]})
            if len(text) <= MOST_BYTES or len(entries) <= 1:
                return text
            entries.pop(0)

    @classmethod
    def read(cls, text: str | None) -> Kept:
        """Read what ``text`` wrote; what cannot be read is nothing."""
        try:
            return cls(tuple(Entry.from_json(one) for one in json.loads(text or "")["entries"]))
        except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
            return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A revision that nobody has found healthy yet."""

    entry: Entry
    former: str | None = None
    """Release of the app that going back leads to; None: there was nothing."""
    dynos: int = 0
    """How many the app had before."""
    is_scaling: bool = False
    """True when nothing but their number changes: then the app itself is on trial."""

    def text(self) -> str:
        """Return the text."""
        value = {
            "entry": self.entry.to_json(),
            "former": self.former,
            "dynos": self.dynos,
            "is_scaling": self.is_scaling,
        }
        return _text(value)

    @classmethod
    def read(cls, text: str | None) -> Trial | None:
        """Read what ``text`` wrote; None when nothing of ours is there to be read."""
        try:
            value = json.loads(text or "")
            former = value["former"]
            return cls(
                entry=Entry.from_json(value["entry"]),
                former=None if former is None else str(former),
                dynos=int(value["dynos"]),
                is_scaling=value["is_scaling"] is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
            return None


def foreign(config: Mapping[str, str], entry: Entry | None) -> dict[str, str]:
    """Return the config vars that neither the target nor a revision of it has set: add-ons, people."""
    ours = set(OWN)
    if entry is not None:
        ours |= {*entry.spec.settings.env, *entry.spec.settings.secrets}
    return {key: value for key, value in config.items() if key not in ours}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
