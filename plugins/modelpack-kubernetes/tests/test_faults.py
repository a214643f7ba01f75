"""A fault at any call of a deploy: refused, or done and its answer lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from clustered import deploy, spec, target_at
from stand_in import Asked, StandIn

from modelpack.deploy import State, rollout
from modelpack.errors import ModelpackError

MOST_CALLS = 300
"""More than a deploy makes."""


class Fault:
    """Lets one call go wrong."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.calls = number, kind, 0

    def __call__(self, _: Asked) -> str | None:
        self.calls += 1
        return self.kind if self.calls == self.number else None


def one_fault(cluster: StandIn, number: int, kind: str, *, is_update: bool) -> str | None:
    """Deploy with a fault, then again without; return at which call it was, None for too late."""
    target, wanted = target_at(cluster), spec("b", cpu=2.0)
    if is_update:
        deploy(target, spec("a"))
    cluster.calls.clear()
    cluster.on_call = fault = Fault(number, kind)
    with suppress(ModelpackError):  # in our words, whatever went wrong
        deploy(target, wanted)
    cluster.on_call = lambda _: None
    hit = cluster.calls[number - 1] if fault.calls >= number else None
    if is_update:
        assert target.status("digits").state is State.RUNNING, f"nothing runs after {hit}"
    assert deploy(target, wanted).bundle == "digits:b"
    assert rollout.plan_deployment(target, wanted).is_empty, hit
    assert target.history("digits")[-1].bundle == "digits:b"
    target.destroy("digits")
    left = [one for one in cluster.resources() if not one.startswith("Lease")]
    assert left == [], hit
    return hit


def faults(every: int) -> Iterator[tuple[int, str]]:
    """Name a kind of fault at every so manieth call of a deploy."""
    for kind in ("refused", "lost"):
        for number in range(1 if every == 1 else every // 2, MOST_CALLS, every):
            yield number, kind


@pytest.mark.parametrize("is_update", [False, True], ids=["first", "update"])
@pytest.mark.parametrize("every", [66, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    cluster: StandIn, every: int, is_update: bool
) -> None:
    seen = set()
    over = set()
    for number, kind in faults(every):
        if kind in over:
            continue
        hit = one_fault(cluster, number, kind, is_update=is_update)
        seen.add(hit)
        cluster.reset()
        if hit is None:
            over.add(kind)
    if every == 1:
        assert {"patch deployments", "create controllerrevisions", "watch deployments"} <= seen
        assert {"patch deployments (dry)", "get services/proxy", "delete leases"} <= seen
        assert None in seen, "a deploy makes more calls than are tried"
