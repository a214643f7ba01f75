"""``modelpack autoscale simulate``: a picture for people, facts for programs, mistakes in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    file = tmp_path / "day.csv"
    file.write_text("time,requests\n0,60\n60,600\n120,60\n180,0\n")
    return str(file)


def test_facts_are_for_programs_and_always_the_same(inside: Cli, trace: str) -> None:
    words = ("autoscale", "simulate", trace, "--policy", "in_flight=2", "-o", "json")
    one, two = inside(*words), inside(*words)
    assert one.out == two.out
    facts = json.loads(one.out)
    assert facts["answered"] + facts["refused"] == 720
    assert facts["policy"]["in_flight"] == 2
    assert facts["replicas"][0] == [0.0, 1]
    assert facts["length_s"] >= 240


def test_price_makes_dollars_of_the_hours(inside: Cli, trace: str) -> None:
    done = inside("autoscale", "simulate", trace, "--price", "36")
    assert "USD" in done.out


def test_nobody_asked_is_said_without_numbers(inside: Cli, tmp_path: Path) -> None:
    (tmp_path / "quiet.csv").write_text("time,requests\n0,0\n60,0\n")
    done = inside("autoscale", "simulate", str(tmp_path / "quiet.csv"))
    assert "answered  0 of 0; refused 0 (none)" in done.out
    assert "p50 none, p99 none" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "upp_s=1"], "--policy: there is no 'upp_s'"),
        (["--policy", "max_replicas=two"], "--policy: max_replicas must be a whole number"),
        (["--policy", "max_replicas=0"], "max_replicas must be 1 or more, got 0"),
        (["--start-time", "soon"], "--start-time: must be a time such as"),
        (["--places", "0"], "the requests that a replica runs at once must be 1 or more, got 0"),
        (["--service-time", "0s"], "the time of a request must be above 0"),
        (["--price", "-1"], "the price of an hour must be 0 or more, got -1.0"),
        (["--queue", "-1"], "the requests that wait for a replica must be 0 or more"),
        (["--svg", "no/such/folder/x.svg"], "--svg: cannot write 'no/such/folder/x.svg': no such"),
    ],
)
def test_what_cannot_be_is_told(inside: Cli, trace: str, words: list[str], said: str) -> None:
    done = inside("autoscale", "simulate", trace, *words)
    done.failed_well(2, "usage")
    assert said in done.err
