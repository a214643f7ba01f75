"""The target over a small Heroku on loopback: the whole contract, releases, faults."""

from __future__ import annotations

import pytest

from modelpack.testing import CLAIMS, Claim, TargetCase

from .fake_heroku import FakeHeroku
from .heroku_cases import spec, target_of


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_targets(claim: Claim, heroku: FakeHeroku) -> None:
    claim(
        TargetCase(
            target=target_of(heroku),
            spec=spec("a"),
            changed=spec("b", EXTRA="1"),
            broken=spec("c", FAKE_MODE="crash"),
            resources=heroku.resources,
            most_kills=3,
        )
    )
