"""The load balancer in front of the replicas, for ECS and EC2 alike.

    callers ──► BalancerGroup ──► LoadBalancer ──► Rule ──► Replicas (and Canary) ──► port 3000
                                      │                         └ /readyz decides who gets requests
                                      └ alarms: share of failed answers, replicas that are not ready

Internal unless the deployment is public; then it wants a certificate for anything but a trial.  The
network comes in by parameters, so that the template is the same in every account.

Facts: Elastic Load Balancing user guide for Application Load Balancers ("Health checks", "Routing
algorithms": least outstanding requests, because predictions take unlike long; "CloudWatch metrics").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelpack.errors import UsageError
from modelpack_aws.alarms import Watch, stat, topic_of
from modelpack_aws.template import Json, Template, att, ref, tags
from modelpack_aws.wanted import CONTAINER_PORT, Wanted

IMAGE, VPC, SUBNETS, VPC_CIDR = "Image", "VpcId", "SubnetIds", "VpcCidr"
"""Parameters of the template."""

URL, REVISION = "Url", "Revision"
"""Outputs of the template."""

ALLOWED_HOSTS = "MODELPACK_ALLOWED_HOSTS"

DRAIN_S = 35
"""How long a replica that goes may finish what it has: the server's own grace, and a margin."""

_IDLE_TIMEOUT_S = 300
_CHECK_EVERY_S = 10
_MOST_FAILED_PERCENT = 5.0
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
_CERTIFICATE = re.compile(r"arn:[a-z-]+:(acm|iam):[a-z0-9-]*:\d{12}:[A-Za-z0-9/_+=,.@-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """What stands in front of the replicas, for those who declare them."""

    target_group: Json
    """ARN of the group that replicas are registered in."""
    canary_group: Json | None
    """ARN of the second group, when a canary is asked for."""
    rule: Json
    """ARN of the rule that shares out the requests."""
    replica_group: Json
    """Id of the security group of the replicas."""
    watch: Watch
    """The alarms so far."""


def declare(
    template: Template, wanted: Wanted, *, targets: Literal["ip", "instance"], canary: bool = False
) -> Balancer:
    """Declare load balancer, groups, rule and alarms; raises UsageError for a bad address block.

    targets  how replicas are registered: by their own address, or by their machine
    canary   a second group, to which a share of the requests can be sent
    """
    template.parameter(IMAGE, "image of the revision, by digest once it is pushed")
    template.parameter(VPC, "network", "AWS::EC2::VPC::Id")
    template.parameter(SUBNETS, "subnets, in two zones at least", "List<AWS::EC2::Subnet::Id>")
    template.parameter(VPC_CIDR, "address block of the network", AllowedPattern=r"^[0-9./]+$")
    replica_group = _groups(template, wanted)
    group = _target_group(template, wanted, "Replicas", targets)
    canary_group = _target_group(template, wanted, "Canary", targets) if canary else None
    rule = _listener(template, wanted, canary=canary)
    watch = _alarms(template, wanted)
    scheme = "https" if wanted.options.get("certificate") else "http"
    url = {"Fn::Join": ["", [f"{scheme}://", att("LoadBalancer", "DNSName")]]}
    template.output(URL, "where the service answers", url)
    template.output(REVISION, "revision of the deployment", wanted.revision)
    return Balancer(
        target_group=group,
        canary_group=canary_group,
        rule=rule,
        replica_group=replica_group,
        watch=watch,
    )


def known_hosts(env: Mapping[str, str]) -> Any:
    """Return the value of ``MODELPACK_ALLOWED_HOSTS``: the load balancer's name, and what is given.

    Callers name the load balancer; without it the server shows its description to none of them.
    """
    given, own = env.get(ALLOWED_HOSTS), att("LoadBalancer", "DNSName")
    if not given:
        return own
    return given if "*" in given.split(",") else {"Fn::Join": [",", [given, own]]}


def requests_per_replica(in_flight: float) -> Json:
    """Return how a target-tracking policy keeps so many requests in work at each replica.

    No metric of a load balancer says how many are in work; Little's law does: rate times the time
    that each takes.
    """
    dimensions = {
        "LoadBalancer": att("LoadBalancer", "LoadBalancerFullName"),
        "TargetGroup": att("Replicas", "TargetGroupFullName"),
    }
    namespace = "AWS/ApplicationELB"
    return {
        "Metrics": [
            {
                "Id": "in_flight",
                "Expression": "(FILL(arrived, 0) / 60) * FILL(took, 0)",
                "Label": "requests in work per replica",
                "ReturnData": True,
            },
            {
                "Id": "arrived",
                "MetricStat": stat(namespace, "RequestCountPerTarget", "Sum", dimensions),
                "ReturnData": False,
            },
            {
                "Id": "took",
                "MetricStat": stat(namespace, "TargetResponseTime", "Average", dimensions),
                "ReturnData": False,
            },
        ],
        "TargetValue": in_flight,
    }


def _groups(template: Template, wanted: Wanted) -> Json:
    """Declare who may speak with whom; return the id of the replicas' group."""
    own = tags(wanted.tags())
    port = 443 if wanted.options.get("certificate") else 80
    template.add(
        "BalancerGroup",
        "AWS::EC2::SecurityGroup",
        {
            "GroupDescription": f"who may call the deployment {wanted.name}",
            "VpcId": ref(VPC),
            "SecurityGroupIngress": [_ingress(block, port) for block in _callers(wanted)],
            "SecurityGroupEgress": [
                {
                    "IpProtocol": "tcp",
                    "FromPort": CONTAINER_PORT,
                    "ToPort": CONTAINER_PORT,
                    "CidrIp": ref(VPC_CIDR),
                    "Description": "replicas",
                }
            ],
            "Tags": own,
        },
    )
    template.add(
        "ReplicaGroup",
        "AWS::EC2::SecurityGroup",
        {
            "GroupDescription": f"replicas of the deployment {wanted.name}",
            "VpcId": ref(VPC),
            "SecurityGroupIngress": [
                {
                    "IpProtocol": "tcp",
                    "FromPort": CONTAINER_PORT,
                    "ToPort": CONTAINER_PORT,
                    "SourceSecurityGroupId": att("BalancerGroup", "GroupId"),
                    "Description": "the load balancer alone",
                }
            ],
            "Tags": own,
        },
    )
    return att("ReplicaGroup", "GroupId")


def _callers(wanted: Wanted) -> list[Any]:
    """Return the address blocks that may call."""
    if wanted.network.allow:
        return [_block(text, wanted) for text in wanted.network.allow]
    return ["0.0.0.0/0", "::/0"] if wanted.network.public else [ref(VPC_CIDR)]


def _block(text: str, wanted: Wanted) -> str:
    try:
        block = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            f"deploy.network.allow: '{text[:50]}' is no address block",
            hint="write one such as 10.0.0.0/8",
        ) from None
    if block.prefixlen == 0 and not wanted.network.public:
        raise UsageError(
            f"deploy.network.allow: '{text}' is everybody, and the deployment is not public",
            hint="set deploy.network.public, or name the blocks that may call",
        )
    return str(block)


def _ingress(block: Any, port: int) -> Json:
    key = "CidrIpv6" if isinstance(block, str) and ":" in block else "CidrIp"
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        key: block,
        "Description": "callers",
    }


def _target_group(template: Template, wanted: Wanted, name: str, targets: str) -> Json:
    return template.add(
        name,
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        {
            "VpcId": ref(VPC),
            "Port": CONTAINER_PORT,
            "Protocol": "HTTP",
            "TargetType": targets,
            "HealthCheckPath": "/readyz",
            "HealthCheckProtocol": "HTTP",
            "HealthCheckIntervalSeconds": _CHECK_EVERY_S,
            "HealthCheckTimeoutSeconds": 5,
            "HealthyThresholdCount": 2,
            "UnhealthyThresholdCount": 3,
            "Matcher": {"HttpCode": "200"},
            "TargetGroupAttributes": [
                {"Key": "deregistration_delay.timeout_seconds", "Value": str(DRAIN_S)},
                {
                    "Key": "load_balancing.algorithm.type",
                    "Value": "least_outstanding_requests",
                },
            ],
            "Tags": tags(wanted.tags()),
        },
    )


def _listener(template: Template, wanted: Wanted, *, canary: bool) -> Json:
    """Declare load balancer, listener and rule; return the rule's ARN."""
    template.add(
        "LoadBalancer",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        {
            "Type": "application",
            "Scheme": "internet-facing" if wanted.network.public else "internal",
            "Subnets": ref(SUBNETS),
            "SecurityGroups": [att("BalancerGroup", "GroupId")],
            "LoadBalancerAttributes": [
                {"Key": "idle_timeout.timeout_seconds", "Value": str(_IDLE_TIMEOUT_S)},
                {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
            ],
            "Tags": tags(wanted.tags()),
        },
    )
    certificate = _certificate(wanted)
    template.add(
        "Listener",
        "AWS::ElasticLoadBalancingV2::Listener",
        {
            "LoadBalancerArn": ref("LoadBalancer"),
            "Port": 443 if certificate else 80,
            "Protocol": "HTTPS" if certificate else "HTTP",
            "Certificates": [{"CertificateArn": certificate}] if certificate else None,
            "SslPolicy": _TLS_POLICY if certificate else None,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": ref("Replicas")}],
        },
    )
    if not canary:
        return ref("Listener")
    # What ECS shifts is a rule with both groups in it.
    shares = [
        {"TargetGroupArn": ref("Replicas"), "Weight": 100},
        {"TargetGroupArn": ref("Canary"), "Weight": 0},
    ]
    return template.add(
        "Rule",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        {
            "ListenerArn": ref("Listener"),
            "Priority": 1,
            "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
            "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": shares}}],
        },
    )


def _certificate(wanted: Wanted) -> str | None:
    text = wanted.options.get("certificate")
    if text is not None and not _CERTIFICATE.fullmatch(text):
        raise UsageError(
            "option 'certificate': must be the ARN of a certificate",
            hint="such as arn:aws:acm:eu-west-1:123456789012:certificate/…",
        )
    return text


def _alarms(template: Template, wanted: Wanted) -> Watch:
    watch = Watch(template=template, own_tags=wanted.tags(), topic=topic_of(wanted.options))
    balancer = {"LoadBalancer": att("LoadBalancer", "LoadBalancerFullName")}
    group = balancer | {"TargetGroup": att("Replicas", "TargetGroupFullName")}
    namespace = "AWS/ApplicationELB"
    watch.share(
        "FailedAnswers",
        f"{wanted.name}: more than {_MOST_FAILED_PERCENT:g} in 100 answers are failures",
        stat(namespace, "HTTPCode_Target_5XX_Count", "Sum", balancer),
        stat(namespace, "RequestCount", "Sum", balancer),
        above=_MOST_FAILED_PERCENT,
        minutes=2,
    )
    watch.metric(
        "NotReady",
        f"{wanted.name}: a replica has not been ready for five minutes",
        stat(namespace, "UnHealthyHostCount", "Maximum", group),
        above=0,
        minutes=5,
        of=5,
    )
    return watch
