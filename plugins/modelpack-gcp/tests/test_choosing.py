"""Which service a deployment gets, and why."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_gcp.choosing import MODES, choose

from modelpack.errors import UsageError
from modelpack.testing import spec_of

BOTH = tuple(MODES.paths)


@pytest.mark.parametrize(
    ("settings", "word", "why"),
    [
        ({}, "cloud-run", "no machines to look after"),
        ({"instance": "auto"}, "cloud-run", "no machines to look after"),
        ({"accelerator": "nvidia-l4:1"}, "cloud-run", "it has that accelerator"),
        ({"accelerator": "nvidia-l4:2"}, "vertex", "Cloud Run has no 'nvidia-l4:2'"),
        ({"accelerator": "nvidia-h100:1"}, "vertex", "Cloud Run has no 'nvidia-h100:1'"),
        ({"instance": "n1-standard-4"}, "vertex", "takes no machine type"),
        ({"cpu": 16.0}, "vertex", "more processors or memory"),
        ({"mode": "vertex"}, "vertex", "asked for"),
        ({"mode": "cloud-run", "accelerator": "nvidia-h100:1"}, "cloud-run", "asked for"),
    ],
)
def test_a_deployment_gets_the_service_that_fits(
    settings: dict[str, Any], word: str, why: str
) -> None:
    found = choose(spec_of(**settings), BOTH)

    assert found[0] == word
    assert why in found[1]
    assert MODES.load(word).word == word


def test_a_target_of_one_service_has_no_choice() -> None:
    assert choose(spec_of(cpu=16.0), ("cloud-run",)) == ("cloud-run", "asked for by the target")


@pytest.mark.parametrize(
    ("mode", "allowed", "hint"),
    [
        ("cloudrun", BOTH, "did you mean 'cloud-run'?"),
        ("lambda", BOTH, "it has cloud-run, vertex"),
        ("vertex", ("cloud-run",), "it has cloud-run"),
    ],
)
def test_a_mode_that_is_none_is_refused(mode: str, allowed: tuple[str, ...], hint: str) -> None:
    with pytest.raises(UsageError, match=f"deploy.mode: '{mode}' is none of this target") as caught:
        choose(spec_of(mode=mode), allowed)
    assert caught.value.hint == hint
