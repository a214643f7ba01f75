"""What a container app stands on in an account, and whether that is there; reads only.

options environment, registry, identity ──around_of──► Around(Where(…)), or what to make first
the app itself ──where_it_is──► the same, for going back
"""

from __future__ import annotations

from modelpack.deploy import DeploymentSpec, Fact
from modelpack.errors import NotFoundError, UsageError
from modelpack_azure.app_body import API, Where
from modelpack_azure.app_seen import properties_of
from modelpack_azure.arm import Json
from modelpack_azure.modes import Around, Place
from modelpack_azure.registry import KIND as REGISTRY
from modelpack_azure.registry import MAKE
from modelpack_azure.sizes import PROFILES, profile_of

ENVIRONMENT = "Microsoft.App/managedEnvironments"
MAKE_ENVIRONMENT = "az containerapp env create -g GROUP -n NAME"


def around_of(place: Place, spec: DeploymentSpec) -> Around:
    """Return registry, environment and identity; raises NotFoundError, UsageError."""
    account, name = place.account, spec.name
    environment = account.given("environment", ENVIRONMENT, MAKE_ENVIRONMENT)
    found = place.calls.get(environment, API)
    if found is None:
        raise NotFoundError(
            f"there is no Container Apps environment '{environment.rpartition('/')[2]}' in "
            f"'{account.group}'",
            hint=f"'{MAKE_ENVIRONMENT}' makes one",
        )
    registry = place.registries.look(account.given("registry", REGISTRY, MAKE))
    location = str(found.get("location"))
    _check_region(spec, location)
    properties = found.get("properties") or {}
    _check_profile(spec, properties.get("workloadProfiles") or [])
    where = Where(
        location=location,
        environment=environment,
        registry=registry.host,
        identity=place.identities.path(name),
        is_internal=bool((properties.get("vnetConfiguration") or {}).get("internal")),
    )
    facts: dict[str, Fact] = {
        "environment": environment,
        "registry": registry.host,
        "identity": where.identity,
    }
    return Around(registry=registry, location=location, facts=facts, found=where)


def where_it_is(place: Place, app: Json) -> Where:
    """Return what an app stands on, as it says itself."""
    properties = properties_of(app)
    environment = str(properties.get("environmentId") or properties.get("managedEnvironmentId"))
    found = place.calls.get(environment, API) or {}
    registries = (properties.get("configuration") or {}).get("registries") or [{}]
    identities = (app.get("identity") or {}).get("userAssignedIdentities") or {}
    return Where(
        location=str(app.get("location")),
        environment=environment,
        registry=str(registries[0].get("server")),
        identity=next(iter(identities), ""),
        is_internal=bool((properties_of(found).get("vnetConfiguration") or {}).get("internal")),
    )


def _check_region(spec: DeploymentSpec, location: str) -> None:
    region = spec.settings.region
    if region is not None and _squeezed(region) != _squeezed(location):
        raise UsageError(
            f"deploy.region: the environment is in '{location}', not in '{region}'",
            hint="take it out, or name an environment there",
        )


def _check_profile(spec: DeploymentSpec, there: list[Json]) -> None:
    wanted = profile_of(spec.settings)
    names = [str(one.get("name")) for one in there]
    if wanted is None or wanted in names:
        return
    kind = next((one[1] for one in PROFILES.values() if one[0] == wanted), "TYPE")
    raise NotFoundError(
        f"the environment has no workload profile '{wanted}'",
        hint="'az containerapp env workload-profile add -g GROUP -n NAME --workload-profile-name "
        f"{wanted} --workload-profile-type {kind}' adds it",
    )


def _squeezed(region: str) -> str:
    """Return a region as Azure compares it: ``West Europe`` is ``westeurope``."""
    return region.replace(" ", "").lower()
