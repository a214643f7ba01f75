"""The page about the server, the dashboard and the advice on monitoring name what there is."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelpack.config.settings import ServerSettings
from modelpack.server.observe.metrics import FAMILIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "reference" / "server.md").read_text()
DASHBOARD = DOCS / "reference" / "grafana-dashboard.json"
MONITOR = (DOCS / "how-to" / "monitor.md").read_text()

KINDS = {one.name: one.kind for one in FAMILIES}
LABELS = {one.name: set(one.labels) for one in FAMILIES}
NAME = re.compile(r"\b(?:modelpack|process)_[a-z_]+\b")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The program that writes the page."""
    spec = importlib.util.spec_from_file_location("_page", ROOT / "scripts/server_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_column(part: str) -> list[str]:
    text = PAGE.partition(f"## {part}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)


def test_page_is_the_one_that_the_code_writes(script: ModuleType) -> None:
    """After a change: python scripts/server_reference.py > docs/reference/server.md."""
    assert script.page() == PAGE


def test_every_setting_and_metric_has_its_row() -> None:
    assert first_column("Settings") == [one.name for one in fields(ServerSettings)]
    assert first_column("Metrics") == list(KINDS)


def test_every_problem_of_the_other_page_has_its_row() -> None:
    http = (DOCS / "reference" / "http.md").read_text()
    codes = re.findall(r"^\| \d{3} \| `([a-z-]+)` \|", http, flags=re.MULTILINE)
    listed = re.findall(r"^\| \d{3} \| `([a-z-]+)` \|", PAGE, flags=re.MULTILINE)

    assert len(codes) > 15
    assert set(listed) == set(codes)


# --- expressions --------------------------------------------------------------------------------


def queries_of(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def expressions() -> list[str]:
    """Return every PromQL expression of the dashboard and of the page about monitoring."""
    found = queries_of(json.loads(DASHBOARD.read_text()))
    blocks = re.findall(r"^```promql\n(.*?)^```$", MONITOR, flags=re.MULTILINE | re.DOTALL)
    rules = re.findall(r"^ +expr: (.*)$", MONITOR, flags=re.MULTILINE)
    return [*found, *blocks, *rules]


def test_there_are_expressions_to_check() -> None:
    assert len(expressions()) > 20
    used = {name for text in expressions() for name in NAME.findall(text)}
    assert len(used) > 15


@pytest.mark.parametrize("text", expressions())
def test_expressions_use_metrics_and_labels_that_there_are(text: str) -> None:
    for name in NAME.findall(text):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        if KINDS.get(family) == "histogram":
            assert name != family, f"{name} is a histogram: _bucket, _sum or _count"
        else:
            assert name in KINDS, name
    for name, selector in re.findall(r"\b(modelpack_[a-z_]+)\{([^}]*)\}", text):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= LABELS.get(name, LABELS.get(family, set())) | SCRAPED


SCRAPED = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of buckets."""


@pytest.mark.parametrize("text", expressions())
def test_counters_are_used_as_rates(text: str) -> None:
    """A counter by itself says how long the server runs, not what it does."""
    for name in NAME.findall(text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if KINDS.get(name) == "counter" or KINDS.get(base) == "histogram":
            at = text.index(name)
            assert re.search(r"(rate|increase)\($", text[:at].rstrip()), name


@pytest.mark.parametrize("text", expressions())
def test_brackets_of_expressions_close(text: str) -> None:
    for left, right in ("()", "[]", "{}"):
        assert text.count(left) == text.count(right)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads(DASHBOARD.read_text())

    assert dashboard["title"]
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["uid"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters))
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    named = {name for text in queries_of(dashboard) for name in re.findall(r"\$(\w+)", text)}
    assert named - {"__rate_interval"} <= variables


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
