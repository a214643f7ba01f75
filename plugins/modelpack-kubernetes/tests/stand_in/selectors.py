"""Which objects a list or a watch is about: ``labelSelector`` and ``fieldSelector``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .refusals import bad

_TERM = re.compile(
    r"(!?)([A-Za-z0-9._/-]+)\s*(?:(==?|!=)\s*([A-Za-z0-9._-]*)|(in|notin)\s*\(([^)]*)\))?"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels that must be so; fields likewise."""

    equal: Mapping[str, str] = field(default_factory=dict)
    among: tuple[tuple[str, frozenset[str], bool], ...] = ()
    exists: tuple[tuple[str, bool], ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Read the parameters of a request; raises Refused."""
        equal: dict[str, str] = {}
        among, exists = [], []
        for text in re.split(r",(?![^(]*\))", query.get("labelSelector") or ""):
            if not text.strip():
                continue
            match = _TERM.fullmatch(text.strip())
            if match is None:
                raise bad(f"unable to parse requirement: {text}")
            not_, key, sign, value, word, values = match.groups()
            if sign in ("=", "=="):
                equal[key] = value
            elif sign == "!=":
                among.append((key, frozenset([value]), False))
            elif word:
                among.append(
                    (key, frozenset(one.strip() for one in values.split(",")), word == "in")
                )
            else:
                exists.append((key, not not_))
        pairs = [one.split("=", 1) for one in (query.get("fieldSelector") or "").split(",") if one]
        return cls(equal, tuple(among), tuple(exists), dict(pairs))

    def takes(self, value: Mapping[str, Any]) -> bool:
        """Return whether an object is meant."""
        labels = value["metadata"].get("labels") or {}
        return (
            all(labels.get(key) == one for key, one in self.equal.items())
            and all((labels.get(key) in values) is is_in for key, values, is_in in self.among)
            and all((key in labels) is is_there for key, is_there in self.exists)
            and all(_at(value, key) == one for key, one in self.fields.items())
        )


def _at(value: Any, path: str) -> str:
    for key in path.split("."):
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return str(value) if not isinstance(value, dict) else ""
