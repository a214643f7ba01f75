"""Latencies are counted as HdrHistogram counts them, and survive being saved."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from modelpack.bench.histogram import LONGEST_US, Latencies, merged

US = st.integers(0, LONGEST_US)


def latencies_of(values_us: list[int]) -> Latencies:
    latencies = Latencies()
    for us in values_us:
        latencies.add((us + 0.5) / 1e6)
    return latencies


@given(st.lists(US, min_size=1), st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_those_of_the_library(values: list[int], percentile: float) -> None:
    theirs = HdrHistogram(1, LONGEST_US, 3)
    for us in values:
        theirs.record_value(us)

    ours = latencies_of(values)

    assert ours.count == len(values)
    assert ours.at_ms(percentile) * 1000 == pytest.approx(
        theirs.get_value_at_percentile(percentile)
    )
    assert ours.max_ms * 1000 == pytest.approx(theirs.get_max_value())


@given(st.lists(US))
def test_what_is_encoded_is_read_back(values: list[int]) -> None:
    latencies = latencies_of(values)
    assert Latencies.decode(latencies.encode()) == latencies


@given(st.lists(US), st.lists(US))
def test_merged_is_counted_together(one: list[int], two: list[int]) -> None:
    assert merged([latencies_of(one), latencies_of(two)]) == latencies_of(one + two)


@given(st.lists(US, min_size=1))
def test_mean_is_within_a_thousandth(values: list[int]) -> None:
    mean_ms = sum(values) / len(values) / 1000
    assert latencies_of(values).mean_ms == pytest.approx(mean_ms, rel=0.001, abs=0.001)


def test_what_is_out_of_range_is_counted_at_the_edge() -> None:
    latencies = Latencies()
    latencies.add(-1)
    latencies.add(1e9)
    assert latencies.count == 2
    assert latencies.max_ms == pytest.approx(3_600_000, rel=0.001)


def test_empty_has_no_latency() -> None:
    empty = Latencies()
    assert (empty.at_ms(99), empty.max_ms, empty.mean_ms, empty.share_above(1)) == (0, 0, 0, 0)


def test_share_above_counts_what_took_longer() -> None:
    assert latencies_of([500, 1500, 2500, 3500]).share_above(2) == 0.5


@pytest.mark.parametrize("text", ["", "HISTFAAA", "not base64 at all", "AAAA"])
def test_what_is_no_histogram_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="not an encoded histogram"):
        Latencies.decode(text)
