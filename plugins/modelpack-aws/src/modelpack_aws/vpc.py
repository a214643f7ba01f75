"""Functions and endpoints that stand in a network of the account.

Lambda and SageMaker put an interface of their own into each subnet, which their role has to allow.
Sources: AWS Lambda developer guide, "Giving Lambda functions access to resources in an Amazon VPC"
("Execution role permissions"); Amazon SageMaker AI developer guide, "How to use SageMaker AI
execution roles" (CreateModel, "if you specify a VPC configuration").
"""

from __future__ import annotations

from collections.abc import Sequence

from modelpack.errors import UsageError
from modelpack_aws.roles import statement
from modelpack_aws.template import Json, arn
from modelpack_aws.wanted import Wanted

# What is only looked at has no resource in AWS's own tables.
_LOOKS = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
_MORE_LOOKS = ("ec2:DescribeDhcpOptions", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs")
_LAMBDA = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:UnassignPrivateIpAddresses",
)
_SAGEMAKER = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
)


def network_of(wanted: Wanted, *, subnets_key: str) -> Json | None:
    """Return the ``VpcConfig`` of a deployment, None when it stands in no network.

    Raises UsageError for a network that is only half said.
    """
    network = wanted.network
    if not (network.subnets or network.security_groups or network.vpc):
        return None
    if not (network.subnets and network.security_groups):
        raise UsageError(
            "deploy.network: a network needs 'subnets' and 'security_groups' here",
            hint="name both, or leave the network out: only callers with AWS credentials get in",
        )
    return {
        subnets_key: list(network.subnets),
        "SecurityGroupIds": list(network.security_groups),
    }


def joins_as_function() -> list[Json]:
    """Return what a function's role needs to stand in a network."""
    return _joins(_LAMBDA, _LOOKS)


def joins_as_endpoint() -> list[Json]:
    """Return what an endpoint's role needs to stand in a network."""
    return _joins(_SAGEMAKER, (*_LOOKS, *_MORE_LOOKS))


def _joins(actions: Sequence[str], looks: Sequence[str]) -> list[Json]:
    return [
        # Interfaces have no name before they are there, and are made of subnets and groups.
        statement(actions, [arn("ec2", "*/*")], sid="JoinNetwork"),
        statement(looks, ["*"], sid="LookAtNetwork"),
    ]
