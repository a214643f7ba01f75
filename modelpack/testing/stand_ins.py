"""What tests over a stand-in of a platform need, whichever platform it is: time, specs, faults.

    Hours ──clock()──► a target that waits for hours in no time
    Fault(number, kind) ──► the stand-in, asked at each call ──► kind, or None: the call is done
    comes_through_a_fault ──► deploy, broken off by the fault ──► the former one runs ──► deploy again

A stand-in keeps the names of its calls in ``calls``, and asks ``fault`` before each what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from modelpack.config.deploying import DeploySettings
from modelpack.deploy import rollout
from modelpack.deploy.probe import Clock
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import State
from modelpack.errors import ModelpackError
from modelpack.testing.case import TargetCase, deploy, expect, held, nothing_stands


class Hours:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> Clock:
        """Return it as a target is given it."""
        return Clock(now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds


def spec_of(version: str = "a", **more: Any) -> DeploymentSpec:
    """Return a deployment ``digits`` of a bundle of that version, with a digest of its own.

    Keywords are fields of ``DeploySettings``; those in capitals are variables of the service.
    """
    env = {key: more.pop(key) for key in list(more) if key.isupper()}
    return DeploymentSpec(
        name="digits",
        bundle=f"digits:{version}",
        digest="sha256:" + (version.encode().hex() * 64)[:64],
        image="digits:1",
        settings=DeploySettings(env=env, **{"ready_timeout_s": 5.0, **more}),
    )


class Fault:
    """Lets one call go wrong, counted from 1; all others are done.

    kind  word of the stand-in, such as ``refused`` (before it is done) or ``lost`` (its answer is)
    """

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind, self.calls = number, kind, 0

    def __call__(self, _: object) -> str | None:
        """Return what becomes of the next call."""
        self.calls += 1
        return self.kind if self.calls == self.number else None


class StandIn(Protocol):
    """What a stand-in has for these tests."""

    calls: Any
    """Names of its calls, a list."""
    fault: Any
    """Asked before each call what becomes of it; None: it is done."""


def comes_through_a_fault(
    case: TargetCase,
    stand_in: StandIn,
    fault: Fault,
    *,
    is_update: bool = True,
    look: Callable[[], object] = lambda: None,
) -> str | None:
    """Deploy with a fault, then again without; return at which call it was, None for too late.

    is_update  True: ``case.changed`` over ``case.spec``; False: the first deploy of ``case.changed``
    look       is called once all is whole again, before it is destroyed

    Raises TargetContractError when the former revision does not run then, when the second deploy
    does not bring it to its end, or when something is left of it.
    """
    target, name, wanted = case.target, case.spec.name, case.changed
    with nothing_stands(case):
        if is_update:
            deploy(case, case.spec)
        stand_in.calls.clear()
        stand_in.fault = fault
        with suppress(ModelpackError):  # in our words, whatever went wrong
            deploy(case, wanted)
        stand_in.fault = lambda _: None
        hit = str(stand_in.calls[fault.number - 1]) if fault.calls >= fault.number else None
        at = f"after '{fault.kind}' at call {fault.number}, '{hit}'"
        target.status(name)  # whatever was under way has ended by the next look
        if is_update:
            expect(target.status(name).state is State.RUNNING, f"nothing runs {at}")
        expect(deploy(case, wanted).bundle == wanted.bundle, f"the next deploy fails {at}")
        left = rollout.plan_deployment(target, wanted)
        expect(left.is_empty, f"there is more to do {at}: {left.describe()}")
        expect(target.history(name)[-1].bundle == wanted.bundle, f"it is not remembered {at}")
        look()
        target.destroy(name)
        expect(not held(case), f"something is left {at}: {', '.join(sorted(held(case)))}")
    return hit


def fault_at_every(
    case: TargetCase,
    stand_in: StandIn,
    *,
    kinds: tuple[str, ...] = ("refused", "lost"),
    every: int = 1,
    most: int = 200,
    is_update: bool = True,
    look: Callable[[], object] = lambda: None,
) -> set[str]:
    """Let every so manieth call go wrong, each alone and in each kind; return which calls they were.

    every  1 tries all of them; more are a sample, which begins in its middle
    most   calls that are tried; raises TargetContractError when a deploy makes more
    """
    hits: set[str] = set()
    for kind in kinds:
        hit: str | None = ""
        for number in range((every + 1) // 2, most, every):
            fault = Fault(number, kind)
            hit = comes_through_a_fault(case, stand_in, fault, is_update=is_update, look=look)
            if hit is None:
                break
            hits.add(hit)
        expect(hit is None, f"a deploy makes more than the {most} calls that are tried")
    return hits
