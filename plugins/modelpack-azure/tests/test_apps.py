"""Container Apps over a small Azure on loopback: the whole contract, shares of the calls, faults."""

from __future__ import annotations

import pytest

from modelpack.testing import CLAIMS, Claim, TargetCase

from .azure_cases import spec, target_of
from .fake_azure import FakeAzure


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, azure: FakeAzure) -> None:
    claim(
        TargetCase(
            target=target_of(azure),
            spec=spec("a"),
            changed=spec("b", cpu=2.0),
            broken=spec("c", FAKE_MODE="crash"),
            resources=azure.resources,
            most_kills=3,
        )
    )
