"""What a deployment remembers of itself, in one text that Google keeps with it.

    Kept(entries, trial, shares) ──text──► annotation of the service, description of the endpoint
                                 ◄─read──

``entries`` were found healthy, oldest first: the last one is what answers.  ``trial`` was applied and
nobody has found it healthy yet; ``shares`` is how the calls went before it came, which is what going
back means.  A spec is all that a request is made of, so these specs are all that going back takes.
No value of a secret is in a spec.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy import Entry, moment
from modelpack.errors import ModelpackError

MOST = 10
"""How many revisions are kept, the one that answers among them."""

MOST_BYTES = 12_000
"""Of the text; older revisions are dropped until it fits."""

OF_THE_CALLER = frozenset({"base", "credentials", "endpoint", "inside", "project", "region"})
"""Options that say who asks where and how an image is made; all others are of the revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The revisions of a deployment."""

    name: str
    target: str
    entries: tuple[Entry, ...] = ()
    trial: Entry | None = None
    shares: Mapping[str, int] = field(default_factory=dict)
    """Percent of the calls by unit, before the trial."""

    @property
    def now(self) -> Entry | None:
        """What was applied last; None: nothing yet."""
        return self.trial or self.settled

    @property
    def settled(self) -> Entry | None:
        """What was found healthy last."""
        return self.entries[-1] if self.entries else None

    @property
    def units(self) -> frozenset[str]:
        """Every unit that is needed, to answer or to go back to."""
        all_of_them = (*self.entries, *((self.trial,) if self.trial else ()))
        return frozenset(one.unit for one in all_of_them) | frozenset(self.shares)

    def trying(self, entry: Entry, shares: Mapping[str, int]) -> Kept:
        """Return it with a revision on trial; what the shares were before stays known."""
        before = self.shares if self.trial is not None else shares
        return replace(self, trial=entry, shares=dict(before))

    def healthy(self) -> Kept:
        """Return it with the trial as what answers."""
        if self.trial is None:
            return self
        entry = replace(self.trial, since=moment(datetime.now(UTC)))
        return replace(self, entries=(*self.entries, entry)[-MOST:], trial=None, shares={})

    def back(self) -> Kept:
        """Return it without the trial."""
        return replace(self, trial=None, shares={})

    def share(self, split: Mapping[str, int]) -> str | None:
        """Return how many calls the newest revision gets, in words; None: all, or nobody knows."""
        now = self.now
        percent = split.get(now.unit, 0) if now is not None else 0
        if now is None or not 0 < percent < 100:
            return None
        others = [one for one in self.entries if one.unit in split and one.unit != now.unit]
        rest = (
            f"'{others[-1].spec.bundle}' gets the others" if others else "another gets the others"
        )
        return f"it gets {percent} in 100 calls, {rest}"

    def text(self) -> str:
        """Return the text, with as much of the history as there is room for."""
        entries = list(self.entries)
        while True:
            value = {
                "name": self.name,
                "target": self.target,
                "entries": [entry.to_json() for entry in entries],
                "trial": None if self.trial is None else self.trial.to_json(),
                "shares": dict(self.shares),
            }
            text = json.dumps(value, sort_keys=True, separators=(",", ":"))
            if len(text) <= MOST_BYTES or len(entries) <= 1:
                return text
            entries.pop(0)

    @classmethod
    def read(cls, text: str | None) -> Kept | None:
        """Read what ``text`` wrote; None when nothing of ours is there to be read."""
        try:
            value = json.loads(text or "")
            trial = value["trial"]
            return cls(
                name=str(value["name"]),
                target=str(value["target"]),
                entries=tuple(Entry.from_json(one) for one in value["entries"]),
                trial=None if trial is None else Entry.from_json(trial),
                shares={str(k): int(v) for k, v in value["shares"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
            return None


def digits(value: Any) -> str:
    """Return the hex digits of the SHA-256 of plain JSON values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
