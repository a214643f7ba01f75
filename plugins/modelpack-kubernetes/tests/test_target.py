"""The target over the stand-in of an API server: the whole contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clustered import spec, target_at
from stand_in import StandIn

from modelpack.testing import CLAIMS, KILLS, Claim, TargetCase


@pytest.fixture
def case(cluster: StandIn) -> TargetCase:
    return TargetCase(
        target=target_at(cluster),
        spec=spec("a"),
        changed=spec("b", cpu=2.0),
        broken=spec("c", FAKE_MODE="crash"),
        resources=cluster.resources,
        most_kills=2,
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, case: TargetCase) -> None:
    claim(case)


@pytest.mark.long
@pytest.mark.parametrize("kill", KILLS, ids=lambda claim: claim.__name__)
def test_a_kill_at_every_point_of_an_apply(kill: Claim, case: TargetCase) -> None:
    kill(replace(case, most_kills=None))
