"""The network that a stack stands in: named in the spec, or the account's own default one.

    Wanted.network + DescribeVpcs, DescribeSubnets ──read──► facts ──parameters──► the template

A default network has public subnets alone: replicas there need an address of their own to pull their
image with, and still take calls from nobody but the load balancer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.deploy import Fact
from modelpack.errors import UsageError
from modelpack_aws.session import Clients, said
from modelpack_aws.template import Json
from modelpack_aws.wanted import Wanted

_HINT = "set deploy.network.vpc and deploy.network.subnets (two, in two zones)"


def read(clients: Clients, wanted: Wanted) -> dict[str, Fact]:
    """Return ``vpc``, ``vpc_cidr``, ``subnets`` (with spaces between) and ``is_public_subnet``.

    Raises UsageError when there is no network, or one with a single zone.
    """
    api = clients.client("ec2")
    with said("look at the network"):
        subnets = _subnets(api, wanted)
        vpc = wanted.network.vpc or (str(subnets[0]["VpcId"]) if subnets else None)
        vpcs = api.describe_vpcs(VpcIds=[vpc])["Vpcs"] if vpc else _default(api)
        if not subnets and vpcs:
            subnets = _all_of(api, str(vpcs[0]["VpcId"]))
    if not vpcs:
        raise UsageError("this account has no default network in the region", hint=_HINT)
    chosen = _one_a_zone(subnets) if not wanted.network.subnets else subnets
    if len({one["AvailabilityZone"] for one in chosen}) < 2:
        raise UsageError("a load balancer needs subnets in two zones at least", hint=_HINT)
    return {
        "vpc": str(vpcs[0]["VpcId"]),
        "vpc_cidr": str(vpcs[0]["CidrBlock"]),
        "subnets": " ".join(sorted(str(one["SubnetId"]) for one in chosen)),
        "is_public_subnet": (
            "yes" if any(one.get("MapPublicIpOnLaunch") for one in chosen) else "no"
        ),
    }


def parameters(around: Mapping[str, Fact]) -> dict[str, str]:
    """Return the values of the parameters that name the network."""
    return {
        "VpcId": str(around.get("vpc") or ""),
        "VpcCidr": str(around.get("vpc_cidr") or ""),
        "SubnetIds": str(around.get("subnets") or "").replace(" ", ","),
    }


def _subnets(api: Any, wanted: Wanted) -> list[Json]:
    """Return the subnets that are named."""
    if not wanted.network.subnets:
        return []
    found = api.describe_subnets(SubnetIds=list(wanted.network.subnets))["Subnets"]
    return list(found)


def _default(api: Any) -> list[Json]:
    found = api.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    return list(found)


def _all_of(api: Any, vpc: str) -> list[Json]:
    found = api.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return list(found)


def _one_a_zone(subnets: list[Json]) -> list[Json]:
    """Return one subnet of each zone, private ones first: a load balancer takes no more."""
    chosen: dict[str, Json] = {}
    for one in sorted(
        subnets, key=lambda one: (bool(one.get("MapPublicIpOnLaunch")), one["SubnetId"])
    ):
        chosen.setdefault(str(one["AvailabilityZone"]), one)
    return [chosen[zone] for zone in sorted(chosen)]
