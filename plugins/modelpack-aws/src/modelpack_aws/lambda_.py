"""A deployment as a Lambda function with an address.

    Wanted ──render──► Template: role, log group, function, version, alias ``live``, address, alarms

    settled      live ──────────────► version of this revision
    candidate    live ──► version of the former one        (the new one is asked by its number)
    canary       live ──┬─ 1 - share ─► the former one
                        └─ share ─────► the new one        (alarms watch the new one)

A revision is a version of the function, which never changes.  Both versions stand in the template
while one takes over from the other, so that going back is moving the alias and nothing else.  The
program in the image answers events by itself (``modelpack.server.lambda_``); the address of the
alias wants signed requests (``AWS_IAM``) unless the deployment is public.

Facts: AWS Lambda developer guide ("Lambda quotas", "Using aliases in weighted routing", "Control
access to Lambda function URLs", "Configure memory"); CloudFormation resource types ``AWS::Lambda``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from modelpack.errors import UsageError
from modelpack_aws.alarms import Watch, stat, topic_of
from modelpack_aws.given import is_on, number, one_of, retention_of, shortened
from modelpack_aws.roles import role, write_logs
from modelpack_aws.secrets_in import resolved
from modelpack_aws.template import Json, Template, att, ref, tags
from modelpack_aws.vpc import joins_as_function, network_of
from modelpack_aws.wanted import MIB, Wanted

ALIAS = "live"
"""Name of the alias that everybody calls."""

OPTIONS = {
    "timeout": "seconds that a call may take (1 to 900; 60)",
    "ephemeral": "MB below /tmp (512 to 10240; 512)",
    "provisioned": "environments that are kept warm (0 to 1000; 0)",
    "reserved": "most calls at once, taken from the account's limit (1 to 10000)",
    "stream": "answers are sent as they are made (yes or no; no)",
    "platform": "linux/amd64 or linux/arm64, as the image was built for",
    "retention": "days that log lines are kept (30)",
    "alarm_topic": "ARN of the topic of SNS that alarms are sent to",
}
"""Options of this service, and what they mean."""

MB_PER_CPU = 1769
"""Memory that comes with one processor ("Configure memory": at 1,769 MB, one vCPU)."""
LEAST_MB, MOST_MB = 128, 10_240
MOST_ENV_BYTES = 4096
"""All variables together ("Lambda quotas")."""

_FAILING_PERCENT = 5
# CreateFunction, ``Environment``.
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
_ENV_MODE = "MODELPACK_LAMBDA_INVOKE_MODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a function is."""

    memory_mb: int
    timeout_s: int
    ephemeral_mb: int
    why: str | None = None
    """Where the memory comes from, if not from the description."""


def function_name(wanted: Wanted) -> str:
    """Return the name of the function, at most 64 characters."""
    return shortened(wanted.stack, 64)


def size_of(wanted: Wanted) -> Size:
    """Return the size of the function; raises UsageError for one that Lambda does not have."""
    if wanted.accelerator is not None:
        raise UsageError(
            "Lambda has no accelerators",
            hint="take '--target aws-sagemaker' or '--target aws-ec2'",
        )
    asked = 0 if wanted.memory_bytes is None else math.ceil(wanted.memory_bytes / MIB)
    for_cpu = math.ceil((wanted.cpu or 0) * MB_PER_CPU)
    why = None
    memory_mb = max(asked, for_cpu)
    if memory_mb == 0:
        memory_mb, why = MB_PER_CPU, f"{MB_PER_CPU} MB, with which comes one processor"
    elif for_cpu > asked:
        why = f"{for_cpu} MB, with which come {wanted.cpu:g} processors"
    if memory_mb > MOST_MB:
        raise UsageError(
            f"Lambda has at most {MOST_MB} MB and {MOST_MB / MB_PER_CPU:.1f} processors, "
            f"this asks for {memory_mb} MB",
            hint="ask for less in deploy.cpu and deploy.memory, or take '--target aws-ecs'",
        )
    return Size(
        memory_mb=max(memory_mb, LEAST_MB),
        timeout_s=number(wanted.options, "timeout", 60, least=1, most=900, unit="seconds"),
        ephemeral_mb=number(wanted.options, "ephemeral", 512, least=512, most=10_240, unit="MB"),
        why=why,
    )


def notes(wanted: Wanted) -> list[str]:
    """Return what of the description means little or nothing to Lambda, for people."""
    found = []
    if why := size_of(wanted).why:
        found.append(f"memory: {why}")
    if wanted.scaling.in_flight is not None:
        found.append("scaling.in_flight: a function answers one call at a time in each environment")
    if wanted.scaling.least > 1:
        found.append("scaling.min: environments come with calls; '--option provisioned=N' keeps N")
    if not wanted.network.public:
        found.append("the address wants requests that are signed (AWS_IAM)")
    if wanted.network.allow:
        found.append("network.allow: the address of a function has no list of networks")
    return found


def render(
    wanted: Wanted, *, former: str | None = None, share: float = 0.0, pinned: str | None = None
) -> Template:
    """Return the template of a function.

    With ``former``, the mark of what answered until now, the alias stays on that version but for
    ``share`` (0.0 to 1.0) of the calls.  ``pinned`` is the image with its digest where it is known: the
    parameter ``Image`` has it as default then.  Raises UsageError for what Lambda cannot do.
    """
    if wanted.network.public and wanted.network.allow:
        raise UsageError(
            "Lambda cannot let some networks in and others not",
            hint="drop deploy.network.allow, or take '--target aws-ecs'",
        )
    template = Template(description=f"modelpack: {wanted.name}, a function of AWS Lambda")
    default = {} if pinned is None else {"Default": pinned}
    template.parameter("Image", "Image in this account's registry, with its digest", **default)
    _function(template, wanted)
    for revision in filter(None, (former, wanted.mark)):
        template.add(
            f"Version{revision}", "AWS::Lambda::Version", {"FunctionName": ref("Function")}
        )
    _alias(template, wanted, former, share)
    _address(template, wanted)
    _alarms(template, wanted, is_canary=former is not None and share > 0)
    template.output("Function", "Name of the function", ref("Function"))
    template.output("Version", "Version of this revision", _number(wanted.mark))
    if former is not None:
        template.output("Former", "What answered before", former)
    template.output("LogGroup", "Where its lines go", ref("Logs"))
    return template


def _function(template: Template, wanted: Wanted) -> None:
    size, name = size_of(wanted), function_name(wanted)
    network = network_of(wanted, subnets_key="SubnetIds")
    retention = retention_of(wanted.options)
    own = wanted.tags()
    template.add(
        "Logs",
        "AWS::Logs::LogGroup",
        {"LogGroupName": f"/aws/lambda/{name}", "RetentionInDays": retention, "Tags": tags(own)},
        DeletionPolicy="Delete",
        UpdateReplacePolicy="Delete",
    )
    statements = [write_logs("Logs"), *(joins_as_function() if network else ())]
    role_arn = role(template, "Role", "lambda.amazonaws.com", statements, own_tags=own)
    platform = one_of(wanted.options, "platform", ("linux/amd64", "linux/arm64"))
    # 0 means that none is taken from what the account has.
    reserved = number(wanted.options, "reserved", 0, least=1, most=10_000)
    if not reserved and wanted.scaling.most > 1:
        reserved = wanted.scaling.most
    template.add(
        "Function",
        "AWS::Lambda::Function",
        {
            "FunctionName": name,
            # A new revision differs in this at least: without any difference there is no version.
            "Description": f"{wanted.bundle} revision {wanted.mark}"[:256],
            "PackageType": "Image",
            "Code": {"ImageUri": ref("Image")},
            "Role": role_arn,
            "Architectures": ["arm64" if platform.endswith("arm64") else "x86_64"],
            "MemorySize": size.memory_mb,
            "Timeout": size.timeout_s,
            "EphemeralStorage": {"Size": size.ephemeral_mb},
            "ReservedConcurrentExecutions": reserved or None,
            "Environment": {"Variables": _variables(wanted)},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": ref("Logs")},
            "VpcConfig": network,
            "Tags": tags(own),
        },
    )


def _variables(wanted: Wanted) -> Json:
    found: Json = dict(wanted.env) | resolved(wanted.secrets)
    for name in found:
        if not _VARIABLE.fullmatch(name):
            raise UsageError(
                f"deploy.env.{name}: Lambda has no variable of that name",
                hint="take a letter, then letters, digits and underscores, two at least",
            )
    if is_on(wanted.options, "stream"):
        found[_ENV_MODE] = "response_stream"
    used = sum(len(key.encode()) + len(str(value).encode()) for key, value in found.items())
    if used > MOST_ENV_BYTES:
        raise UsageError(
            f"deploy.env: Lambda takes {MOST_ENV_BYTES} bytes of variables, these are {used}",
            hint="keep long values in the bundle",
        )
    return found


def _alias(template: Template, wanted: Wanted, former: str | None, share: float) -> None:
    warm = number(wanted.options, "provisioned", 0, least=0, most=1000)
    if warm and (share > 0 or wanted.traffic.canary_percent):
        raise UsageError(
            "an alias of Lambda that shares its calls keeps no environments warm",
            hint="drop deploy.traffic, or the option 'provisioned'",
        )
    routing = None
    if former is not None and share > 0:
        weight = {"FunctionVersion": _number(wanted.mark), "FunctionWeight": share}
        routing = {"AdditionalVersionWeights": [weight]}
    template.add(
        "Live",
        "AWS::Lambda::Alias",
        {
            "Name": ALIAS,
            "FunctionName": ref("Function"),
            "FunctionVersion": _number(former or wanted.mark),
            "RoutingConfig": routing,
            "ProvisionedConcurrencyConfig": (
                {"ProvisionedConcurrentExecutions": warm} if warm else None
            ),
        },
    )


def _address(template: Template, wanted: Wanted) -> None:
    public = wanted.network.public
    template.add(
        "Address",
        "AWS::Lambda::Url",
        {
            "TargetFunctionArn": ref("Function"),
            "Qualifier": ALIAS,
            "AuthType": "NONE" if public else "AWS_IAM",
            "InvokeMode": "RESPONSE_STREAM" if is_on(wanted.options, "stream") else "BUFFERED",
        },
        after=["Live"],
    )
    template.output("Url", "Address of the function", att("Address", "FunctionUrl"))
    if not public:
        return
    # Since October 2025 both are wanted ("Control access to Lambda function URLs").
    everybody = {"FunctionName": ref("Live"), "Principal": "*"}
    template.add(
        "EverybodyAsks",
        "AWS::Lambda::Permission",
        {**everybody, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    )
    template.add(
        "EverybodyCalls",
        "AWS::Lambda::Permission",
        {**everybody, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
    )


def _alarms(template: Template, wanted: Wanted, *, is_canary: bool) -> None:
    watch = Watch(template=template, own_tags=wanted.tags(), topic=topic_of(wanted.options))
    name, size = function_name(wanted), size_of(wanted)
    live = {"FunctionName": name, "Resource": f"{name}:{ALIAS}"}
    watch.share(
        "Failing",
        f"more than {_FAILING_PERCENT} % of the calls fail",
        stat("AWS/Lambda", "Errors", "Sum", live),
        stat("AWS/Lambda", "Invocations", "Sum", live),
        above=_FAILING_PERCENT,
    )
    watch.metric(
        "Refused",
        "calls are refused, because too many are under way",
        stat("AWS/Lambda", "Throttles", "Sum", live),
        above=0,
    )
    watch.metric(
        "Slow",
        "calls take nearly as long as they may",
        stat("AWS/Lambda", "Duration", "p99", live),
        above=size.timeout_s * 1000 * 0.9,
    )
    if is_canary:
        # Of the alias, the new version alone: what goes wrong with it shows at any share.
        new: dict[str, Any] = {**live, "ExecutedVersion": _number(wanted.mark)}
        watch.share(
            "CanaryFailing",
            f"more than {_FAILING_PERCENT} % of the calls of the new version fail",
            stat("AWS/Lambda", "Errors", "Sum", new),
            stat("AWS/Lambda", "Invocations", "Sum", new),
            above=_FAILING_PERCENT,
            minutes=1,
            of=1,
        )
        template.output("CanaryAlarm", "Red when the new version fails", ref("CanaryFailing"))


def _number(mark: str) -> Json:
    """Return the number of a version."""
    return att(f"Version{mark}", "Version")
