"""ECS and EC2 as modes: replicas that stand behind a load balancer.

    EcsMode  DescribeServices        ──► Sight     the rollout's own word, and which revision it is of
    Ec2Mode  DescribeTargetHealth    ──► Sight     instances that are ready, by the load balancer's check

A service of ECS that went back by itself runs the task definition before: that is a failure of the
revision which stands in the stack, whatever CloudFormation says of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from modelpack.deploy import Cost, Fact, Sight, State
from modelpack_aws import ec2, ecs, offered
from modelpack_aws.given import CERTIFICATE
from modelpack_aws.loglines import log_lines
from modelpack_aws.modes import COMMON, NETWORK, AwsMode
from modelpack_aws.session import Clients, said
from modelpack_aws.stack import Stack
from modelpack_aws.template import Json, Template
from modelpack_aws.wanted import Wanted

_GROWS = frozenset({"max_replicas", "in_flight", "cooldown_up_s", "cooldown_down_s"})
_NO_ZERO = "replicas behind a load balancer cannot wake up from none; Lambda can"


class EcsMode(AwsMode):
    """A service of ECS on Fargate."""

    word: ClassVar[str] = "ecs"
    options: ClassVar[Mapping[str, str]] = CERTIFICATE
    heeds: ClassVar[frozenset[str]] = COMMON | NETWORK | _GROWS | {"canary_percent", "bake_s"}
    reasons: ClassVar[Mapping[str, str]] = {
        "accelerator": "Fargate has no accelerators; mode 'sagemaker' or 'ec2' has",
        "instance": "Fargate chooses machines itself; mode 'ec2' takes a type",
        "idle_s": _NO_ZERO,
    }
    needs_network: ClassVar[bool] = True

    def notes(self, wanted: Wanted) -> list[str]:
        """Return where steps of Fargate are larger than what is asked for."""
        return ecs.notes(wanted)

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what the least number of tasks costs."""
        return ecs.cost(wanted)

    def render(self, wanted: Wanted, former: Wanted | None = None) -> Template:  # noqa: ARG002
        """Return the template of a service."""
        return ecs.render(wanted)

    def parameters(self, wanted: Wanted, around: Mapping[str, Fact]) -> dict[str, str]:  # noqa: ARG002
        """Return whether tasks need an address of their own to pull with."""
        is_public = around.get("is_public_subnet") == "yes"
        return {ecs.PUBLIC_IP: "ENABLED" if is_public else "DISABLED"}

    def look(self, clients: Clients, stack: Stack, wanted: Wanted) -> Sight:  # noqa: ARG002
        """Return how the service is, by its newest deployment."""
        with said("look at the service"):
            found = clients.client("ecs").describe_services(
                cluster=stack.outputs["Cluster"], services=[stack.outputs["Service"]]
            )["services"]
        if not found or found[0].get("status") != "ACTIVE":
            return Sight(state=State.FAILED, detail="the service is gone")
        return _sight(found[0], stack)

    def lines(
        self, clients: Clients, stack: Stack, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield the lines of all tasks."""
        return _lines(clients, stack, follow=follow, tail=tail)


class Ec2Mode(AwsMode):
    """A group of EC2 instances."""

    word: ClassVar[str] = "ec2"
    options: ClassVar[Mapping[str, str]] = {**CERTIFICATE, "spot": "yes: spot instances"}
    heeds: ClassVar[frozenset[str]] = COMMON | NETWORK | _GROWS | {"accelerator", "instance"}
    reasons: ClassVar[Mapping[str, str]] = {
        "canary_percent": "instances are replaced one after the other; mode 'ecs' has canaries",
        "bake_s": "there is no canary",
        "idle_s": _NO_ZERO,
    }
    needs_network: ClassVar[bool] = True

    def check(self, wanted: Wanted) -> None:
        """Raise UsageError for a type that EC2 does not have."""
        if wanted.instance not in (None, "auto"):
            offered.require_type(str(wanted.instance), "ec2")

    def notes(self, wanted: Wanted) -> list[str]:
        """Return which type was chosen, and why."""
        return ec2.notes(wanted)

    def cost(self, wanted: Wanted) -> Cost | None:
        """Return what the least number of instances costs."""
        return ec2.cost(wanted)

    def render(self, wanted: Wanted, former: Wanted | None = None) -> Template:  # noqa: ARG002
        """Return the template of a group."""
        return ec2.render(wanted)

    def look(self, clients: Clients, stack: Stack, wanted: Wanted) -> Sight:  # noqa: ARG002
        """Return how the instances are, by the check of the load balancer."""
        with said("look at the instances"):
            found = clients.client("elbv2").describe_target_health(
                TargetGroupArn=stack.outputs["Replicas"]
            )["TargetHealthDescriptions"]
        health = [one.get("TargetHealth") or {} for one in found]
        words = [str(one.get("State")) for one in health]
        url = stack.outputs.get("Url")
        if "healthy" in words:
            return Sight(state=State.RUNNING, url=url)
        if not words or "initial" in words:
            return Sight(state=State.STARTING, url=url, detail="instances are coming up")
        why = next((str(one["Description"]) for one in health if one.get("Description")), words[0])
        return Sight(state=State.UNHEALTHY, url=url, detail=why)

    def lines(
        self, clients: Clients, stack: Stack, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield the lines of all instances."""
        return _lines(clients, stack, follow=follow, tail=tail)


def _sight(service: Mapping[str, Any], stack: Stack) -> Sight:
    deployments: list[Json] = list(service.get("deployments") or ())
    newest = next((one for one in deployments if one.get("status") == "PRIMARY"), {})
    url = stack.outputs.get("Url")
    restarts = max((int(one.get("failedTasks") or 0) for one in deployments), default=0)
    if newest.get("taskDefinition") != stack.outputs.get("Task"):
        return Sight(
            state=State.FAILED,
            detail=f"ECS went back to what ran before: {_why(service, deployments)}",
            url=url,
            restarts=restarts,
            facts={"task_definition": str(newest.get("taskDefinition"))},
        )
    rollout = newest.get("rolloutState")
    if rollout == "FAILED":
        why = _why(service, deployments)
        return Sight(state=State.FAILED, detail=why, url=url, restarts=restarts)
    running, wanted = (int(service.get(key) or 0) for key in ("runningCount", "desiredCount"))
    if rollout == "IN_PROGRESS":
        # A rollout's failed tasks end it by themselves (circuit breaker): they are no restarts here.
        detail = f"{int(newest.get('runningCount') or 0)} of {wanted} tasks are up"
        return Sight(state=State.STARTING, url=url, detail=detail)
    if running == 0 and wanted:
        why = _why(service, deployments)
        return Sight(state=State.UNHEALTHY, url=url, detail=why, restarts=restarts)
    return Sight(state=State.RUNNING, url=url)


def _why(service: Mapping[str, Any], deployments: list[Json]) -> str:
    """Return the reason that ECS gives: of the rollout that failed, else its newest event."""
    for one in deployments:
        if one.get("rolloutState") == "FAILED" and one.get("rolloutStateReason"):
            return str(one["rolloutStateReason"])
    events = service.get("events") or [{}]
    return str(events[0].get("message") or "it gives no reason")


def _lines(clients: Clients, stack: Stack, *, follow: bool, tail: int | None) -> Iterator[str]:
    return log_lines(clients, stack.outputs["Logs"], follow=follow, tail=tail)
