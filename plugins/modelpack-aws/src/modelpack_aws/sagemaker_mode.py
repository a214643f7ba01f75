"""Endpoints of SageMaker as a mode of the target: seen, asked, and given their calls by variants.

    apply    ──► realtime, serverless, async: SageMaker moves the calls and goes back by itself
                 variants: the new variant stands beside the former one and gets no call
    verify   ──► the image that runs is the one of the revision; the model answers an example
    promote  ──► variants: a share by one call, watched by its alarm ──► the new variant alone

Facts: Amazon SageMaker API reference (``DescribeEndpoint``, ``UpdateEndpointWeightsAndCapacities``)
and runtime API (``InvokeEndpoint``, ModelError with OriginalStatusCode).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from modelpack.deploy import Clock, Cost, Fact, Progress, Sight, State, Status, apis_of
from modelpack.deploy.samples import default_api, sample
from modelpack.errors import DeployError, UsageError
from modelpack_aws import offered, sagemaker
from modelpack_aws.hosted import hosted_on
from modelpack_aws.instances import PRICES_OF, known
from modelpack_aws.loglines import log_lines
from modelpack_aws.modes import COMMON, AwsMode
from modelpack_aws.session import Clients, error_code, refusal, said
from modelpack_aws.shares import Bake, change, share_of
from modelpack_aws.stack import Stack, Stacks
from modelpack_aws.template import Template
from modelpack_aws.wanted import Wanted

_STATES: Mapping[str, State] = {
    "InService": State.RUNNING,
    "Creating": State.STARTING,
    "Updating": State.STARTING,
    "SystemUpdating": State.RUNNING,
    "RollingBack": State.STARTING,
    "OutOfService": State.STOPPED,
    "Deleting": State.STOPPED,
    "Failed": State.FAILED,
    "UpdateRollbackFailed": State.FAILED,
}
_CHANGE_S = 3600.0
_WEIGHTS_S = 1800.0
_POLL_S = 5.0
_TRIES = 12
# What an endpoint that has just come up may say for a while (InvokeEndpoint, "Errors").
_NOT_YET = ("ModelNotReadyException", "ServiceUnavailable", "ThrottlingException")


class SagemakerMode(AwsMode):
    """One endpoint, or a model for jobs."""

    word: ClassVar[str] = "sagemaker"
    options: ClassVar[Mapping[str, str]] = sagemaker.OPTIONS
    heeds: ClassVar[frozenset[str]] = COMMON | {
        "accelerator",
        "bake_s",
        "canary_percent",
        "cooldown_down_s",
        "cooldown_up_s",
        "idle_s",
        "in_flight",
        "instance",
        "max_replicas",
        "security_groups",
        "subnets",
        "vpc",
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "public": "an endpoint is for callers with AWS credentials alone",
        "allow": "an endpoint is for callers with AWS credentials alone",
    }

    def check(self, wanted: Wanted) -> None:
        """Raise UsageError for a type that SageMaker does not have, and places nothing goes to."""
        kind = sagemaker.kind_of(wanted)
        for option in ("input", "output"):
            if option in wanted.options and kind not in ("async", "transform"):
                raise UsageError(
                    f"option '{option}' is for the kinds async and transform, and this is {kind}",
                    hint="leave it out, or say '--option kind=async'",
                )
        if wanted.instance not in (None, "auto"):
            where = "transform" if kind == "transform" else "sagemaker"
            offered.require_type(str(wanted.instance), where)

    def notes(self, wanted: Wanted) -> list[str]:
        """Return what SageMaker does otherwise; raises UsageError for what it cannot do."""
        sagemaker.render(wanted)
        return sagemaker.notes(wanted)

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what its fewest instances cost at the prices of EC2; None where there may be none."""
        if sagemaker.kind_of(wanted) in ("serverless", "transform") or not wanted.scaling.least:
            return None
        found = known(hosted_on(wanted).type)
        if found is None or found.usd_hour is None:
            return None
        note = f"{hosted_on(wanted).type}, at least: EC2's list price, US East, {PRICES_OF}"
        return Cost(usd_per_hour=found.usd_hour * wanted.scaling.least, note=note)

    def render(self, wanted: Wanted, former: Wanted | None = None) -> Template:
        """Return the template; of two variants the new one gets no call before it is promoted."""
        beside = _beside(wanted, former)
        return sagemaker.render(wanted, former=beside, share=0.0 if beside else 1.0)

    def look(self, clients: Clients, stack: Stack, wanted: Wanted) -> Sight:
        """Return how the endpoint is; a model for jobs runs as soon as it is there."""
        if sagemaker.kind_of(wanted) == "transform":
            return Sight(state=State.RUNNING, detail="jobs take it")
        found = _described(clients, stack.outputs["Endpoint"])
        state = _STATES.get(str(found["EndpointStatus"]), State.STARTING)
        reason = found.get("FailureReason")
        variants = found.get("ProductionVariants") or ()
        runs = sum(int(one.get("CurrentInstanceCount") or 0) for one in variants)
        facts: dict[str, Fact] = {}
        is_fixed = wanted.scaling.most <= wanted.scaling.least
        is_changed = runs not in (0, wanted.scaling.least)  # by somebody else
        if sagemaker.kind_of(wanted) == "realtime" and is_fixed and is_changed:
            facts["min_replicas"] = runs
        return Sight(state=state, detail=str(reason) if reason else None, facts=facts)

    def lines(
        self, clients: Clients, stack: Stack, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what the containers of all variants wrote; nothing for jobs."""
        group = stack.outputs.get("LogGroup")
        if group is None:
            return iter(())
        return log_lines(clients, group, follow=follow, tail=tail)

    def verify(self, clients: Clients, stack: Stack, status: Status) -> tuple[str, ...] | None:
        """See that the right image runs and that it answers an example; raises DeployError."""
        name = stack.outputs.get("Endpoint")
        if name is None:
            return ("no request was made: the model waits for jobs",)
        found = _described(clients, name)
        if found["EndpointStatus"] != "InService":
            raise DeployError(
                f"the endpoint '{name}' is {found['EndpointStatus']}: "
                f"{found.get('FailureReason') or 'no reason given'}"
            )
        _require_image(found, stack)
        if "DoneTopic" in stack.outputs:
            return ("no request was made: what is asynchronous is asked by files in S3",)
        api = default_api(apis_of(status.bundle or ""))
        if api is None:
            return ("no request was made: the bundle is not in the store of this machine",)
        body = json.dumps(sample(api["input"])).encode()
        return _ask(clients, stack, name, body)

    def promote(self, stacks: Stacks, stack: Stack, wanted: Wanted, progress: Progress) -> None:
        """Of two variants, give the new one its share, watch it, and take the former one away."""
        former = stack.outputs.get("Former")
        if former is None:
            return
        name, new = stack.outputs["Endpoint"], sagemaker.variant_of(wanted)
        percent, seconds = wanted.traffic.canary_percent, wanted.traffic.bake_s
        if percent:
            share = share_of(percent)
            with progress.step(f"give {share:.0%} of the calls to the variant '{new}'"):
                _weigh(stacks, name, {new: share, former: 1.0 - share})
            if not seconds:
                progress.note("the canary stays until the next deploy")
                return
            bake = Bake(
                clients=stacks.clients,
                alarm=stack.outputs["CanaryAlarm"],
                seconds=seconds,
                clock=stacks.clock,
            )
            try:
                bake.watch(progress, f"the variant '{new}'")
            except DeployError:
                with progress.step("take the share away"):
                    _weigh(stacks, name, {new: 0.0, former: 1.0})
                raise
        with progress.step("give all calls to the new variant"):
            _weigh(stacks, name, {new: 1.0, former: 0.0})
        with progress.step("take the former variant away"):
            _let_go(stacks.clients, name, former)
            change(stacks, stack, sagemaker.render(wanted), progress, timeout_s=_CHANGE_S)


def _beside(wanted: Wanted, former: Wanted | None) -> Wanted | None:
    """Return the former revision where both are to stand in one endpoint."""
    if former is None or former.mark == wanted.mark:
        return None
    kinds = {sagemaker.kind_of(wanted), sagemaker.kind_of(former)}
    return former if kinds == {"variants"} else None


def _described(clients: Clients, name: str) -> Mapping[str, Any]:
    with said(f"read the endpoint '{name}'"):
        found: Mapping[str, Any] = clients.client("sagemaker").describe_endpoint(EndpointName=name)
    return found


def _require_image(found: Mapping[str, Any], stack: Stack) -> None:
    """Raise DeployError when no variant runs the image of the stack, where SageMaker says which."""
    digest = stack.parameters.get("Image", "").partition("@")[2]
    resolved = [
        str(image.get("ResolvedImage", ""))
        for variant in found.get("ProductionVariants") or ()
        for image in variant.get("DeployedImages") or ()
        if "@" in str(image.get("ResolvedImage", ""))
    ]
    if digest and resolved and not any(one.endswith(digest) for one in resolved):
        raise DeployError(
            f"the endpoint '{found['EndpointName']}' runs another image than the one of its stack"
        )


def _ask(clients: Clients, stack: Stack, name: str, body: bytes) -> tuple[str, ...]:
    """Send an example; returns what is to be noted, raises DeployError when the model fails."""
    api = clients.client("sagemaker-runtime")
    asked: dict[str, Any] = {
        "EndpointName": name,
        "ContentType": "application/json",
        "Accept": "application/json",
        "Body": body,
    }
    if variant := stack.outputs.get("Variant"):
        asked["TargetVariant"] = variant
    for attempt in range(_TRIES):
        with said(f"invoke the endpoint '{name}'"):
            try:
                api.invoke_endpoint(**asked)["Body"].read()
                return ()
            except api.exceptions.ClientError as cause:
                if error_code(cause) not in _NOT_YET or attempt + 1 == _TRIES:
                    return (_refused(cause, name),)
        Clock().sleep(_POLL_S)
    return ()


def _refused(cause: Any, name: str) -> str:
    """Return what is to be noted of a refused example; raises DeployError for all but that."""
    status = int(cause.response.get("OriginalStatusCode") or 0)
    if 400 <= status < 500:
        return f"the endpoint refuses an example made from the schema with HTTP {status}"
    if status:
        message = str(cause.response.get("OriginalMessage") or "")[:200]
        raise DeployError(f"the endpoint '{name}' answers with HTTP {status}: {message}") from cause
    raise refusal(cause, f"invoke the endpoint '{name}'") from cause


def _let_go(clients: Clients, endpoint: str, variant: str) -> None:
    """End the scaling of a variant, without which SageMaker does not take it away; repeatable.

    CloudFormation deletes what a template no longer has last of all, which is too late here.
    """
    api = clients.client("application-autoscaling")
    with said(f"end the scaling of the variant '{variant}'"):
        try:
            api.deregister_scalable_target(
                ServiceNamespace="sagemaker",
                ResourceId=f"endpoint/{endpoint}/variant/{variant}",
                ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            )
        except api.exceptions.ClientError as cause:
            if error_code(cause) != "ObjectNotFoundException":
                raise


def _weigh(stacks: Stacks, name: str, weights: Mapping[str, float]) -> None:
    """Set what share of the calls each variant gets, and wait until it is so; repeatable."""
    api = stacks.clients.client("sagemaker")
    found = _described(stacks.clients, name)
    now = {
        str(one["VariantName"]): float(one.get("CurrentWeight") or 0)
        for one in found.get("ProductionVariants") or ()
    }
    if now != dict(weights):
        desired = [{"VariantName": one, "DesiredWeight": w} for one, w in weights.items()]
        with said(f"move the calls of the endpoint '{name}'"):
            api.update_endpoint_weights_and_capacities(
                EndpointName=name, DesiredWeightsAndCapacities=desired
            )
    deadline = stacks.clock.now() + _WEIGHTS_S
    while _described(stacks.clients, name)["EndpointStatus"] == "Updating":
        if stacks.clock.now() >= deadline:
            raise DeployError(f"the endpoint '{name}' does not come to rest")
        stacks.clock.sleep(_POLL_S)
