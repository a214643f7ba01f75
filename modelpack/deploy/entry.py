"""A revision as a platform keeps it for us: all that it was made of.

    Entry(spec, image, mode, options) ──to_json──► tag, annotation, metadata ──from_json──► Entry

The spec is all that a request is made of, so the entries of former revisions are all that going back
to them takes.  No value of a secret is in a spec.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.spec import DeploymentSpec, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One revision of a deployment."""

    spec: DeploymentSpec
    image: str
    """Reference by digest."""
    mode: str = ""
    """Word of the mode; empty for a target that has none."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the target that decide what runs: those that ``chosen`` leaves."""
    unit: str = ""
    """What the platform calls the part that runs it, where it has a name of its own."""
    since: str | None = None
    """When it was found healthy, UTC, RFC 3339."""

    @property
    def mark(self) -> str:
        """What tells it from others: the revision, and six digits for the options, if any."""
        return marked(self.spec.revision, self.options)

    def facts(self, capabilities: Capabilities) -> dict[str, Fact]:
        """Return what is compared: what is heeded of the spec, its mode, and the options."""
        told: dict[str, Fact] = {f"option.{key}": one for key, one in self.options.items()}
        if self.mode:
            told["mode"] = self.mode
        return capabilities.heeded(self.spec.facts()) | told

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is empty is left out."""
        told = {
            "mode": self.mode,
            "options": dict(self.options),
            "unit": self.unit,
            "since": self.since,
        }
        kept = {key: one for key, one in told.items() if one}
        return {"spec": self.spec.to_json(), "image": self.image, **kept}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote; raises KeyError, TypeError, ValueError, DeployError."""
        since = value.get("since")
        return cls(
            spec=DeploymentSpec.from_json(value["spec"]),
            image=str(value["image"]),
            mode=str(value.get("mode") or ""),
            options={str(k): str(one) for k, one in dict(value.get("options") or {}).items()},
            unit=str(value.get("unit") or ""),
            since=None if since is None else str(since),
        )


def chosen(options: Mapping[str, str], of_the_caller: Collection[str]) -> dict[str, str]:
    """Return the options that decide what runs, by name.

    of_the_caller  those that say who asks, where, and how an image is made
    """
    return {key: options[key] for key in sorted(options) if key not in of_the_caller}


def marked(revision: str, options: Mapping[str, str]) -> str:
    """Return letters and digits that tell a revision with these options from all others."""
    if not options:
        return revision
    text = json.dumps(dict(options), sort_keys=True)
    return f"{revision}{hashlib.sha256(text.encode()).hexdigest()[:6]}"
