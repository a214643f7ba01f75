"""What the server counted is read from its metrics, and nothing is made up when it has none."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.bench.scrape import Scrape, ServerShare, between

PAGE = """\
# HELP modelpack_info What is served.
modelpack_info{{service="tiny",tag=""}} 1.0
modelpack_requests_total{{api="predict",status="200"}} {good}
modelpack_requests_total{{api="predict",status="429"}} {refused}
modelpack_requests_total{{api="other",status="200"}} 999.0
modelpack_request_duration_seconds_sum{{api="predict"}} {total_s}
modelpack_refused_requests_total{{api="predict",reason="overloaded"}} {refused}
modelpack_rows_total{{api="predict"}} {rows}
modelpack_queue_duration_seconds_sum{{api="predict"}} {queue_s}
modelpack_queue_duration_seconds_count{{api="predict"}} {good}
modelpack_overhead_seconds_sum{{api="predict"}} {overhead_s}
modelpack_overhead_seconds_count{{api="predict"}} {good}
modelpack_batch_rows_sum{{api="predict"}} {rows}
modelpack_batch_rows_count{{api="predict"}} {batches}
modelpack_batch_duration_seconds_sum{{api="predict"}} {run_s}
modelpack_batch_duration_seconds_count{{api="predict"}} {batches}
modelpack_batch_releases_total{{api="predict",reason="idle"}} {batches}
modelpack_runners{{kind="thread"}} 2.0
process_cpu_seconds_total {cpu_s}
process_resident_memory_bytes 9.5e+07
modelpack_processes 1.0
"""


def page(at: float, **figures: float) -> Scrape:
    names = ("good", "refused", "total_s", "rows", "queue_s", "overhead_s", "batches", "run_s",
             "cpu_s")  # fmt: skip
    return Scrape.parse(PAGE.format(**{**dict.fromkeys(names, 0.0), **figures}), at)


def test_shares_of_a_request_come_from_the_change() -> None:
    before = page(10, good=50, total_s=1, rows=80, cpu_s=3)
    after = page(
        20, good=1050, total_s=11, rows=2080, queue_s=4, overhead_s=7, batches=500, run_s=5, cpu_s=8
    )

    share = between(before, after, "predict")

    assert share is not None
    assert (share.requests, share.rows, share.batches) == (1000, 2000, 500)
    assert share.mean_batch == pytest.approx(4.0)
    assert share.total_ms == pytest.approx(10)
    assert share.queue_ms == pytest.approx(4)
    assert share.model_ms == pytest.approx(3), "10 s less 7 s beside the model"
    assert share.share(share.queue_ms) == pytest.approx(0.4)
    assert share.busy == pytest.approx(5 / 10 / 2), "two runners for ten seconds"
    assert share.cpu == pytest.approx(0.5)
    assert share.resident_bytes == 95_000_000


def test_refused_requests_leave_the_run_to_the_batches() -> None:
    after = page(
        10, good=500, refused=500, total_s=9, queue_s=1, overhead_s=2, batches=250, run_s=1
    )
    share = between(page(0), after, "predict")
    assert share is not None
    assert share.refused == {"overloaded": 500}
    assert share.model_ms == pytest.approx(4), "1 s in 250 batches"


def test_counters_of_a_server_that_began_anew_count_from_zero() -> None:
    share = between(page(0, good=900, total_s=9), page(5, good=100, total_s=1), "predict")
    assert share is not None
    assert share.requests == 100


def test_nothing_is_said_without_pages_or_requests() -> None:
    assert between(None, page(1, good=5), "predict") is None
    assert between(page(0), page(1), "predict") is None
    assert between(page(0), page(0, good=5), "predict") is None


def test_older_server_without_queue_times_has_no_shares() -> None:
    text = 'modelpack_info{tag=""} 1\nmodelpack_requests_total{api="predict",status="200"} 7\n'
    share = between(page(0), Scrape.parse(text, 2.0), "predict")
    assert share is not None
    assert (share.queue_ms, share.model_ms, share.mean_batch, share.busy) == (None,) * 4


def test_page_of_another_server_is_not_ours() -> None:
    assert not Scrape.parse("http_requests_total 5\ngarbage {\n\n# x\n", 0).is_modelpack
    assert page(0).is_modelpack


def test_labels_with_quotes_and_brackets_are_read() -> None:
    scrape = Scrape.parse(r'm{a="x\"},y",b="2"} 3', 0)
    assert scrape.total("m", b="2") == 3


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e3"])
def test_values_of_every_spelling_are_read(value: str) -> None:
    assert Scrape.parse(f"m {value}", 0).samples


def test_share_is_read_back() -> None:
    facts: dict[str, Any] = {"seconds": 1.0, "requests": 2, "rows": 3, "batches": 1}
    share = ServerShare(**facts, mean_batch=3.0, total_ms=4.0, queue_ms=1.0, model_ms=None)
    assert ServerShare.from_json(share.to_json()) == share
