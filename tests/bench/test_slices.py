"""Slices add up, and are read back as they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.bench.histogram import Latencies
from modelpack.bench.slices import Slice, merged, side_by_side

COUNT = st.integers(0, 1000)
HISTOGRAM = st.dictionaries(st.integers(0, 2047), st.integers(1, 100)).map(Latencies)
SLICES = st.builds(
    Slice,
    seconds=st.floats(0.1, 2).map(lambda s: round(s, 6)),
    offered=COUNT,
    latencies=HISTOGRAM,
    refused=HISTOGRAM,
    late=HISTOGRAM,
    clock_late=HISTOGRAM,
    statuses=st.dictionaries(st.sampled_from([200, 201, 400, 429, 500, 503]), COUNT),
    errors=st.dictionaries(st.sampled_from(["timeout", "closed", "connect"]), COUNT),
    bytes_in=COUNT,
    bytes_out=COUNT,
)


@given(SLICES, st.booleans())
def test_slice_is_read_back_from_json(one: Slice, is_encoded: bool) -> None:
    plain = json.loads(json.dumps(one.to_json(is_encoded=is_encoded)))
    assert Slice.from_json(plain) == one


@given(st.lists(SLICES, min_size=1))
def test_counts_and_seconds_add_up(slices: list[Slice]) -> None:
    whole = merged(slices)
    assert whole.answered == sum(one.answered for one in slices)
    assert whole.failed == sum(one.failed for one in slices)
    assert whole.latencies.count == sum(one.latencies.count for one in slices)
    assert whole.seconds == pytest.approx(sum(one.seconds for one in slices))


@given(st.lists(SLICES, min_size=1))
def test_lanes_side_by_side_share_their_second(slices: list[Slice]) -> None:
    whole = side_by_side(slices)
    assert whole.seconds == slices[0].seconds
    assert whole.good == sum(one.good for one in slices)


def test_only_the_2xx_kind_is_good_and_all_else_has_failed() -> None:
    one = Slice(statuses={200: 5, 204: 1, 304: 1, 429: 2, 503: 3, 500: 4}, errors={"timeout": 7})
    assert (one.good, one.refusals, one.answered, one.failed) == (6, 5, 16, 17)
