"""How a new revision of an endpoint takes over, and what takes it back.

    SageMaker starts new instances ──► some calls, or all ──► waits ──► takes the former ones away
                                            └── the alarm rings: all calls go back

Facts: Amazon SageMaker AI developer guide, "Deployment guardrails" (a canary has at most half of the
capacity, waits at most an hour); ``MaximumExecutionTimeoutInSeconds`` and the rest from the API.
"""

from __future__ import annotations

import math

from modelpack_aws.alarms import Watch, stat
from modelpack_aws.template import Json, ref
from modelpack_aws.wanted import Wanted

MOST_CANARY_PERCENT = 50
"""Larger is no canary (developer guide, "Canary traffic shifting")."""
MOST_WAIT_S = 3600
LEAST_BAKE_S = 300
"""A canary of SageMaker ends by itself; for so long, where nothing says how long."""

_FAILING_PERCENT = 5
_METRICS = "AWS/SageMaker"


def takeover(wanted: Wanted, alarms: list[str]) -> Json:
    """Return how a new revision takes over: the ``DeploymentConfig`` of the endpoint."""
    percent = wanted.traffic.canary_percent
    wait = within(wanted.traffic.bake_s or (LEAST_BAKE_S if percent else 0), 0, MOST_WAIT_S)
    routing: Json = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": wait}
    if percent:
        size = {"Type": "CAPACITY_PERCENT", "Value": max(1, math.ceil(percent))}
        routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": wait}
    # Twice the way up, both waits, and what instances take to come.
    longest = 2 * wanted.ready_timeout_s + 2 * wait + 1800
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": min(wait, MOST_WAIT_S),
            "MaximumExecutionTimeoutInSeconds": within(longest, 600, 28_800),
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ref(one)} for one in alarms]},
    }


def watch_calls(watch: Watch, endpoint_name: str, variant: str, *, is_queue: bool) -> None:
    """Declare the alarm on failing calls, which takes a new revision back."""
    endpoint = {"EndpointName": endpoint_name}
    one = {**endpoint, "VariantName": variant}
    if is_queue:
        watch.metric(
            "Failing",
            "requests of the queue fail",
            stat(_METRICS, "InvocationFailures", "Sum", endpoint),
            above=0,
            minutes=1,
            of=1,
        )
        return
    failing = stat(_METRICS, "Invocation5XXErrors", "Sum", one)
    watch.share(
        "Failing",
        f"more than {_FAILING_PERCENT} % of the calls fail",
        failing,
        stat(_METRICS, "Invocations", "Sum", one),
        above=_FAILING_PERCENT,
        minutes=1,
        of=1,
    )


def within(value: float, least: int, most: int) -> int:
    """Return a number of seconds as the API takes it: whole, and between two bounds."""
    return max(least, min(most, math.ceil(value)))
