"""The words of a deployment on a container engine: labels, names, facts, the address.

    DeploymentSpec ──► wanted_facts, keeper_name, replica_name …

Pure; what ``asked`` writes and ``container`` reads back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from modelpack.config.deploying import GROUPS
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.references import SCHEMES
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.errors import UsageError
from modelpack.manifest import canonical_json, sha256_digest

DEPLOYMENT_LABEL = "dev.modelpack.deployment"
REVISION_LABEL = "dev.modelpack.revision"
SPEC_LABEL = "dev.modelpack.spec"
ROLE_LABEL = "dev.modelpack.role"
GROUP_LABEL = "dev.modelpack.group"
"""On replicas: which ones came together.  On keepers: which address they hold."""
KEEPER_LABEL = "dev.modelpack.keeper"
"""On keepers: which words they know; without it, none of scaling."""
BUNDLE_DIGEST_LABEL = "dev.modelpack.bundle.digest"
"""On images: the digest of the bundle that they hold."""

REPLICA, KEEPER = "replica", "port"
KEEPER_WORDS = 2
"""Which words the keeper of this modelpack knows: with 2 it scales."""

SCALING = frozenset(GROUPS["scaling"])
"""Facts that say how many replicas there are, and not what each of them is."""

CAPABILITIES = Capabilities(
    heeds=frozenset(
        {
            "env",
            "secrets",
            "host",
            "port",
            "grpc_port",
            "labels",
            "cpu",
            "memory_bytes",
            "accelerator",
            *SCALING,
        }
    ),
    reasons={
        "public": "say where it is published with 'host', such as 0.0.0.0",
    },
    secret_schemes=SCHEMES,
)
"""What one engine can be held to."""

CONTAINER_PORT = 3000
STOP_S = 35
"""Longest that a container may take to end by itself: the server's own grace, and a margin."""

KEPT, ON_TRIAL = {"Name": "unless-stopped"}, {"Name": "no"}
"""Restart policies: of what was found healthy, and of what has not been yet."""

ANYWHERE = "0.0.0.0"  # noqa: S104  inside a container
HERE = "127.0.0.1"


def wanted_facts(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return the facts of the spec as an engine keeps them; raises UsageError for the host.

    Where the number of replicas is fixed, it is the one fact of ``SCALING`` that means anything.
    """
    facts = CAPABILITIES.heeded(spec.facts()) | {"host": address_of(spec.settings.host)}
    if spec.settings.is_scaling:
        return facts | {"min_replicas": spec.settings.min_replicas}
    return {key: one for key, one in facts.items() if key not in SCALING - {"min_replicas"}}


def is_scaling(facts: Mapping[str, Fact]) -> bool:
    """Return whether the load decides how many replicas there are, as the facts have it."""
    fewest = int(facts.get("min_replicas", 1) or 0)
    most = int(facts.get("max_replicas") or 0)
    return fewest == 0 or most > fewest


def address_id(spec: DeploymentSpec) -> str:
    """Return eight hex digits that stand for host and port in names; raises UsageError."""
    address = [address_of(spec.settings.host), spec.settings.port]
    return sha256_digest(canonical_json(address)).removeprefix("sha256:")[:8]


def keeper_name(spec: DeploymentSpec) -> str:
    """Return the name of the container that keeps the port."""
    return f"modelpack-{spec.name}-P{address_id(spec)}"


def replica_name(deployment: str, group: str, number: int) -> str:
    """Return the name of a replica; names of deployments have no capitals."""
    return f"modelpack-{deployment}-R{group}-{number}"


def volume_name(deployment: str) -> str:
    """Return the name of the volume in which keeper and replicas meet."""
    return f"modelpack-{deployment}-Port"


def address_of(host: str) -> str:
    """Return an address that a port can be published at; raises UsageError."""
    if host == "localhost":
        return HERE
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(
            f"deploy.host: '{host}' is not an address that a container can be published at",
            hint="use 127.0.0.1 for this machine alone, 0.0.0.0 for every interface",
        ) from None
