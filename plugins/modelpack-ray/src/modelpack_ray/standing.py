"""What of a deployment stands on a cluster, read from what Serve says.

    applications NAME--HEX ──► Standing
        settled     answers at the route of the deployment
        candidate   beside it, at a route of its own, and nobody has found it healthy yet
        leftovers   were settled once and have lost the route: what a cut-short change has left
        going       are being deleted

Serve's words for an application: NOT_STARTED, DEPLOYING, DEPLOY_FAILED, RUNNING, UNHEALTHY, DELETING
(``ApplicationStatus`` in Ray's documentation, "Serve API").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.deploy import State
from modelpack_ray.kept import Kept
from modelpack_ray.node import SERVICE
from modelpack_ray.rest import Json, last_line
from modelpack_ray.wanted import is_name_of

_REASON = "modelpack: "
_TAKING = ("RUNNING", "UPDATING")


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An application of ours."""

    name: str
    status: str
    config: Json
    kept: Kept
    details: Mapping[str, Any]
    """What Serve says of it."""

    @property
    def replicas(self) -> list[Mapping[str, Any]]:
        """The replicas of the service that there are, whatever their state."""
        service = (self.details.get("deployments") or {}).get(SERVICE) or {}
        return list(service.get("replicas") or ())

    @property
    def running(self) -> int:
        """How many of them take requests."""
        return sum(one.get("state") in _TAKING for one in self.replicas)

    @property
    def wanted(self) -> int:
        """How many Serve wants right now."""
        service = (self.details.get("deployments") or {}).get(SERVICE) or {}
        return int(service.get("target_num_replicas") or 0)

    @property
    def state(self) -> State:
        """The state in our words."""
        if self.status == "RUNNING":
            return State.RUNNING
        if self.status == "DEPLOY_FAILED":
            # A scaling that finds no room leaves what is there as it is.
            return State.FAILED
        if self.status == "UNHEALTHY":
            return State.UNHEALTHY
        if self.running and self.kept.is_settled and self.kept.former is None:
            return State.RUNNING  # some of it is started anew, and the rest answers
        return State.STARTING

    @property
    def detail(self) -> str | None:
        """Why it is not running, in Serve's words."""
        parts = (self.details, *(self.details.get("deployments") or {}).values())
        said = [one.get("message") or "" for one in parts]
        return reason_in("\n".join(said)) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All of one deployment."""

    settled: App | None = None
    candidate: App | None = None
    leftovers: tuple[App, ...] = ()
    going: tuple[str, ...] = ()

    @property
    def now(self) -> App | None:
        """The one that was begun last."""
        return self.candidate or self.settled

    @property
    def is_settled(self) -> bool:
        """True when there is nothing on trial and nothing left over."""
        return (
            self.settled is not None
            and self.candidate is None
            and not self.leftovers
            and not self.settled.kept.is_on_trial
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The applications that are no longer to be there when it is destroyed."""
        apps = [one for one in (self.settled, self.candidate) if one is not None]
        return tuple(sorted(one.name for one in (*apps, *self.leftovers)))


def standing_of(found: Json, name: str) -> Standing:
    """Return what stands of the deployment."""
    settled, candidate = None, None
    leftovers, going = [], []
    for app_name, details in sorted(found["applications"].items()):
        app = app_in(app_name, details)
        if app is None or app.kept.spec.name != name:
            if is_name_of(app_name, name) and details.get("status") == "DELETING":
                going.append(app_name)
            continue
        if not app.kept.is_settled:
            if candidate is None or candidate.kept.since <= app.kept.since:
                if candidate is not None:
                    leftovers.append(candidate)
                candidate = app
            else:
                leftovers.append(app)
        elif app.config.get("route_prefix") == app.kept.route:
            settled = app
        else:
            leftovers.append(app)
    return Standing(
        settled=settled, candidate=candidate, leftovers=tuple(leftovers), going=tuple(going)
    )


def app_in(name: str, details: Mapping[str, Any]) -> App | None:
    """Return an application of ours; None for that of somebody else, or one that goes."""
    config = details.get("deployed_app_config")
    if not config or details.get("status") == "DELETING":
        return None
    service = next(
        (one for one in config.get("deployments") or () if one.get("name") == SERVICE), None
    )
    kept = None if service is None else Kept.from_config(service.get("user_config"))
    if kept is None:
        return None
    status = str(details.get("status"))
    return App(name=name, status=status, config=config, kept=kept, details=details)


def names_in(found: Json) -> list[str]:
    """Return the names of all deployments of ours."""
    apps = (app_in(name, details) for name, details in found["applications"].items())
    return sorted({app.kept.spec.name for app in apps if app is not None})


def route_owner(found: Json, route: str) -> str | None:
    """Return the application that answers at a route."""
    for name, details in sorted(found["applications"].items()):
        config = details.get("deployed_app_config") or {}
        if details.get("status") == "DELETING":
            continue
        if route in (details.get("route_prefix"), config.get("route_prefix")):
            return str(name)
    return None


def reason_in(text: str) -> str:
    """Return the line of a message of Serve that says why: ours, else the last one of an error.

    Serve's messages hold whole tracebacks of Python.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if _REASON in line:
            return last_line(line.partition(_REASON)[2])
    errors = [line for line in lines if "Error" in line.partition(":")[0]]
    return last_line(errors[-1]) if errors else last_line(text)
