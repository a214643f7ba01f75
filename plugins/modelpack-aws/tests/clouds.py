"""Stand-ins for AWS: clients that answer from a table, stacks that have done at once what was ordered.

What they are asked is kept, so that a test can say in which order things happen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from modelpack_aws.stack import Stack, Stacks

from modelpack.deploy import Clock

OUTPUTS = {
    "Function": "modelpack-digits",
    "Version": "7",
    "Url": "https://abc.lambda-url.eu-west-1.on.aws/",
    "LogGroup": "/aws/lambda/modelpack-digits",
}


@dataclass
class Clouds:
    """Clients that answer from a table, and remember what they were asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    region: str | None = "eu-west-1"

    class exceptions:
        """As clients of boto3 have them."""

        ClientError = ClientError

    def client(self, service: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.asked.append((name, parameters))
            answer = self.answers[name]
            return answer(**parameters) if callable(answer) else answer

        return call

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStacks(Stacks):
    """Stacks that keep what was ordered, and have done it at once."""

    orders: list[Any] = field(default_factory=list)

    def prepare(self, order: Any, progress: Any) -> Any:
        return order

    def execute(self, prepared: Any, progress: Any, *, timeout_s: float) -> Stack:
        self.orders.append(prepared)
        body = json.loads(prepared.body)
        known = {
            name: value["Value"] if isinstance(value["Value"], str) else name
            for name, value in body["Outputs"].items()
        }
        return stack(outputs=known | OUTPUTS, parameters=prepared.parameters)


def stack(**changed: Any) -> Stack:
    given: dict[str, Any] = {
        "name": "modelpack-digits",
        "id": "arn:x",
        "status": "UPDATE_COMPLETE",
        "outputs": OUTPUTS,
        "parameters": {"Image": "repo@sha256:1"},
        "metadata": {"Modelpack": {"spec": "kept"}},
        "tags": {"modelpack:deployment": "digits"},
    }
    return Stack(**given | changed)


class Hands:
    """A clock that its sleepers move."""

    def __init__(self) -> None:
        self.at = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.at += seconds


def ringing(states: list[str]) -> Callable[..., Any]:
    left = list(states)

    def describe_alarms(**_: Any) -> Any:
        state = left.pop(0) if len(left) > 1 else left[0]
        return {"MetricAlarms": [{"StateValue": state, "StateReason": "5 of 9 calls failed"}]}

    return describe_alarms
