"""Faults at single calls, and what must be true afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from modelpack_azure.target import AzureTarget

from modelpack.deploy import DeploymentSpec, State, rollout
from modelpack.errors import ModelpackError

from .azure_cases import deploy
from .fake_azure import FakeAzure


class Fault:
    """Lets one call go wrong: ``refused`` before it is done, ``lost`` when its answer is lost."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.calls = number, kind, 0

    def __call__(self, _: str) -> str | None:
        self.calls += 1
        return self.kind if self.calls == self.number else None


def one_fault(
    azure: FakeAzure,
    target: AzureTarget,
    first: DeploymentSpec | None,
    wanted: DeploymentSpec,
    fault: Fault,
) -> str | None:
    """Deploy with a fault, then again without; return at which call it was, None for too late."""
    if first is not None:
        deploy(target, first)
    azure.calls.clear()
    azure.fault = fault
    with suppress(ModelpackError):  # in our words, whatever went wrong
        deploy(target, wanted)
    azure.fault = lambda _: None
    hit: Any = azure.calls[fault.number - 1] if fault.calls >= fault.number else None
    if first is not None:
        assert target.status("digits").state is State.RUNNING, "no revision runs"
    assert deploy(target, wanted).bundle == wanted.bundle
    assert rollout.plan_deployment(target, wanted).is_empty
    assert target.history("digits")[-1].bundle == wanted.bundle
    left = [one for one in azure.resources() if one.startswith(("revision", "deployment"))]
    assert len(left) == 1, left
    target.destroy("digits")
    assert azure.resources() == []
    return hit
