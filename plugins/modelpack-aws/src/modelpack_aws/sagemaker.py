"""A deployment as an endpoint of SageMaker.

    Wanted ──render──► Template: role, log group, model, endpoint configuration, endpoint,
                                 scaling, alarms; topics when it is asynchronous

    kind        what runs                     down to none   a new revision takes over
    realtime    instances                     no             blue/green, all at once or a canary
    serverless  memory, by the call           always         blue/green, all at once or a canary
    async       instances behind a queue      with min: 0    blue/green, all at once or a canary
    variants    instances, two revisions      no             shares of one endpoint, moved by calls
    transform   nothing (see ``transform``)   always         the next job takes it

SageMaker itself moves the traffic, watches the alarms and goes back when one rings
(``DeploymentConfig``); CloudFormation then takes everything else back too.  ``variants`` keeps the
former revision beside the new one in one endpoint until it is told which of them stays: names of
variants differ then, and SageMaker's own canary does not apply.

Facts: Amazon SageMaker AI developer guide ("Deployment guardrails", "Exclusions", "Serverless
Inference", "Asynchronous inference", "How containers serve requests"); CloudFormation resource types
``AWS::SageMaker``.
"""

from __future__ import annotations

import math

from modelpack.errors import UsageError
from modelpack_aws.alarms import Watch, topic_of
from modelpack_aws.given import is_on, number, one_of, retention_of, shortened
from modelpack_aws.hosted import Hosted, hosted_on
from modelpack_aws.queueing import Places, places_of, queue_config, queue_statements, topics
from modelpack_aws.replicas import scale
from modelpack_aws.roles import pull_image, role, statement, write_logs
from modelpack_aws.secrets_in import resolved
from modelpack_aws.takeover import (
    LEAST_BAKE_S,
    MOST_CANARY_PERCENT,
    takeover,
    watch_calls,
    within,
)
from modelpack_aws.template import Json, Template, att, ref, tags
from modelpack_aws.vpc import joins_as_endpoint, network_of
from modelpack_aws.wanted import MIB, Wanted

KINDS = ("realtime", "serverless", "async", "variants", "transform")
"""What an endpoint can be, the default first."""

VARIANT = "main"
"""Name of the one variant: a canary of SageMaker needs it to stay the same."""

OPTIONS = {
    "kind": "realtime, serverless, async, variants or transform",
    "output": "s3://BUCKET/PREFIX for answers, of async and transform",
    "input": "s3://BUCKET/PREFIX that requests are read from; by default that of 'output'",
    "egress": "containers may open connections (yes or no; no)",
    "retention": "days that log lines are kept (30)",
    "alarm_topic": "ARN of the topic of SNS that alarms are sent to",
    "volume": "GB of disk of an instance (1 to 512), for types that have none of their own",
}
"""Options of this service, and what they mean."""

SERVERLESS_MB = (1024, 2048, 3072, 4096, 5120, 6144)
MOST_ENV_VALUE = 1024

_LOG_ROOT = "/aws/sagemaker/Endpoints"


def kind_of(wanted: Wanted) -> str:
    """Return what the endpoint is; raises UsageError for what is no kind."""
    return one_of(wanted.options, "kind", KINDS)


def endpoint_name(wanted: Wanted) -> str:
    """Return the name of the endpoint, at most 63 characters."""
    return shortened(wanted.stack, 63)


def variant_of(wanted: Wanted) -> str:
    """Return the name of the variant of this revision."""
    return f"r{wanted.mark}" if kind_of(wanted) == "variants" else VARIANT


def notes(wanted: Wanted) -> list[str]:
    """Return what is worth to know of what SageMaker makes of the description."""
    kind, found = kind_of(wanted), []
    if kind in ("realtime", "async", "variants") and (why := hosted_on(wanted).why):
        found.append(f"instance: {why}")
    percent = wanted.traffic.canary_percent
    if percent and wanted.scaling.least < 2 and kind in ("realtime", "async"):
        found.append(
            "traffic.canary_percent: one replica is the least share; 'scaling.min: 2' splits"
        )
    if percent and not wanted.traffic.bake_s and kind != "variants":
        found.append(
            f"traffic.bake_s: a canary of SageMaker does not stay; it has {LEAST_BAKE_S} s, "
            "or as long as it likes with '--option kind=variants'"
        )
    if kind == "realtime" and wanted.scaling.idle_s is not None:
        found.append("scaling.idle_s: an endpoint in real time does not go down to none")
    if kind == "serverless" and wanted.scaling.in_flight is not None:
        found.append("scaling.in_flight: serverless takes one call at a time in each environment")
    return found


def render(
    wanted: Wanted,
    *,
    former: Wanted | None = None,
    share: float = 1.0,
    pinned: str | None = None,
    former_pinned: str | None = None,
) -> Template:
    """Return the template of an endpoint.

    With ``former``, which only ``variants`` knows, the endpoint has that revision too, and the new
    one gets ``share`` (0.0 to 1.0) of the calls.  ``pinned`` is the image with its digest where it is
    known, the default of the parameter ``Image``; ``former_pinned`` that of ``FormerImage``.
    Raises UsageError for what SageMaker cannot do.
    """
    kind = kind_of(wanted)
    _refuse(wanted, kind)
    places = places_of(wanted) if kind in ("async", "transform") else None
    template = Template(description=f"modelpack: {wanted.name}, {kind} on Amazon SageMaker")
    role_arn = _role(template, wanted, kind, places)
    _model(template, wanted, role_arn, "Image", pinned)
    if kind == "transform":
        template.output("Model", "Model that jobs take", _model_name(wanted))
        template.output(
            "Instance", "Type of their instances", hosted_on(wanted, for_jobs=True).type
        )
        template.output("Output", "Where their answers go", places_of(wanted).output)
        return template
    sharing = [(wanted, share if former is not None else 1.0)]
    if former is not None and kind == "variants":
        _model(template, former, role_arn, "FormerImage", former_pinned)
        sharing.append((former, 1.0 - share))
        template.output("Former", "Variant that answered before", variant_of(former))
        template.output("CanaryAlarm", "Red when the new variant fails", ref("Failing"))
    if kind == "variants":
        template.output("Variant", "Variant of this revision", variant_of(wanted))
    template.output("Revision", "Revision that this is", wanted.revision)
    watch = Watch(template=template, own_tags=wanted.tags(), topic=topic_of(wanted.options))
    watch_calls(watch, endpoint_name(wanted), variant_of(wanted), is_queue=kind == "async")
    _config(template, [_variant(one, weight) for one, weight in sharing], wanted, places)
    _endpoint(template, wanted, kind, watch.names)
    # A variant that scales cannot be taken away: the new one does once it is the only one.
    scaled = sharing[-1][0]
    scale(template, scaled, endpoint_name(wanted), variant_of(scaled), is_queue=kind == "async")
    return template


def _refuse(wanted: Wanted, kind: str) -> None:
    """Raise UsageError for what SageMaker cannot do."""
    if wanted.network.public or wanted.network.allow:
        raise UsageError(
            "an endpoint of SageMaker is for callers with AWS credentials alone",
            hint="drop deploy.network.public and allow, or take '--target aws-ecs'",
        )
    if wanted.scaling.least == 0 and kind in ("realtime", "variants"):
        raise UsageError(
            f"an endpoint of the kind '{kind}' has one replica at least",
            hint="'--option kind=serverless' and 'kind=async' go down to none",
        )
    if kind == "serverless" and wanted.accelerator is not None:
        raise UsageError(
            "SageMaker has no accelerators without instances",
            hint="take '--option kind=realtime' or 'kind=async'",
        )
    if kind == "serverless" and network_of(wanted, subnets_key="Subnets"):
        raise UsageError("SageMaker has no network for what is serverless")
    if wanted.traffic.canary_percent > MOST_CANARY_PERCENT and kind != "variants":
        raise UsageError(
            f"deploy.traffic.canary_percent: at most {MOST_CANARY_PERCENT} on SageMaker, "
            f"got {wanted.traffic.canary_percent:g}"
        )
    for name, value in wanted.env.items():
        if len(value) > MOST_ENV_VALUE:
            raise UsageError(
                f"deploy.env.{name}: SageMaker takes {MOST_ENV_VALUE} characters, "
                f"this has {len(value)}",
                hint="keep long values in the bundle",
            )


def _role(template: Template, wanted: Wanted, kind: str, places: Places | None) -> Json:
    own = wanted.tags()
    statements = [
        *pull_image(wanted.repository),
        statement(
            ["cloudwatch:PutMetricData"],
            ["*"],
            condition={
                "StringLike": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]}
            },
            sid="WriteMetrics",
        ),
    ]
    if kind != "transform":
        retention = retention_of(wanted.options)
        name = f"{_LOG_ROOT}/{endpoint_name(wanted)}"
        template.add(
            "Logs",
            "AWS::Logs::LogGroup",
            {"LogGroupName": name, "RetentionInDays": retention, "Tags": tags(own)},
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        )
        statements.append(write_logs("Logs"))
        statements.append(
            statement(["logs:DescribeLogStreams"], [att("Logs", "Arn")], sid="ReadLogStreams")
        )
    if network_of(wanted, subnets_key="Subnets"):
        statements += joins_as_endpoint()
    if places is not None:
        if kind == "async":
            topics(template, own)
        statements += queue_statements(places, tells=kind == "async")
    return role(template, "Role", "sagemaker.amazonaws.com", statements, own_tags=own)


def _model(
    template: Template, wanted: Wanted, role_arn: Json, parameter: str, pinned: str | None
) -> None:
    default = {} if pinned is None else {"Default": pinned}
    image = template.parameter(
        parameter, "Image in this account's registry, with its digest", **default
    )
    is_serverless = kind_of(wanted) == "serverless"
    template.add(
        f"Model{wanted.mark}",
        "AWS::SageMaker::Model",
        {
            "ExecutionRoleArn": role_arn,
            "PrimaryContainer": {
                "Image": image,
                "Environment": (dict(wanted.env) | resolved(wanted.secrets)) or None,
            },
            # Serverless knows neither isolation nor networks ("Feature exclusions").
            "EnableNetworkIsolation": (
                None if is_serverless else not is_on(wanted.options, "egress")
            ),
            "VpcConfig": network_of(wanted, subnets_key="Subnets"),
            "Tags": tags(wanted.tags()),
        },
    )


def _model_name(wanted: Wanted) -> Json:
    return att(f"Model{wanted.mark}", "ModelName")


def _variant(wanted: Wanted, weight: float) -> Json:
    """Return a production variant; its weight is a share of the calls."""
    shared: Json = {
        "VariantName": variant_of(wanted),
        "ModelName": _model_name(wanted),
        "InitialVariantWeight": weight,
    }
    if kind_of(wanted) == "serverless":
        return {**shared, "ServerlessConfig": _serverless(wanted)}
    hosted: Hosted = hosted_on(wanted)
    volume = number(wanted.options, "volume", 0, least=1, most=512, unit="GB")
    return {
        **shared,
        "InstanceType": hosted.type,
        "InitialInstanceCount": max(1, wanted.scaling.least),
        "VolumeSizeInGB": volume or None,
        "ContainerStartupHealthCheckTimeoutInSeconds": within(wanted.ready_timeout_s, 60, 3600),
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }


def _serverless(wanted: Wanted) -> Json:
    asked = math.ceil((wanted.memory_bytes or 2048 * MIB) / MIB)
    memory = next((mb for mb in SERVERLESS_MB if mb >= asked), None)
    if memory is None:
        raise UsageError(
            f"serverless has at most {SERVERLESS_MB[-1]} MB, this asks for {asked}",
            hint="ask for less in deploy.memory, or take '--option kind=realtime'",
        )
    most = wanted.scaling.most if wanted.scaling.most > 1 else 20
    if most > 200:
        raise UsageError(f"deploy.scaling.max: serverless has at most 200, got {most}")
    # One is what a deployment has that says nothing; what is kept warm costs, so two and more count.
    warm = wanted.scaling.least if wanted.scaling.least > 1 else None
    return {"MemorySizeInMB": memory, "MaxConcurrency": most, "ProvisionedConcurrency": warm}


def _config(
    template: Template, variants: list[Json], wanted: Wanted, places: Places | None
) -> None:
    template.add(
        "Config",
        "AWS::SageMaker::EndpointConfig",
        {
            "ProductionVariants": variants,
            "AsyncInferenceConfig": queue_config(places, wanted) if places else None,
            "Tags": tags(wanted.tags()),
        },
    )


def _endpoint(template: Template, wanted: Wanted, kind: str, alarms: list[str]) -> None:
    # What scaling has brought about stays, where there is any.
    keeps_counts = kind in ("realtime", "variants") and wanted.scaling.most > wanted.scaling.least
    template.add(
        "Endpoint",
        "AWS::SageMaker::Endpoint",
        {
            "EndpointName": endpoint_name(wanted),
            "EndpointConfigName": att("Config", "EndpointConfigName"),
            "DeploymentConfig": None if kind == "variants" else takeover(wanted, alarms),
            "RetainAllVariantProperties": True if keeps_counts else None,
            "ExcludeRetainedVariantProperties": (
                [{"VariantPropertyType": "DesiredWeight"}] if keeps_counts else None
            ),
            "Tags": tags(wanted.tags()),
        },
        after=["Logs"],
    )
    template.output("Endpoint", "Name of the endpoint", att("Endpoint", "EndpointName"))
    template.output("LogGroup", "Where its lines go", ref("Logs"))
