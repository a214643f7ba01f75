"""Functions of AWS Lambda as a mode of the target: seen, asked, and given their calls by shares.

    apply    ──► a new version beside the former one, which still answers ``live``
    fetch    ──► Invoke of the new version, with the event that the address would send
    promote  ──► canary: a share of ``live``, watched by its alarm ──► all of ``live``
                    └── it rings: the share is taken away with one call, then the stack follows

Facts: AWS Lambda API reference (``Invoke``, ``GetFunctionConfiguration``, ``UpdateAlias``) and
developer guide ("Invoking Lambda function URLs", payload format 2.0; "Lambda function states").
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from modelpack.deploy import Answer, Cost, Fact, Progress, Sight, State
from modelpack.errors import DeployError, ModelpackError
from modelpack_aws import lambda_
from modelpack_aws.loglines import log_lines
from modelpack_aws.modes import COMMON, AwsMode
from modelpack_aws.session import Clients, said
from modelpack_aws.shares import Bake, change, share_of
from modelpack_aws.stack import Stack, Stacks
from modelpack_aws.template import Template
from modelpack_aws.wanted import MIB, Wanted

_STATES: Mapping[str, State] = {
    "Active": State.RUNNING,
    "Inactive": State.RUNNING,  # idle for weeks: the next call wakes it
    "Pending": State.STARTING,
    "Failed": State.FAILED,
}
_CHANGE_S = 900.0
_ZEROS = b"\0" * 8
"""Between the head and the body of a streamed answer."""


class LambdaMode(AwsMode):
    """One function, its address, an alias that everybody calls."""

    word: ClassVar[str] = "lambda"
    options: ClassVar[Mapping[str, str]] = lambda_.OPTIONS
    heeds: ClassVar[frozenset[str]] = COMMON | {
        "public",
        "subnets",
        "security_groups",
        "vpc",
        "canary_percent",
        "bake_s",
        "max_replicas",
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "accelerator": "Lambda has none",
        "instance": "Lambda has no instances to choose from",
        "allow": "the address of a function has no list of networks",
        "in_flight": "each environment answers one call at a time",
        "idle_s": "Lambda itself ends what is idle",
    }

    def notes(self, wanted: Wanted) -> list[str]:
        """Return what Lambda does otherwise; raises UsageError for what it cannot do."""
        lambda_.render(wanted)
        return lambda_.notes(wanted)

    def cost(self, wanted: Wanted) -> Cost | None:  # noqa: ARG002
        """None: it costs by the call."""
        return None

    def render(self, wanted: Wanted, former: Wanted | None = None) -> Template:
        """Return the template; with a former revision, that one answers until it is promoted."""
        return lambda_.render(wanted, former=_other(wanted, former))

    def look(self, clients: Clients, stack: Stack, wanted: Wanted) -> Sight:
        """Return how the version of the stack's revision is."""
        function, version = stack.outputs["Function"], stack.outputs["Version"]
        with said(f"read the function '{function}'"):
            found = clients.client("lambda").get_function_configuration(
                FunctionName=function, Qualifier=version
            )
        reason = found.get("StateReason")
        return Sight(
            state=_STATES.get(str(found.get("State") or "Active"), State.STARTING),
            detail=str(reason) if reason else None,
            url=stack.outputs["Url"].rstrip("/"),
            facts=_facts(found, wanted),
        )

    def fetch(
        self,
        clients: Clients,
        stack: Stack,
        path: str,
        *,
        body: bytes | None = None,
        timeout_s: float,  # noqa: ARG002  the function has its own
    ) -> Answer:
        """Ask the version of the stack's revision, as the address would; raises OSError."""
        event = http_event(path, body)
        try:
            with said("invoke the function"):
                answer = clients.client("lambda").invoke(
                    FunctionName=stack.outputs["Function"],
                    Qualifier=stack.outputs["Version"],
                    Payload=json.dumps(event).encode(),
                )
                payload = answer["Payload"].read()
        except ModelpackError as cause:
            raise OSError(cause.message) from cause
        return read_answer(payload, has_failed=bool(answer.get("FunctionError")))

    def lines(
        self, clients: Clients, stack: Stack, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield what its environments wrote, all together."""
        return log_lines(clients, stack.outputs["LogGroup"], follow=follow, tail=tail)

    def promote(self, stacks: Stacks, stack: Stack, wanted: Wanted, progress: Progress) -> None:
        """Give the new version its share, watch it, then all calls; raises DeployError."""
        former = stack.outputs.get("Former")
        if former is None:
            return
        percent, seconds = wanted.traffic.canary_percent, wanted.traffic.bake_s
        if percent:
            share = share_of(percent)
            with progress.step(
                f"give {share:.0%} of the calls to version {stack.outputs['Version']}"
            ):
                template = lambda_.render(wanted, former=former, share=share)
                stack = change(stacks, stack, template, progress, timeout_s=_CHANGE_S)
            if not seconds:
                progress.note("the canary stays until the next deploy")
                return
            self._bake(stacks, stack, wanted, former, progress)
        with progress.step("give all calls to the new version"):
            change(stacks, stack, lambda_.render(wanted), progress, timeout_s=_CHANGE_S)

    def _bake(
        self, stacks: Stacks, stack: Stack, wanted: Wanted, former: str, progress: Progress
    ) -> None:
        bake = Bake(
            clients=stacks.clients,
            alarm=stack.outputs["CanaryAlarm"],
            seconds=wanted.traffic.bake_s,
            clock=stacks.clock,
        )
        try:
            bake.watch(progress, f"version {stack.outputs['Version']}")
        except DeployError:
            # One call, done in a second; the stack, which takes longer, then says the same.
            with progress.step("take the share away"), said("move the alias back"):
                stacks.clients.client("lambda").update_alias(
                    FunctionName=stack.outputs["Function"],
                    Name=lambda_.ALIAS,
                    RoutingConfig={"AdditionalVersionWeights": {}},
                )
            template = lambda_.render(wanted, former=former)
            change(stacks, stack, template, progress, timeout_s=_CHANGE_S)
            raise


def http_event(path: str, body: bytes | None) -> dict[str, Any]:
    """Return the event that a function's address makes of a request (payload format 2.0)."""
    parts = urlsplit(path)
    method = "GET" if body is None else "POST"
    headers = {"host": "127.0.0.1"}
    if body is not None:
        headers["content-type"] = "application/json"
    return {
        "version": "2.0",
        "rawPath": parts.path or "/",
        "rawQueryString": parts.query,
        "headers": headers,
        "requestContext": {
            "http": {"method": method, "path": parts.path or "/", "sourceIp": "127.0.0.1"},
            "stage": "$default",
        },
        "body": None if body is None else base64.b64encode(body).decode(),
        "isBase64Encoded": body is not None,
    }


def read_answer(payload: bytes, *, has_failed: bool) -> Answer:
    """Return what the service answered; raises OSError when the function failed, or says nothing."""
    head, zeros, streamed = payload.partition(_ZEROS)
    try:
        said_so = json.loads(head)
        if has_failed or "errorMessage" in said_so:
            raise OSError(f"the function fails: {said_so.get('errorMessage', 'no reason given')}")
        if zeros:
            return Answer(int(said_so["statusCode"]), streamed)
        text = str(said_so.get("body") or "")
        coded = bool(said_so.get("isBase64Encoded"))
        data = base64.b64decode(text, validate=True) if coded else text.encode()
        return Answer(int(said_so["statusCode"]), data)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise OSError("the function's answer is not one of its address") from cause


def _other(wanted: Wanted, former: Wanted | None) -> str | None:
    if former is None or former.mark == wanted.mark:
        return None
    return former.mark


def _facts(found: Mapping[str, Any], wanted: Wanted) -> dict[str, Fact]:
    """Return what runs, for what was asked for: variables and memory."""
    variables = (found.get("Environment") or {}).get("Variables") or {}
    facts: dict[str, Fact] = {f"env.{name}": variables.get(name) for name in wanted.env}
    memory_mb = int(found.get("MemorySize") or 0)
    if wanted.memory_bytes is not None:
        as_wanted = memory_mb == lambda_.size_of(wanted).memory_mb
        facts["memory_bytes"] = wanted.memory_bytes if as_wanted else memory_mb * MIB
    return facts
