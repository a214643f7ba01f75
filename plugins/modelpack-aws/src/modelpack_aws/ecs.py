"""A deployment as a service of Amazon ECS on Fargate.

    Wanted ──size──► cpu and memory of a task ──render──► Template
               cluster, task definition, service, roles, log group   (here)
               load balancer, security groups, alarms                (balancer)
               replicas by requests in work and processor time       (scaling, when there may be more)

A new revision is a new task definition: ECS starts its tasks beside the old ones, gives them requests
when ``/readyz`` says 200, and goes back by itself when tasks keep ending (circuit breaker) or the alarm
on failed answers rings.  With a canary a share of the requests goes to it first.

Facts: Amazon ECS developer guide ("Task definition differences for Fargate": pairs of cpu and memory,
no GPUs; "Deployment circuit breaker"; "Amazon ECS canary deployments"); CloudFormation's resource
reference, ``AWS::ECS::Service``.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.deploy import Cost
from modelpack.errors import UsageError
from modelpack_aws import balancer, roles
from modelpack_aws.balancer import DRAIN_S, IMAGE, SUBNETS, Balancer
from modelpack_aws.instances import PRICES_OF
from modelpack_aws.template import Json, Template, att, ref, sub, tags
from modelpack_aws.wanted import CONTAINER_PORT, MIB, Wanted

CONTAINER = "service"
PUBLIC_IP = "AssignPublicIp"
"""Parameter: whether tasks get a public address, without which those of a public subnet cannot pull."""

LOG_DAYS = 30
_USER = "65532:65532"
_MOST_CPU_PERCENT = 70.0

# Fargate's list prices of an hour, US East, Linux on x86: a virtual processor, a gibibyte.
_USD_CPU_HOUR, _USD_GIB_HOUR = 0.04048, 0.004445


@dataclass(frozen=True, slots=True)
class Size:
    """Processors and memory of a task, a pair that Fargate has."""

    cpu_units: int
    """1024 are one virtual processor."""
    memory_mib: int

    @property
    def usd_hour(self) -> float:
        """List price of one task."""
        return self.cpu_units / 1024 * _USD_CPU_HOUR + self.memory_mib / 1024 * _USD_GIB_HOUR

    def __str__(self) -> str:
        return f"{self.cpu_units / 1024:g} vCPU and {self.memory_mib / 1024:g} GiB"


# For each amount of processors: the least, the most, and the step of memory, in MiB.
_PAIRS = {
    256: (512, 2048, 512),
    512: (1024, 4096, 1024),
    1024: (2048, 8192, 1024),
    2048: (4096, 16384, 1024),
    4096: (8192, 30720, 1024),
    8192: (16384, 61440, 4096),
    16384: (32768, 122880, 8192),
}


def sizes() -> list[Size]:
    """Return every pair that Fargate has, the smallest first."""
    found = [
        Size(cpu, memory)
        for cpu, (least, most, step) in _PAIRS.items()
        for memory in range(least, most + 1, step)
    ]
    # A quarter of a processor comes with 512 MiB, 1 GiB or 2 GiB.
    return [one for one in found if one != Size(256, 1536)]


def size_for(wanted: Wanted) -> Size:
    """Return the cheapest size that holds what is asked for; raises UsageError when none does.

    Without a wish it is one processor with 2 GiB.
    """
    cpu = 1.0 if wanted.cpu is None else wanted.cpu
    memory = 2048 * MIB if wanted.memory_bytes is None else wanted.memory_bytes
    fitting = [
        one for one in sizes() if one.cpu_units >= cpu * 1024 and one.memory_mib * MIB >= memory
    ]
    if not fitting:
        raise UsageError(
            f"Fargate has no task with {cpu:g} vCPU and {memory / MIB / 1024:g} GiB",
            hint="it ends at 16 vCPU and 120 GiB; '--target aws-ec2' has larger machines",
        )
    return min(fitting, key=lambda one: (one.usd_hour, one.cpu_units))


def notes(wanted: Wanted) -> list[str]:
    """Return what of the wish is met otherwise, for the warnings of a plan."""
    size = size_for(wanted)
    found = []
    asked = [wanted.cpu, wanted.memory_bytes]
    exact = (size.cpu_units / 1024, size.memory_mib * MIB)
    if any(one is not None and one != had for one, had in zip(asked, exact, strict=True)):
        found.append(f"Fargate has steps: a replica gets {size}")
    if wanted.scaling.least == 0:
        found.append("ECS cannot wake up from no replicas, so one stays; Lambda scales to zero")
    if wanted.traffic.canary_percent and not wanted.traffic.bake_s:
        found.append("without 'traffic.bake_s' a canary has its share for one minute, then all")
    if wanted.instance:
        found.append("Fargate chooses machines itself: 'instance' has no meaning here")
    return found


def cost(wanted: Wanted) -> Cost:
    """Return what the least number of replicas costs."""
    size, count = size_for(wanted), max(1, wanted.scaling.least)
    return Cost(
        usd_per_hour=round(size.usd_hour * count, 5),
        note=f"{count} x {size}, the load balancer apart; US East, list prices of {PRICES_OF}",
    )


def render(wanted: Wanted) -> Template:
    """Return the template of a service; raises UsageError for what Fargate does not have."""
    if wanted.accelerator is not None:
        raise UsageError(
            "Fargate has no accelerators",
            hint="use '--target aws-sagemaker' or '--target aws-ec2'",
        )
    canary = wanted.traffic.canary_percent > 0
    template = Template(description=f"modelpack deployment {wanted.name} on ECS")
    front = balancer.declare(template, wanted, targets="ip", canary=canary)
    template.parameter(
        PUBLIC_IP,
        "whether tasks get a public address to pull their image with",
        AllowedValues=["DISABLED", "ENABLED"],
        Default="DISABLED",
    )
    own = tags(wanted.tags())
    template.add(
        "Cluster",
        "AWS::ECS::Cluster",
        {"ClusterSettings": [{"Name": "containerInsights", "Value": "enabled"}], "Tags": own},
    )
    template.add("Logs", "AWS::Logs::LogGroup", {"RetentionInDays": LOG_DAYS, "Tags": own})
    _task(template, wanted)
    _service(template, wanted, front)
    if wanted.scaling.most > max(1, wanted.scaling.least):
        _scaling(template, wanted)
    for name, about in (
        ("Cluster", "cluster"),
        ("Service", "service"),
        ("Task", "task definition of the revision"),
        ("Logs", "log group"),
    ):
        template.output(name, about, ref(name))
    return template


def _task(template: Template, wanted: Wanted) -> None:
    size = size_for(wanted)
    pull = roles.pull_image(wanted.repository)
    secrets = roles.read_secrets(wanted.secrets)
    own_tags = wanted.tags()
    start = [*pull, roles.write_logs("Logs"), *secrets]
    template.add(
        "Task",
        "AWS::ECS::TaskDefinition",
        {
            "RequiresCompatibilities": ["FARGATE"],
            "NetworkMode": "awsvpc",
            "Cpu": str(size.cpu_units),
            "Memory": str(size.memory_mib),
            "RuntimePlatform": {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"},
            "ExecutionRoleArn": roles.role(
                template, "StartRole", "ecs-tasks.amazonaws.com", start, own_tags=own_tags
            ),
            # What the service itself may do: nothing.
            "TaskRoleArn": roles.role(
                template, "ServiceRole", "ecs-tasks.amazonaws.com", [], own_tags=own_tags
            ),
            "ContainerDefinitions": [_container(wanted)],
            "Tags": tags(own_tags),
        },
    )


def _container(wanted: Wanted) -> Json:
    env = {
        **wanted.env,
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104  inside the task
        "MODELPACK_PORT": str(CONTAINER_PORT),
        "MODELPACK_TAG": wanted.bundle,
        balancer.ALLOWED_HOSTS: balancer.known_hosts(wanted.env),
    }
    secrets = [
        {"Name": name, "ValueFrom": roles.secret_of(name, text).value_from}
        for name, text in sorted(wanted.secrets.items())
    ]
    return {
        "Name": CONTAINER,
        "Image": ref(IMAGE),
        "Essential": True,
        "User": _USER,
        "PortMappings": [{"ContainerPort": CONTAINER_PORT, "Protocol": "tcp"}],
        "Environment": [{"Name": key, "Value": value} for key, value in sorted(env.items())],
        "Secrets": secrets or None,
        # The root file system stays writable: Fargate mounts nothing that this user could write
        # to, and the server puts large uploads into /tmp, the one folder that the user may change.
        "LinuxParameters": {"Capabilities": {"Drop": ["ALL"]}},
        "StopTimeout": DRAIN_S,
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-group": ref("Logs"),
                "awslogs-region": ref("AWS::Region"),
                "awslogs-stream-prefix": CONTAINER,
            },
        },
    }


def _service(template: Template, wanted: Wanted, front: Balancer) -> None:
    failed = [ref("FailedAnswers")]
    deployment: Json = {
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "Alarms": {"AlarmNames": failed, "Enable": True, "Rollback": True},
    }
    attached: Json = {
        "ContainerName": CONTAINER,
        "ContainerPort": CONTAINER_PORT,
        "TargetGroupArn": front.target_group,
    }
    if front.canary_group is None:
        deployment["DeploymentCircuitBreaker"] = {"Enable": True, "Rollback": True}
    else:
        minutes = max(1, round(wanted.traffic.bake_s / 60))
        deployment |= {
            "Strategy": "CANARY",
            "BakeTimeInMinutes": 1,
            "CanaryConfiguration": {
                "CanaryPercent": round(wanted.traffic.canary_percent, 1),
                "CanaryBakeTimeInMinutes": minutes,
            },
        }
        attached["AdvancedConfiguration"] = {
            "AlternateTargetGroupArn": front.canary_group,
            "ProductionListenerRule": front.rule,
            "RoleArn": _shifting_role(template, wanted),
        }
    template.add(
        "Service",
        "AWS::ECS::Service",
        {
            "Cluster": ref("Cluster"),
            "TaskDefinition": ref("Task"),
            "LaunchType": "FARGATE",
            "PlatformVersion": "LATEST",
            "DesiredCount": max(1, wanted.scaling.least),
            "HealthCheckGracePeriodSeconds": round(wanted.ready_timeout_s),
            "DeploymentConfiguration": deployment,
            "LoadBalancers": [attached],
            "NetworkConfiguration": {
                "AwsvpcConfiguration": {
                    "AssignPublicIp": ref(PUBLIC_IP),
                    "SecurityGroups": [front.replica_group, *wanted.network.security_groups],
                    "Subnets": ref(SUBNETS),
                }
            },
            "EnableECSManagedTags": True,
            "PropagateTags": "SERVICE",
            "Tags": tags(wanted.tags()),
        },
        # A group that no listener sends to takes no replicas.
        after=["Listener"] if front.canary_group is None else [],
    )


def _shifting_role(template: Template, wanted: Wanted) -> Json:
    """Declare who shifts requests between the groups: ECS itself, by the rule and no other."""
    look = [
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeRules",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
    ]
    statements = [
        roles.statement(look, ["*"], sid="Look"),
        roles.statement(["elasticloadbalancing:ModifyRule"], [ref("Rule")], sid="Shift"),
        roles.statement(["elasticloadbalancing:ModifyListener"], [ref("Listener")], sid="Listen"),
        roles.statement(
            [
                "elasticloadbalancing:DeregisterTargets",
                "elasticloadbalancing:RegisterTargets",
            ],
            [ref("Replicas"), ref("Canary")],
            sid="Register",
        ),
    ]
    return roles.role(
        template, "ShiftRole", "ecs.amazonaws.com", statements, own_tags=wanted.tags()
    )


def _scaling(template: Template, wanted: Wanted) -> None:
    scaling = wanted.scaling
    service = sub("service/${Cluster}/${Name}", Name=att("Service", "Name"))
    template.add(
        "Scaling",
        "AWS::ApplicationAutoScaling::ScalableTarget",
        {
            "ServiceNamespace": "ecs",
            "ScalableDimension": "ecs:service:DesiredCount",
            "ResourceId": service,
            "MinCapacity": max(1, scaling.least),
            "MaxCapacity": scaling.most,
            "RoleARN": sub(
                "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/"
                "ecs.application-autoscaling.amazonaws.com/"
                "AWSServiceRoleForApplicationAutoScaling_ECSService"
            ),
        },
    )
    cooldowns = {
        "ScaleOutCooldown": scaling.out_cooldown_s,
        "ScaleInCooldown": scaling.in_cooldown_s,
    }
    _policy(
        template,
        "ByProcessorTime",
        {
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ECSServiceAverageCPUUtilization"
            },
            "TargetValue": _MOST_CPU_PERCENT,
            **cooldowns,
        },
    )
    if scaling.in_flight is not None:
        metrics = balancer.requests_per_replica(scaling.in_flight)
        _policy(
            template,
            "ByRequestsInWork",
            {
                "CustomizedMetricSpecification": {"Metrics": metrics["Metrics"]},
                "TargetValue": metrics["TargetValue"],
                **cooldowns,
            },
        )


def _policy(template: Template, name: str, tracking: Json) -> None:
    template.add(
        name,
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        {
            "PolicyName": name,
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": ref("Scaling"),
            "TargetTrackingScalingPolicyConfiguration": tracking,
        },
    )
