"""What a deployment would change: a pure function of a spec and of what stands.

spec + Live ──plan──► Plan: two apps, the image, and what the release is made of, with its cost
spec ──render──► heroku.yml, app.json, and the requests of a first apply, each held against the schema
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from modelpack.deploy import (
    Capabilities,
    Change,
    DeploymentSpec,
    Entry,
    Fact,
    Live,
    Plan,
    Rendered,
    change_to,
    chosen,
)
from modelpack.deploy.shipping import grace_of
from modelpack.errors import UsageError
from modelpack_heroku import strict
from modelpack_heroku.body import PROCESS, STACK, check_size, replicas, variables
from modelpack_heroku.naming import TRIAL, app_name
from modelpack_heroku.sizes import cost_of, size_for

OF_THE_CALLER = frozenset({"app", "base", "endpoint", "registry", "team", "token_file"})
"""Options that say who asks where and how an image is made."""

_GRACE_S = 30.0
"""From SIGTERM to SIGKILL (Heroku Dev Center, "Dyno Shutdown Behavior")."""
_REGIONS = ("us", "eu")
"""Of the Common Runtime (Heroku Dev Center, "Regions")."""

_NO_NETWORK = "an app of the Common Runtime has no network of its own"
_CAPABILITIES = Capabilities(
    heeds=frozenset(
        {"region", "memory_bytes", "instance", "env", "secrets", "min_replicas", "public"}
    ),
    reasons={
        "cpu": "a dyno has the share of its size",
        "mode": "there is one way only",
        "accelerator": "Heroku has no accelerators",
        "canary_percent": "a release of Heroku gets all calls at once",
        "max_replicas": "Heroku's autoscaling is set in its dashboard, for performance dynos",
        "in_flight": "Heroku's autoscaling goes by response time",
        "labels": "an app of Heroku has none",
        "vpc": _NO_NETWORK,
        "subnets": _NO_NETWORK,
        "security_groups": _NO_NETWORK,
        "allow": _NO_NETWORK,
    },
    secret_schemes=("env", "file"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What the target knows without asking anybody."""

    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """What Heroku does of a spec."""
        return _CAPABILITIES

    def app(self, name: str) -> str:
        """Return the name of a deployment's app."""
        return app_name(name, self.options.get("app"))

    def facts(self, spec: DeploymentSpec) -> dict[str, Fact]:
        """Return what a spec asks for with the options of now."""
        return facts_of(Entry(spec=spec, image="", options=chosen(self.options, OF_THE_CALLER)))

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; raises UsageError for what cannot be."""
        self.check(spec)
        there, wanted = live.surroundings.get("region"), spec.settings.region
        if there and wanted and there != wanted:
            raise UsageError(
                f"deploy.region: the app of '{spec.name}' is in '{there}', and stays there",
                hint=f"take it out, or destroy the deployment first: it would go to '{wanted}'",
            )
        app, size = self.app(spec.name), size_for(spec.settings)
        change = change_to(f"app/{app}", live, self.facts(spec), stays=True)
        changes = [change]
        if change.action != "none":
            change = replace(change, cost=cost_of(size, replicas(spec)))
            image = Change(
                action="create",
                resource=f"pushed-image/{app}/{PROCESS}",
                after={"bundle": spec.digest},
            )
            trial = Change(action="create", resource=f"app/{app}{TRIAL}")
            changes = [
                *((trial,) if live.surroundings.get("trial") is None else ()),
                *(() if is_scaling(live, change) else (image,)),
                change,
            ]
        return Plan(
            target=self.target,
            spec=spec,
            changes=tuple(changes),
            warnings=tuple(self._warnings(spec)),
            notes=tuple(self._notes(spec, change, is_scaling=is_scaling(live, change))),
        )

    def check(self, spec: DeploymentSpec) -> None:
        """Raise UsageError for what Heroku would refuse."""
        settings = spec.settings
        if not settings.public:
            raise UsageError(
                "deploy.network.public: an app of Heroku answers the whole internet",
                hint="say so with 'network: {public: true}', or deploy to another target",
            )
        if settings.region is not None and settings.region not in _REGIONS:
            raise UsageError(
                f"deploy.region: Heroku has no region '{settings.region[:40]}'",
                hint=f"there are {' and '.join(_REGIONS)}",
            )
        size = size_for(settings)
        if settings.min_replicas == 0 and size.word != "eco":
            raise UsageError(
                f"deploy.scaling.min: nobody wakes a dyno of {size.word} that was stopped",
                hint="'instance: eco' sleeps by itself, or set 'scaling.min: 1'",
            )
        for one in self.requests(spec):
            strict.require(one["method"], one["path"], one["body"])
        check_size(variables(spec, self.target))

    def requests(self, spec: DeploymentSpec) -> list[dict[str, Any]]:
        """Return what a first apply sends to an app; values of secrets and the image are left open."""
        app, region = self.app(spec.name), spec.settings.region
        body = {"name": app, "stack": STACK, **({"region": region} if region else {})}
        team = self.options.get("team")
        secrets = {
            name: f"(of {reference.partition(':')[0]}:)"
            for name, reference in spec.settings.secrets.items()
        }
        config = variables(spec, self.target) | secrets
        image = [{"type": PROCESS, "docker_image": "IMAGE_ID"}]
        dynos = {
            "type": PROCESS,
            "quantity": replicas(spec),
            "size": size_for(spec.settings).word,
        }
        return [
            {"method": "POST", "path": "/apps", "body": body}
            if team is None
            else {"method": "POST", "path": "/teams/apps", "body": {**body, "team": team}},
            {"method": "PATCH", "path": f"/apps/{app}/config-vars", "body": config},
            {"method": "PATCH", "path": f"/apps/{app}/formation", "body": {"updates": image}},
            {"method": "PATCH", "path": f"/apps/{app}/formation", "body": {"updates": [dynos]}},
        ]

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the files by which the same app is made by hand, and the requests of ours."""
        self.check(spec)
        settings, size = spec.settings, size_for(spec.settings)
        plain = dict(sorted(settings.env.items()))
        setup = {"config": plain} if plain else {}
        manifest = {
            "build": {"docker": {PROCESS: "Dockerfile"}},
            **({"setup": setup} if setup else {}),
        }
        described = {
            "name": self.app(spec.name),
            "stack": STACK,
            "env": {name: {"value": one} for name, one in plain.items()}
            | {name: {"required": True} for name in sorted(settings.secrets)},
            "formation": {PROCESS: {"quantity": replicas(spec), "size": size.word}},
        }
        return Rendered(
            files={
                "heroku.yml": yaml.safe_dump(manifest, sort_keys=True).encode(),
                "app.json": _json(described),
                "requests.json": _json(self.requests(spec)),
            }
        )

    def _notes(self, spec: DeploymentSpec, change: Change, *, is_scaling: bool) -> list[str]:
        size = size_for(spec.settings)
        more = "what takes more memory swaps, and is started anew when it takes far more"
        notes = [
            f"a dyno of {size.describe()}: {more}",
            "Heroku ends what does not listen 60 s after it was started",
        ]
        if size.has_preboot and self.options.get("preboot", "yes") == "yes":
            notes.append("preboot: calls go to new dynos about 3 minutes after they were released")
        if change.action != "none" and not is_scaling:
            notes.append(
                f"the revision is tried in the app '{self.app(spec.name)}{TRIAL}', whose one dyno "
                "runs while the deploy lasts"
            )
        if size.word == "eco":
            notes.append("an Eco dyno sleeps after 30 minutes without calls; its fee is shared")
        return notes

    def _warnings(self, spec: DeploymentSpec) -> list[str]:
        found = []
        if grace_of(spec) > _GRACE_S:
            found.append(f"a dyno has {_GRACE_S:g} s to end, and MODELPACK_GRACE_S is more")
        if not size_for(spec.settings).has_preboot:
            found.append(
                "eco and basic dynos are stopped before new ones start: calls wait meanwhile"
            )
        return found


def facts_of(entry: Entry) -> dict[str, Fact]:
    """Return what is compared: what is heeded of a spec, the options, and the size of the dynos."""
    return entry.facts(_CAPABILITIES) | {"dyno": size_for(entry.spec.settings).word}


def is_scaling(live: Live, change: Change) -> bool:
    """Return whether the number of dynos is all that changes of something healthy."""
    return live.is_settled and not live.is_absent and set(change.after) == {"min_replicas"}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
