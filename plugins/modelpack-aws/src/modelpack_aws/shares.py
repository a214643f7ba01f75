"""A new revision takes over by shares: a canary, a time in which it is watched, then all.

    share ──► bake ──┬─ alarm rings ──► brake, DeployError     (the share is gone at once)
                     └─ time is up ───► all

What moves the shares is given: an alias of Lambda, variants of SageMaker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelpack.deploy import Clock, Progress
from modelpack.errors import DeployError
from modelpack_aws.session import Clients, said
from modelpack_aws.stack import Order, Stack, Stacks
from modelpack_aws.template import Template

POLL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """How long a share is watched, and by which alarm."""

    clients: Clients
    alarm: str
    """Name of the alarm."""
    seconds: float
    clock: Clock = Clock()  # noqa: RUF009  frozen

    def watch(self, progress: Progress, what: str) -> None:
        """Return after the time; raises DeployError as soon as the alarm rings."""
        began = self.clock.now()
        with progress.step(f"watch {what} for {self.seconds:g} s"):
            while True:
                self._refuse_ringing(what)
                left = began + self.seconds - self.clock.now()
                if left <= 0:
                    return
                self.clock.sleep(min(POLL_S, left))

    def _refuse_ringing(self, what: str) -> None:
        with said(f"read the alarm '{self.alarm}'"):
            found = self.clients.client("cloudwatch").describe_alarms(
                AlarmNames=[self.alarm], AlarmTypes=["MetricAlarm"]
            )["MetricAlarms"]
        if not found:
            raise DeployError(f"{what} cannot be watched: the alarm '{self.alarm}' is gone")
        if found[0]["StateValue"] == "ALARM":
            reason = str(found[0].get("StateReason") or "its alarm rings")
            raise DeployError(f"{what} does not hold: {reason[:200]}")


def change(
    stacks: Stacks, stack: Stack, template: Template, progress: Progress, *, timeout_s: float
) -> Stack:
    """Bring a stack to another template of the same deployment, and return it.

    What the stack remembers, its tags and its parameters stay; a parameter that the template does
    not know is dropped.  Safe to repeat.
    """
    template.metadata = dict(stack.metadata)
    order = Order(
        stack=stack.name,
        body=template.body(),
        parameters={
            key: value for key, value in stack.parameters.items() if key in template.parameters
        },
        tags=stack.tags,
    )
    return stacks.execute(stacks.prepare(order, progress), progress, timeout_s=timeout_s)


def share_of(percent: float) -> float:
    """Return percent as a share of one, with the two digits that the services keep."""
    return math.ceil(percent) / 100
