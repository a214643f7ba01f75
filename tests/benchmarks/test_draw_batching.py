"""The picture of batching is what was measured, and whoever reads it can."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> Any:
    sys.path.insert(0, str(HERE))
    try:
        yield runpy.run_path(str(HERE / "draw_batching.py"))
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def points(script: Any) -> list[Any]:
    return [script["Point"](**one) for one in json.loads(script["SAVED"].read_text())]


def test_the_picture_is_drawn_from_the_measurements_that_are_kept(
    script: Any, points: list[Any]
) -> None:
    assert script["PICTURE"].read_text() == script["draw_points"](points)


def test_axes_lines_and_models_have_names(script: Any, points: list[Any]) -> None:
    drawn = ET.fromstring(script["draw_points"](points))
    texts = {text.text for text in drawn.iter(f"{SVG}text")}

    assert set(script["TITLES"].values()) <= texts
    assert set(script["WAYS"].values()) <= texts
    assert {"requests a second, offered", "p50 in ms", "p99 in ms", "rows in a batch"} <= texts


def test_it_is_readable_in_the_dark(script: Any, points: list[Any]) -> None:
    assert "prefers-color-scheme: dark" in script["draw_points"](points)


def test_what_was_measured_stands_in_the_docs(script: Any, points: list[Any]) -> None:
    page = (HERE.parents[1] / "docs" / "explanation" / "batching.md").read_text()

    assert script["table"](points) in page


def test_three_times_the_load_of_no_batching_is_answered_in_the_same_time(
    script: Any, points: list[Any]
) -> None:
    """As it was last recorded, for a model that gains by batches."""
    most = script["most_within"]
    none, ours = (most(points, "wide", way, 50.0) for way in ("none", "ours"))

    assert ours >= 3 * none > 0
