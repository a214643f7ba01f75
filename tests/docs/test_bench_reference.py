"""The page of ``modelpack bench`` names every key, rule, suite and error that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modelpack.bench.compare import compare
from modelpack.bench.load import Load
from modelpack.bench.presets import PRESETS
from modelpack.bench.result import FORM, Result
from modelpack.bench.scrape import ServerShare
from modelpack.bench.slices import Slice
from modelpack.bench.suite import Suite

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/bench.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))


def run() -> Result:
    one = Slice(statuses={200: 1, 429: 1})
    for part in (one.latencies, one.refused, one.late, one.clock_late):
        part.add(0.001)
    server = ServerShare(
        seconds=1, requests=1, rows=1, batches=1, mean_batch=1, total_ms=1, queue_ms=1, model_ms=1
    )
    target = dict.fromkeys(
        ("url", "method", "path", "api", "service", "version", "source", "bodies", "body_bytes",
         "content_type"), ""
    )  # fmt: skip
    return Result(target=target, load=Load(rate=1), slices=(one,), server=server)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, list):
        return {key for one in value for key in keys_of(one)}
    if not isinstance(value, dict):
        return set()
    inner = {key for one in value.values() for key in keys_of(one)}
    return {key for key in value if not key.isdigit()} | inner


@pytest.mark.parametrize(
    "plain",
    [
        run().to_json(),
        [one.to_json() for one in compare(run(), run())],
        Suite("latency", "", ("a",), results=[run()]).to_json(),
    ],
    ids=["run", "figures", "suite"],
)
def test_every_key_of_the_json_is_named(plain: Any) -> None:
    assert keys_of(plain) - NAMED == set()


def test_form_and_suites_are_named() -> None:
    assert {FORM, *PRESETS} - NAMED == set()


def test_every_rule_and_kind_of_error_is_named() -> None:
    advice = (ROOT / "modelpack/bench/advice.py").read_text()
    rules = set(re.findall(r'Advice\(\s*"([a-z-]+)"', advice))
    assert len(rules) >= 12
    assert rules - NAMED == set()
    kinds = set()
    for name in ("lanes", "loops", "wire"):
        text = (ROOT / f"modelpack/bench/{name}.py").read_text()
        kinds |= set(re.findall(r'(?:_lose|end|_give_up|add_error)\("([a-z-]+)"', text))
    assert kinds >= {"timeout", "closed", "connect", "unsent", "unanswered", "not-http"}
    assert kinds - NAMED == set()
