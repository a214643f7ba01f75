"""A container app as Azure wants it written; pure.

    Entry + Where ──container_app──► JSON of Microsoft.App/containerApps
                  ──arm_template───► the same with the identity and its role, as a template of ARM

One container runs the image; its variable ``MODELPACK_DEPLOYMENT`` holds what the revision was made of.
What is not said is closed: ingress is inside the environment alone, plain HTTP is refused, the registry
and Key Vault are asked by a managed identity, so no password stands anywhere.  Ingress leads to one port:
that of HTTP, or with ``--option grpc=yes`` that of gRPC; the probes ask the port of HTTP in any case.

Facts: Azure Container Apps, "ARM and YAML template specification", "Ingress" (``transport: http2``), "Health probes" (at most 10 failures,
240 seconds apart), "Set scaling rules" (``concurrentRequests``), "Manage secrets" (``keyVaultUrl``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.deploy import DeploySettings, Entry
from modelpack.errors import UsageError
from modelpack_azure.arm import Json
from modelpack_azure.identity import ACR_PULL, API_IDENTITY, API_ROLE
from modelpack_azure.kept import VARIABLE, written
from modelpack_azure.naming import PORT, app_name, identity_name, tags_of
from modelpack_azure.sizes import profile_of, size_of

API = "2026-07-01"
KIND = "Microsoft.App/containerApps"
CONTAINER = "service"
GRPC_PORT = 3001
"""Where the server in the image speaks gRPC, where it shall."""

MOST_INACTIVE = 20
"""Former revisions that Azure keeps of an app: twice as many as a history has."""

_IMAGE = "@image@"
_DEFAULT_IN_FLIGHT = 10
_MOST_REPLICAS = 1000
_GRACE_S = 60
_MOST_FAILURES = 10
_VAULT = re.compile(r"https://[a-z0-9-]{3,24}\.vault\.[a-z.]+/secrets/[A-Za-z0-9-]+(/[a-f0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What an app stands on: things of the account, or expressions of a template."""

    location: str
    environment: str
    """Id of the managed environment."""
    registry: str
    """Host of the registry, such as ``mine.azurecr.io``."""
    identity: str
    """Id of the identity that pulls the image and reads secrets."""
    is_internal: bool = False
    """True when the environment has no address on the internet."""


def container_app(
    entry: Entry,
    where: Where,
    *,
    target: str,
    suffix: str,
    traffic: list[Json],
    settled: tuple[str, ...] = (),
) -> Json:
    """Return the app of a revision; raises UsageError for what cannot be."""
    settings = entry.spec.settings
    properties: Json = {
        "environmentId": where.environment,
        "configuration": configuration(entry, where, traffic),
        "template": {
            "revisionSuffix": suffix,
            "terminationGracePeriodSeconds": _GRACE_S,
            "containers": [_container(entry)],
            "scale": _scale(settings),
        },
    }
    profile = profile_of(settings)
    if profile is not None:
        properties["workloadProfileName"] = profile
    return {
        "location": where.location,
        "tags": tags_of(entry.spec.name, target, settings.labels, settled),
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {where.identity: {}}},
        "properties": properties,
    }


def configuration(entry: Entry, where: Where, traffic: list[Json]) -> Json:
    """Return what holds for all revisions of the app: who may call it, secrets, registries."""
    settings, is_grpc = entry.spec.settings, speaks_grpc(entry.options)
    if settings.public and where.is_internal:
        raise UsageError(
            "deploy.network.public: the environment has no address on the internet",
            hint="use an environment that has one, or take it out",
        )
    return {
        "activeRevisionsMode": "Multiple",
        "maxInactiveRevisions": MOST_INACTIVE,
        "ingress": {
            "external": settings.public or where.is_internal,
            "targetPort": GRPC_PORT if is_grpc else PORT,
            "transport": "http2" if is_grpc else "auto",
            "allowInsecure": False,
            "traffic": traffic,
            "ipSecurityRestrictions": [
                {"name": f"allow-{number}", "ipAddressRange": block, "action": "Allow"}
                for number, block in enumerate(settings.allow, start=1)
            ],
        },
        "registries": [{"server": where.registry, "identity": where.identity}],
        "secrets": [
            {
                "name": _secret_name(variable),
                "keyVaultUrl": vault_url(variable, reference),
                "identity": where.identity,
            }
            for variable, reference in sorted(settings.secrets.items())
        ],
    }


def variables(entry: Entry) -> dict[str, str]:
    """Return the variables of the container that are no secrets, but for what it was made of."""
    found = {**entry.spec.settings.env, "MODELPACK_TAG": entry.spec.bundle}
    if speaks_grpc(entry.options):
        found |= {"MODELPACK_PORT": str(PORT), "MODELPACK_GRPC_PORT": str(GRPC_PORT)}
    return found


def speaks_grpc(options: Mapping[str, str]) -> bool:
    """Return whether callers reach gRPC, and not HTTP; raises UsageError for what is no answer."""
    said = options.get("grpc", "no")
    if said not in ("yes", "no"):
        raise UsageError(
            f"option 'grpc': must be yes or no, got '{said[:40]}'", hint="leave it out for no"
        )
    return said == "yes"


def vault_url(variable: str, reference: str) -> str:
    """Return the URL of a secret of Key Vault; raises UsageError, and repeats no reference."""
    url = reference.removeprefix("keyvault:")
    if not _VAULT.fullmatch(url):
        raise UsageError(
            f"deploy.secrets.{variable}: not the address of a secret of Key Vault",
            hint="write keyvault:https://VAULT.vault.azure.net/secrets/NAME",
        )
    return url


def arm_template(entry: Entry, target: str, identity: str | None) -> Json:
    """Return a template of Azure Resource Manager that makes the app with its identity and role."""
    name = entry.spec.name
    entry = replace(entry, image=_IMAGE)
    own = (
        f"[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', '{identity_name(name)}')]"
    )
    where = Where(
        location="[parameters('location')]",
        environment="[parameters('environment')]",
        registry="[parameters('registryServer')]",
        identity=identity or own,
    )
    body = container_app(
        entry,
        where,
        target=target,
        suffix=f"r{entry.mark}-1",
        traffic=[{"latestRevision": True, "weight": 100}],
    )
    _take_image(body["properties"]["template"]["containers"][0])
    if identity is None:
        body["dependsOn"] = [own]
    app = {"type": KIND, "apiVersion": API, "name": app_name(name), **body}
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
            "environment": _parameter("id of the Container Apps environment"),
            "registryServer": _parameter("host of the registry, such as mine.azurecr.io"),
            "registryName": _parameter("name of the registry, in this resource group"),
            "image": _parameter("the image, by its digest"),
        },
        "resources": [*([] if identity else _identity(entry, target, own)), app],
    }


def _identity(entry: Entry, target: str, own: str) -> list[Json]:
    name = entry.spec.name
    scope = "[concat('Microsoft.ContainerRegistry/registries/', parameters('registryName'))]"
    principal = own[1:-1]
    return [
        {
            "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
            "apiVersion": API_IDENTITY,
            "name": identity_name(name),
            "location": "[parameters('location')]",
            "tags": tags_of(name, target, entry.spec.settings.labels),
        },
        {
            "type": "Microsoft.Authorization/roleAssignments",
            "apiVersion": API_ROLE,
            "name": f"[guid(parameters('registryName'), '{identity_name(name)}', 'AcrPull')]",
            "scope": scope,
            "dependsOn": [own],
            "properties": {
                "roleDefinitionId": "[subscriptionResourceId("
                f"'Microsoft.Authorization/roleDefinitions', '{ACR_PULL}')]",
                "principalId": f"[reference({principal}, '{API_IDENTITY}').principalId]",
                "principalType": "ServicePrincipal",
            },
        },
    ]


def text_of(value: Json) -> str:
    """Return JSON for people, the same each time."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _take_image(container: Json) -> None:
    """Put the parameter in where the image stands; text that is no expression shall stay text."""
    container["image"] = "[parameters('image')]"
    for variable in container["env"]:
        text = variable.get("value", "")
        if variable["name"] == VARIABLE:
            quoted = text.replace("'", "''")
            variable["value"] = f"[replace('{quoted}', '{_IMAGE}', parameters('image'))]"
        elif text.startswith("["):
            variable["value"] = f"[{text}"


def _parameter(what: str) -> Json:
    return {"type": "string", "metadata": {"description": what}}


def _container(entry: Entry) -> Json:
    settings = entry.spec.settings
    size = size_of(settings)
    env: list[Json] = [
        {"name": name, "value": one} for name, one in sorted(variables(entry).items())
    ]
    env += [
        {"name": variable, "secretRef": _secret_name(variable)}
        for variable in sorted(settings.secrets)
    ]
    env.append({"name": VARIABLE, "value": written(entry)})
    return {
        "name": CONTAINER,
        "image": entry.image,
        "env": env,
        "resources": {"cpu": size.cpu, "memory": size.memory},
        "probes": _probes(settings),
    }


def _probes(settings: DeploySettings) -> list[Json]:
    # As long as the deployment may take to be ready, in as many looks as Azure takes.
    apart = min(240, max(1, math.ceil(settings.ready_timeout_s / _MOST_FAILURES)))
    return [
        _probe("Startup", "/readyz", periodSeconds=apart, failureThreshold=_MOST_FAILURES),
        _probe("Readiness", "/readyz", periodSeconds=5, failureThreshold=3),
        _probe("Liveness", "/livez", periodSeconds=10, failureThreshold=6),
    ]


def _probe(kind: str, path: str, **numbers: int) -> Json:
    get = {"path": path, "port": PORT, "scheme": "HTTP"}
    return {"type": kind, "httpGet": get, "timeoutSeconds": 5, **numbers}


def _scale(settings: DeploySettings) -> Json:
    if settings.most_replicas > _MOST_REPLICAS:
        raise UsageError(
            f"deploy.scaling.max: an app has at most {_MOST_REPLICAS} replicas, got "
            f"{settings.most_replicas}"
        )
    at_once = settings.in_flight or _DEFAULT_IN_FLIGHT
    found: dict[str, Any] = {
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.most_replicas,
        "rules": [{"name": "requests", "http": {"metadata": {"concurrentRequests": str(at_once)}}}],
    }
    if settings.idle_s is not None:
        found["cooldownPeriod"] = max(1, round(settings.idle_s))
    return found


def _secret_name(variable: str) -> str:
    """Return the name of a secret of the app: lower-case letters, digits and hyphens."""
    return variable.lower().replace("_", "-").strip("-") or "secret"
