"""What a deployment knows of itself, kept by Ray Serve in the ``user_config`` of its application.

    application NAME--HEX ── deployments[service].user_config.modelpack ──► Kept
        spec · route · since · is_settled · former (before a scaling) · history (found healthy before)

Serve hands a changed ``user_config`` to running replicas without starting them anew, so this is the one
place that can be written while the service runs.  Ours do nothing with it.

Source: Ray's documentation, "Serve config files" (``user_config``) and "Updating applications in place".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.deploy import DeploymentSpec
from modelpack.errors import DeployError

MOST = 10
"""How many former revisions are remembered."""

_KEY = "modelpack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A revision that was found healthy once."""

    spec: DeploymentSpec
    since: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"spec": self.spec.to_json(), "since": self.since}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Past:
        """Read what ``to_json`` wrote; raises KeyError, TypeError or DeployError."""
        return cls(spec=DeploymentSpec.from_json(value["spec"]), since=str(value["since"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an application is to us."""

    spec: DeploymentSpec
    """What was asked for."""
    route: str
    """Where the deployment answers once it is settled."""
    since: str
    """When it was begun, UTC, RFC 3339."""
    is_settled: bool = False
    """True once it was found healthy."""
    former: Past | None = None
    """What the same application was before a scaling that nobody has found healthy yet."""
    history: tuple[Past, ...] = ()
    """What was healthy before, oldest first."""

    @property
    def is_on_trial(self) -> bool:
        """True while nobody has found it healthy as it is."""
        return not self.is_settled or self.former is not None

    def past(self) -> tuple[Past, ...]:
        """Return the history with what stands now at its end, if that was found healthy."""
        if not self.is_settled:
            return self.history
        now = self.former or Past(spec=self.spec, since=self.since)
        return (*self.history, now)[-MOST:]

    def scaled(self, spec: DeploymentSpec, now: str) -> Kept:
        """Return what is kept while the same replicas are on trial for another spec."""
        former = self.former or Past(spec=self.spec, since=self.since)
        return replace(self, spec=spec, since=now, former=former)

    def settled(self) -> Kept:
        """Return what is kept once it is healthy."""
        history = self.past() if self.former is not None else self.history
        return replace(self, is_settled=True, former=None, history=history[-MOST:])

    def reverted(self) -> Kept:
        """Return what was kept before a scaling."""
        if self.former is None:
            return self
        return replace(self, spec=self.former.spec, since=self.former.since, former=None)

    def to_config(self) -> dict[str, Any]:
        """Return the ``user_config``."""
        value = {
            "spec": self.spec.to_json(),
            "route": self.route,
            "since": self.since,
            "settled": self.is_settled,
            "former": None if self.former is None else self.former.to_json(),
            "history": [one.to_json() for one in self.history],
        }
        return {_KEY: value}

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> Kept | None:
        """Read what ``to_config`` wrote; None for the application of somebody else."""
        value = (config or {}).get(_KEY)
        if not isinstance(value, Mapping):
            return None
        try:
            former = value["former"]
            return cls(
                spec=DeploymentSpec.from_json(value["spec"]),
                route=str(value["route"]),
                since=str(value["since"]),
                is_settled=value["settled"] is True,
                former=None if former is None else Past.from_json(former),
                history=tuple(Past.from_json(one) for one in value["history"]),
            )
        except (KeyError, TypeError, AttributeError, DeployError):
            return None
