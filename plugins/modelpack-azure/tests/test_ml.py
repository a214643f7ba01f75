"""Online endpoints over a small Azure on loopback: the whole contract, shares of the calls, faults."""

from __future__ import annotations

import pytest
from modelpack_azure import ml
from modelpack_azure.target import MlTarget

from modelpack.testing import CLAIMS, Claim, TargetCase

from .azure_cases import spec, target_of
from .fake_azure import FakeAzure


@pytest.fixture(autouse=True)
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this machine has the bundle, with one api."""
    record = {"name": "predict", "route": "/predict", "input": {"type": "object"}}
    monkeypatch.setattr(ml, "apis_of", lambda bundle: (record,))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, azure: FakeAzure) -> None:
    claim(
        TargetCase(
            target=target_of(azure, MlTarget),
            spec=spec("a"),
            changed=spec("b", cpu=4.0, max_replicas=3),
            broken=spec("c", FAKE_MODE="crash"),
            resources=azure.resources,
            most_kills=3,
        )
    )
