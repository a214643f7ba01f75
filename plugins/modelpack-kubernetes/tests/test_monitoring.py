"""What Prometheus is told: where metrics are, and when to ring, in PromQL that it takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelpack_kubernetes.manifests import manifests
from modelpack_kubernetes.scaling import IN_FLIGHT

from .wanted_specs import of_case, wanted

ROOT = Path(__file__).parents[3]
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool of Prometheus is not here")


def rules() -> list[dict[str, Any]]:
    rule = next(one for one in manifests(of_case("monitored")) if one["kind"] == "PrometheusRule")
    found: list[dict[str, Any]] = rule["spec"]["groups"][0]["rules"]
    return found


def written(folder: Path) -> Path:
    """Write the groups as Prometheus itself reads them; the operator does no more."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "modelpack", "rules": rules()}]}))
    return file


def promtool(*words: object) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_metric_that_is_asked_for_is_one_of_the_server() -> None:
    known = set(re.findall(r"`(modelpack_\w+)`", (ROOT / "docs/reference/server.md").read_text()))
    asked = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        for rule in rules()
        for name in re.findall(r"modelpack_\w+", rule["expr"])
    }
    assert asked - known == set()
    assert IN_FLIGHT in known


def test_every_alert_looks_at_this_deployment_alone() -> None:
    matchers = 'namespace="default",service="digits"'
    for rule in rules():
        metrics = re.findall(r"modelpack_\w+\{([^}]*)\}", rule["expr"])
        assert metrics
        assert all(found.startswith(matchers) for found in metrics)
        assert len(metrics) == len(re.findall(r"modelpack_\w+", rule["expr"]))


def test_metrics_of_their_own_port_are_scraped_there() -> None:
    def scraped(asked: Any) -> Any:
        objects = manifests(asked)
        monitor = next(one for one in objects if one["kind"] == "ServiceMonitor")
        return monitor["spec"]["endpoints"][0]["targetPort"]

    assert scraped(of_case("monitored")) == "http"
    assert scraped(of_case("monitored from outside")) == "metrics"
    assert scraped(of_case("other ports")) == "metrics"


def test_nothing_is_said_to_prometheus_unless_it_is_asked_for() -> None:
    assert not {"ServiceMonitor", "PrometheusRule"} & {one["kind"] for one in manifests(wanted())}


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", written(tmp_path))


@needs_promtool
def test_prometheus_takes_the_queries_of_keda(tmp_path: Path) -> None:
    recorded = []
    for case in ("by KEDA", "by KEDA to zero", "by every knob of KEDA"):
        one = next(one for one in manifests(of_case(case)) if one["kind"] == "ScaledObject")
        recorded += [trigger["metadata"]["query"] for trigger in one["spec"]["triggers"]]
    file = tmp_path / "queries.yaml"
    records = [{"record": f"q{number}", "expr": query} for number, query in enumerate(recorded)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    assert f"SUCCESS: {len(recorded)} rules found" in promtool("check", "rules", file)


LABELS = 'namespace="default",service="digits"'
RINGS: dict[str, list[tuple[str, str]]] = {
    # Series of one pod and what they do, a value every minute.
    "ModelpackRequestsFail": [
        (f'modelpack_requests_total{{{LABELS},api="predict",status="500"}}', "0+100x30"),
        (f'modelpack_failed_requests_total{{{LABELS},api="predict",reason="internal"}}', "0+5x30"),
    ],
    "ModelpackOverloaded": [
        (
            f'modelpack_refused_requests_total{{{LABELS},api="predict",reason="overloaded"}}',
            "0+5x30",
        )
    ],
    "ModelpackAlmostFull": [
        (f'modelpack_batch_duration_seconds_sum{{{LABELS},api="predict"}}', "0+110x60"),
        (f'modelpack_runners{{{LABELS},kind="inline"}}', "2+0x60"),
    ],
    "ModelpackSlowAnswers": [
        (f'modelpack_request_duration_seconds_bucket{{{LABELS},api="predict",le="0.5"}}', "0+1x60"),
        (f'modelpack_request_duration_seconds_bucket{{{LABELS},api="predict",le="1"}}', "0+9x60"),
        (
            f'modelpack_request_duration_seconds_bucket{{{LABELS},api="predict",le="+Inf"}}',
            "0+9x60",
        ),
    ],
    "ModelpackRunnersAreLost": [
        (f'modelpack_runner_restarts_total{{{LABELS},kind="process"}}', "0+1x60")
    ],
    "ModelpackNothingCanRun": [(f'modelpack_runners{{{LABELS},kind="inline"}}', "0+0x30")],
    "ModelpackRequestsWait": [
        (f'modelpack_in_flight_requests{{{LABELS},api="predict"}}', "3+0x30"),
        (f'modelpack_requests_total{{{LABELS},api="predict",status="200"}}', "7+0x30"),
    ],
}


def test_every_alert_has_an_example() -> None:
    assert [rule["alert"] for rule in rules()] == list(RINGS)


@needs_promtool
def test_every_alert_rings_when_it_should_and_for_nobody_else(tmp_path: Path) -> None:
    """Prometheus' own unit tests: the example rings, the same of another service does not."""
    rules_file = written(tmp_path)
    tests = []
    for alert, series in RINGS.items():
        for service, is_ringing in (("digits", True), ("other", False)):
            values = [
                {"series": name.replace('service="digits"', f'service="{service}"'), "values": how}
                for name, how in series
            ]
            expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
            expected = [{"labels": "{}", "value": int(is_ringing)}]
            test = {"expr": expression, "eval_time": "28m", "exp_samples": expected}
            tests.append({"interval": "1m", "input_series": values, "promql_expr_test": [test]})
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [rules_file.name], "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", file)
