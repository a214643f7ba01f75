"""What an online endpoint stands on in an account, and whether that is there; reads only.

options workspace, registry, identity ──around_of──► Around, or what to make first
"""

from __future__ import annotations

from modelpack.deploy import DeploymentSpec, Fact
from modelpack.errors import NotFoundError, UsageError
from modelpack_azure.ml_body import API
from modelpack_azure.ml_seen import MAKE, properties_of, site_of
from modelpack_azure.modes import Around, Place
from modelpack_azure.registry import KIND as REGISTRY
from modelpack_azure.registry import MAKE as MAKE_REGISTRY


def around_of(place: Place, spec: DeploymentSpec) -> Around:
    """Return workspace, registry and identity; raises NotFoundError, UsageError."""
    account, site = place.account, site_of(place, spec.name)
    workspace = place.calls.get(site.workspace, API)
    if workspace is None:
        raise NotFoundError(
            f"there is no workspace '{site.workspace.rpartition('/')[2]}' in '{account.group}'",
            hint=f"'{MAKE}' makes one",
        )
    location = str(workspace.get("location"))
    region = spec.settings.region
    if region is not None and region.replace(" ", "").lower() != location.replace(" ", "").lower():
        raise UsageError(
            f"deploy.region: the workspace is in '{location}', not in '{region}'",
            hint="take it out, or name a workspace there",
        )
    path = properties_of(workspace).get("containerRegistry")
    if "registry" in account.options or not path:
        path = account.given("registry", REGISTRY, MAKE_REGISTRY)
    registry = place.registries.look(str(path))
    identity = place.identities.path(spec.name)
    facts: dict[str, Fact] = {
        "workspace": site.workspace,
        "registry": registry.host,
        "identity": identity,
    }
    return Around(registry=registry, location=location, facts=facts, found=(location, identity))
