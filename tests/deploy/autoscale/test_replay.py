"""A trace played against a policy: nobody is lost, and the same trace gives the same result."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.deploy.autoscale.picture import columns, svg_picture, text_picture
from modelpack.deploy.autoscale.policy import Policy
from modelpack.deploy.autoscale.replay import Service, replay
from modelpack.deploy.autoscale.trace import Trace, TraceError, read_trace
from modelpack.errors import UsageError


def trace(*arrivals: float, length_s: float | None = None) -> Trace:
    return Trace(arrivals, arrivals[-1] if length_s is None else length_s)


FIXED = Policy(min_replicas=2, max_replicas=2)


def test_a_request_that_finds_a_place_takes_its_time() -> None:
    found = replay(trace(0.0, 0.1, length_s=10), FIXED, Service(service_s=0.5))
    assert (found.answered, found.refused, found.p99_s) == (2, 0, 0.5)
    assert found.replica_hours == pytest.approx(2 * 10 / 3600)


def test_one_that_finds_none_waits_in_its_order() -> None:
    found = replay(trace(0.0, 0.0, 0.0, 0.2, length_s=10), FIXED, Service(service_s=1.0))
    assert found.answered == 4
    assert found.p99_s == 2.0  # the third: it waited a whole service


def test_what_does_not_fit_into_the_queue_is_refused() -> None:
    found = replay(trace(*[0.0] * 10, length_s=10), FIXED, Service(service_s=1.0, queue=2))
    assert (found.answered, found.refused) == (2 + 4, 4)


def test_the_first_request_wakes_what_sleeps_and_waits_for_its_start() -> None:
    policy = Policy(min_replicas=0, idle_s=30)
    found = replay(trace(5.0, length_s=100), policy, Service(service_s=0.5, start_s=7))
    assert found.p99_s == 7.5
    assert [count for _, count in found.replicas] == [0, 1, 0]
    assert found.replicas[1][0] == 5.0


def test_one_that_goes_ends_what_it_has() -> None:
    policy = Policy(min_replicas=1, max_replicas=9, window_s=0, up_s=0, down_s=0, every_s=1)
    found = replay(trace(*[0.5] * 9, length_s=60), policy, Service(service_s=20, start_s=0))
    assert (found.answered, found.refused) == (9, 0)
    assert found.most > 3
    assert found.replicas[-1][1] == 1


def test_a_larger_price_and_longer_hours_cost_more() -> None:
    found = replay(trace(0.0, length_s=3600), FIXED, Service(usd_per_hour=0.5))
    assert found.cost_usd == pytest.approx(1.0, rel=0.01)


@given(
    arrivals=st.lists(st.floats(0, 300), min_size=1, max_size=200),
    least=st.integers(0, 3),
    service_s=st.floats(0.01, 20),
    places=st.integers(1, 4),
    queue=st.integers(0, 5),
    start_s=st.floats(0, 60),
)
def test_every_request_is_answered_or_refused(
    *, arrivals: list[float], least: int, service_s: float, places: int, queue: int, start_s: float
) -> None:
    policy = Policy(min_replicas=least, max_replicas=6, down_s=30, up_s=10, window_s=20)
    service = Service(service_s=service_s, places=places, queue=queue, start_s=start_s)
    one = replay(trace(*sorted(arrivals), length_s=300), policy, service)
    assert one.answered + one.refused == len(arrivals)
    assert one == replay(trace(*sorted(arrivals), length_s=300), policy, service) or math.isnan(
        one.p50_s
    )
    assert all(least <= count <= 6 for _, count in one.replicas)
    if one.answered:
        assert service_s <= one.p50_s * (1 + 1e-9)
        assert one.p50_s <= one.p99_s


# --- traces -------------------------------------------------------------------------------------


def written(folder: Path, text: str) -> Path:
    file = folder / "trace.csv"
    file.write_text(text)
    return file


def test_rows_of_a_rate_become_requests_until_the_next_row(tmp_path: Path) -> None:
    found = read_trace(written(tmp_path, "time,requests\n10,3\n20,0\n30,2\n"))
    assert found.length_s == 30
    assert len(found.arrivals) == 5
    assert [0 <= at < 10 for at in found.arrivals] == [True] * 3 + [False] * 2
    assert list(found.arrivals) == sorted(found.arrivals)


def test_the_same_seed_gives_the_same_moments(tmp_path: Path) -> None:
    file = written(tmp_path, "time,requests\n0,50\n60,50\n")
    assert read_trace(file).arrivals == read_trace(file).arrivals
    assert read_trace(file).arrivals != read_trace(file, seed=2).arrivals


def test_rows_of_arrivals_are_requests_and_may_be_moments(tmp_path: Path) -> None:
    text = "time\n2026-01-01T00:00:00Z\n2026-01-01T00:00:01.5Z\n"
    assert list(read_trace(written(tmp_path, text)).arrivals) == [0, 1.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line of 'trace.csv' is ''"),
        ("when,how\n1,2\n", "the first line of 'trace.csv' is 'when,how'"),
        ("time,requests\n1,2\n", "'trace.csv' has 1 rows"),
        ("time\n", "'trace.csv' has 0 rows"),
        ("time,requests\n1\n", "line 2 of 'trace.csv': has 1 cells instead of 2"),
        ("time,requests\n1,-2\n", "line 2 of 'trace.csv': '-2' is no number of requests"),
        ("time\nsoon\n", "line 2 of 'trace.csv': 'soon' is neither seconds nor a moment"),
        ("time\nnan\n", "line 2 of 'trace.csv': 'nan' is no time"),
        ("time\n2\n1\n", "line 3 of 'trace.csv': its time is before the line above"),
        ("time,requests\n0,9e9\n1,0\n", "'trace.csv' has more than 5,000,000 requests"),
    ],
)
def test_a_file_that_is_no_trace_is_told_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(written(tmp_path, text))
    assert caught.value.message == said


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="there is no file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"time\n\xff\n")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "bytes.csv")


@pytest.mark.parametrize("wrong", [{"service_s": 0}, {"places": 0}, {"start_s": math.inf}])
def test_a_service_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"must be (0|1) or more|must be above 0|must be a number"):
        Service(**wrong)  # type: ignore[arg-type]


# --- pictures -----------------------------------------------------------------------------------


def test_a_column_shows_the_most_of_its_time() -> None:
    steps = [(0.0, 1), (5.0, 4), (5.5, 2), (9.0, 3)]
    assert columns(steps, 10.0, 5) == [1, 1, 4, 2, 3]


def test_the_picture_is_as_wide_as_it_is_told_and_shows_the_most() -> None:
    found = replay(trace(0.0, 0.0, 0.0, length_s=60), Policy(max_replicas=5), Service(service_s=3))
    drawn = text_picture(found, width=30)
    assert drawn[-2].endswith("─" * 30)
    assert drawn[-1].endswith("60 s")
    assert sum("█" in line for line in drawn[1:-2]) == found.most


def test_the_svg_is_well_formed_and_its_title_is_text() -> None:
    found = replay(trace(0.0, length_s=60), FIXED, Service())
    root = ET.fromstring(svg_picture(found, "<a> & b"))
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "<a> & b"
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
