"""A revision as Azure keeps it for us: the spec, the image and the options it was made with.

    Entry ──text()──► variable of the container, or property of an environment version ──► Entry

Revisions of Azure do not change and stay for a long time, so what they were made of is kept in them.
Which of them were found healthy is a tag of the app or endpoint.  No value of a secret is in a spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelpack.deploy import DeploymentSpec
from modelpack.errors import ModelpackError
from modelpack_azure.naming import marked

VARIABLE = "MODELPACK_DEPLOYMENT"
"""Variable of a container that holds its entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One revision."""

    spec: DeploymentSpec
    image: str
    """Reference by digest."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the target that decide what runs."""

    @property
    def mark(self) -> str:
        """What tells it from others: the revision, and something of the options, if any."""
        return marked(self.spec.revision, self.options)

    def text(self) -> str:
        """Return it as one line of JSON, the same each time."""
        value: dict[str, Any] = {"image": self.image, "spec": self.spec.to_json()}
        if self.options:
            value["options"] = dict(self.options)
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    @classmethod
    def read(cls, text: str | None) -> Entry | None:
        """Read what ``text`` wrote; None for anything else."""
        try:
            value = json.loads(text or "")
            return cls(
                spec=DeploymentSpec.from_json(value["spec"]),
                image=str(value["image"]),
                options={str(k): str(v) for k, v in (value.get("options") or {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, ModelpackError):
            return None
