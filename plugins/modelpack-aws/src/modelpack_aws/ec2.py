"""A deployment as a group of EC2 instances, one replica on each.

    Wanted ──choose──► instance type ──render──► Template
               launch template (boot), group of instances, role, log group   (here)
               load balancer, security groups, alarms                        (balancer)

For what Fargate does not have: GPUs, Inferentia, large machines, spot prices.  A new revision is a new
launch template: an instance more than needed comes up, tells the stack that its service is ready, and
only then an old one goes; one that does not tell in time takes the whole change back.

Facts: Amazon EC2 Auto Scaling user guide ("Instances distribution" for spot prices); CloudFormation's
reference of ``UpdatePolicy`` and ``CreationPolicy``; parameters of machine images: Amazon ECS developer
guide, "Retrieving Amazon ECS-optimized Linux AMI metadata".
"""

from __future__ import annotations

from modelpack.deploy import Cost
from modelpack_aws import balancer, roles
from modelpack_aws.balancer import IMAGE, SUBNETS, Balancer
from modelpack_aws.boot import user_data
from modelpack_aws.instances import PRICES_OF, Choice, Instance, choose
from modelpack_aws.template import Json, Template, att, ref, sub, tags
from modelpack_aws.wanted import NAME_TAG, Wanted

GROUP = "Instances"
MACHINE_IMAGE = "MachineImage"
"""Parameter: where Systems Manager says which machine image is the newest."""

LOG_DAYS = 30
BOOT_S = 300
"""What an instance may take on top of its service: start, drivers, pulling the image."""

_AMI = "/aws/service/ecs/optimized-ami/amazon-linux-2023/"
_MOST_CPU_PERCENT = 70.0
_DISK_GIB = 40
_GPU_DISK_GIB = 120


def choice_for(wanted: Wanted) -> Choice:
    """Return the instance type; raises UsageError when none has what is asked for."""
    return choose(
        cpu=wanted.cpu,
        memory_bytes=wanted.memory_bytes,
        accelerator=wanted.accelerator,
        instance=wanted.instance,
    )


def notes(wanted: Wanted) -> list[str]:
    """Return what a plan says of the choice."""
    choice = choice_for(wanted)
    found = [f"{choice.instance.name} ({choice.instance.describe()}): {choice.why}"]
    if wanted.spot:
        found.append("spot instances go when AWS wants them back, two minutes after it says so")
    if wanted.scaling.least == 0:
        found.append(
            "a group cannot wake up from no instances, so one stays; Lambda scales to zero"
        )
    return found


def cost(wanted: Wanted) -> Cost | None:
    """Return what the least number of instances costs; None for a type without a price."""
    instance, count = choice_for(wanted).instance, max(1, wanted.scaling.least)
    if instance.usd_hour is None:
        return None
    kind = "on demand, spot is less" if wanted.spot else "on demand"
    return Cost(
        usd_per_hour=round(instance.usd_hour * count, 5),
        note=f"{count} x {instance.name} {kind}, the load balancer apart; "
        f"US East, list prices of {PRICES_OF}",
    )


def render(wanted: Wanted) -> Template:
    """Return the template of a group; raises UsageError for what no instance has."""
    instance = choice_for(wanted).instance
    template = Template(description=f"modelpack deployment {wanted.name} on EC2")
    front = balancer.declare(template, wanted, targets="instance")
    template.parameter(
        MACHINE_IMAGE,
        "machine image, the newest of Amazon ECS",
        "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>",
        Default=_machine_image(instance),
    )
    own = wanted.tags()
    template.add("Logs", "AWS::Logs::LogGroup", {"RetentionInDays": LOG_DAYS, "Tags": tags(own)})
    _role(template, wanted)
    _launch_template(template, wanted, instance, front)
    _group(template, wanted, instance, front)
    if wanted.scaling.most > max(1, wanted.scaling.least):
        _scaling(template, wanted)
    template.output("Group", "group of instances", ref(GROUP))
    template.output("Replicas", "group that the load balancer sends to", ref("Replicas"))
    template.output("Logs", "log group", ref("Logs"))
    return template


def _machine_image(instance: Instance) -> str:
    variant = "gpu/" if instance.is_gpu else "neuron/" if instance.is_neuron else ""
    return f"{_AMI}{variant}recommended/image_id"


def _role(template: Template, wanted: Wanted) -> None:
    """Declare what an instance may do: pull, log, read the secrets, tell its stack how it is."""
    stack = sub(
        "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:"
        "stack/${AWS::StackName}/*"
    )
    statements = [
        *roles.pull_image(wanted.repository),
        roles.write_logs("Logs"),
        roles.statement(["cloudformation:SignalResource"], [stack], sid="TellTheStack"),
        *_read_secrets(wanted),
    ]
    roles.role(template, "InstanceRole", "ec2.amazonaws.com", statements, own_tags=wanted.tags())
    template.add("Profile", "AWS::IAM::InstanceProfile", {"Roles": [ref("InstanceRole")]})


def _read_secrets(wanted: Wanted) -> list[Json]:
    """Return the same as for a task, but that a parameter is asked for one by one."""
    found = roles.read_secrets(wanted.secrets)
    for statement in found:
        actions = [one.replace("GetParameters", "GetParameter") for one in statement["Action"]]
        statement["Action"] = actions
    return found


def _launch_template(
    template: Template, wanted: Wanted, instance: Instance, front: Balancer
) -> None:
    own = tags(wanted.tags())
    size = _GPU_DISK_GIB if instance.accelerator else _DISK_GIB
    disk = {"VolumeSize": size, "VolumeType": "gp3", "Encrypted": True}
    template.add(
        "Launch",
        "AWS::EC2::LaunchTemplate",
        {
            "LaunchTemplateData": {
                "ImageId": ref(MACHINE_IMAGE),
                "InstanceType": instance.name,
                "IamInstanceProfile": {"Arn": att("Profile", "Arn")},
                "SecurityGroupIds": [front.replica_group, *wanted.network.security_groups],
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
                # One hop: containers do not reach the service that hands out the role's keys.
                "MetadataOptions": {
                    "HttpEndpoint": "enabled",
                    "HttpTokens": "required",
                    "HttpPutResponseHopLimit": 1,
                },
                "Monitoring": {"Enabled": True},
                "UserData": user_data(
                    wanted,
                    instance,
                    image=ref(IMAGE),
                    logs=ref("Logs"),
                    group=GROUP,
                    hosts=balancer.known_hosts(wanted.env),
                ),
                "TagSpecifications": [
                    {"ResourceType": kind, "Tags": own} for kind in ("instance", "volume")
                ],
            },
            "TagSpecifications": [{"ResourceType": "launch-template", "Tags": own}],
        },
    )


def _group(template: Template, wanted: Wanted, instance: Instance, front: Balancer) -> None:
    least = max(1, wanted.scaling.least)
    most = max(least, wanted.scaling.most)
    launch = {"LaunchTemplateId": ref("Launch"), "Version": att("Launch", "LatestVersionNumber")}
    patience_s = round(wanted.ready_timeout_s) + BOOT_S
    template.add(
        GROUP,
        "AWS::AutoScaling::AutoScalingGroup",
        {
            "VPCZoneIdentifier": ref(SUBNETS),
            "MinSize": str(least),
            # One more than there may be: the new instance comes up before the old one goes.
            "MaxSize": str(most + 1),
            "TargetGroupARNs": [front.target_group],
            "HealthCheckType": "ELB",
            "HealthCheckGracePeriod": patience_s,
            "DefaultInstanceWarmup": round(wanted.ready_timeout_s),
            "LaunchTemplate": None if wanted.spot else launch,
            "MixedInstancesPolicy": _spot(launch, instance) if wanted.spot else None,
            "CapacityRebalance": True if wanted.spot else None,
            "MetricsCollection": [{"Granularity": "1Minute"}],
            "Tags": [
                {**one, "PropagateAtLaunch": one["Key"] == NAME_TAG} for one in tags(wanted.tags())
            ],
        },
        CreationPolicy={"ResourceSignal": {"Count": least, "Timeout": f"PT{patience_s}S"}},
        UpdatePolicy={
            "AutoScalingRollingUpdate": {
                "MinInstancesInService": least,
                "MaxBatchSize": 1,
                "WaitOnResourceSignals": True,
                "PauseTime": f"PT{min(patience_s, 3600)}S",
                "SuspendProcesses": [
                    "AZRebalance",
                    "AlarmNotification",
                    "HealthCheck",
                    "ReplaceUnhealthy",
                    "ScheduledActions",
                ],
            }
        },
        after=["Listener"],
    )


def _spot(launch: Json, instance: Instance) -> Json:
    return {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": launch,
            "Overrides": [{"InstanceType": instance.name}],
        },
        "InstancesDistribution": {
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": 0,
            "SpotAllocationStrategy": "price-capacity-optimized",
        },
    }


def _scaling(template: Template, wanted: Wanted) -> None:
    processor = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": _MOST_CPU_PERCENT,
    }
    _policy(template, "ByProcessorTime", processor)
    if wanted.scaling.in_flight is not None:
        metrics = balancer.requests_per_replica(wanted.scaling.in_flight)
        _policy(
            template,
            "ByRequestsInWork",
            {
                "CustomizedMetricSpecification": {"Metrics": metrics["Metrics"]},
                "TargetValue": metrics["TargetValue"],
            },
        )


def _policy(template: Template, name: str, tracking: Json) -> None:
    template.add(
        name,
        "AWS::AutoScaling::ScalingPolicy",
        {
            "AutoScalingGroupName": ref(GROUP),
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingConfiguration": tracking,
        },
    )
