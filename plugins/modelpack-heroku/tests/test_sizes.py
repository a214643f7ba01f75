"""Which dynos a deployment gets, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_heroku.sizes import SIZES, cost_of, size_for

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError

MB = 1024**2


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({}, "basic"),
        ({"instance": "auto"}, "basic"),
        ({"min_replicas": 2}, "standard-1x"),
        ({"memory_bytes": 512 * MB}, "basic"),
        ({"memory_bytes": 512 * MB + 1}, "standard-2x"),
        ({"memory_bytes": 2 * 1024 * MB}, "performance-m"),
        ({"memory_bytes": 14 * 1024 * MB}, "performance-l"),
        ({"memory_bytes": 15 * 1024 * MB}, "performance-l-ram"),
        ({"memory_bytes": 126 * 1024 * MB}, "performance-2xl"),
        ({"instance": "eco"}, "eco"),
        ({"instance": "Standard-2X", "memory_bytes": 1024 * MB}, "standard-2x"),
    ],
)
def test_the_smallest_dyno_that_fits_is_taken(asked: dict[str, Any], word: str) -> None:
    assert size_for(DeploySettings(**asked)).word == word


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"instance": "standrd-1x"}, "no dynos of the size 'standrd-1x'"),
        ({"instance": "private-s"}, "no dynos of the size 'private-s'"),
        ({"instance": "basic", "min_replicas": 2}, "of basic dynos there is one, 2 are asked for"),
        ({"instance": "standard-1x", "memory_bytes": 1024 * MB}, "standard-1x has 512 MB"),
        ({"memory_bytes": 127 * 1024 * MB}, "130048 MB are more than any dyno has"),
    ],
)
def test_what_no_dyno_has_is_refused_with_what_to_do(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        size_for(DeploySettings(**asked))
    assert caught.value.hint


def test_a_near_word_is_asked_for() -> None:
    with pytest.raises(UsageError) as caught:
        size_for(DeploySettings(instance="standrd-1x"))
    assert caught.value.hint == "did you mean 'standard-1x'?"


def test_a_price_is_that_of_all_dynos_and_says_of_when_it_is() -> None:
    cost = cost_of(SIZES["standard-1x"], 3)

    assert cost is not None
    assert cost.usd_per_hour * 720 == pytest.approx(75, rel=0.01)
    assert "3 x standard-1x (512 MB)" in cost.note
    assert "2026" in cost.note
    assert cost_of(SIZES["eco"], 1) is None


def test_sizes_grow_in_memory_and_in_price() -> None:
    memory = [one.memory_mb for one in SIZES.values()]
    prices = [one.usd_a_month for one in SIZES.values()]
    assert (memory, prices) == (sorted(memory), sorted(prices))
