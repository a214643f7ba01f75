"""What of a deployment stands in a model and an endpoint of Vertex AI."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_gcp import vertex_body
from modelpack_gcp.vertex import VertexMode
from modelpack_gcp.wanted import Wanted

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError

IMAGE = "europe-west1-docker.pkg.dev/demo/a/a@sha256:" + "1" * 64


def wanted(options: dict[str, str] | None = None, **settings: Any) -> Wanted:
    return Wanted(
        name="digits",
        bundle="digits:a",
        revision="4" * 12,
        target="gcp-vertex",
        settings=DeploySettings(**settings),
        options=options or {},
    )


def test_the_container_is_asked_on_the_routes_of_the_servers_own_face() -> None:
    found = vertex_body.model(wanted(env={"A": "1"}), IMAGE)["containerSpec"]

    assert (found["healthRoute"], found["predictRoute"]) == ("/readyz", "/vertex/predict")
    assert found["ports"] == [{"containerPort": 8080}]
    assert {"name": "MODELPACK_TAG", "value": "digits:a"} in found["env"]


def test_names_that_are_vertex_ais_own_are_refused() -> None:
    with pytest.raises(UsageError, match="Vertex AI sets 'AIP_HTTP_PORT' itself"):
        vertex_body.model(wanted(env={"AIP_HTTP_PORT": "1"}), IMAGE)


def test_a_variable_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match=r"deploy\.env\.A: Vertex AI takes no variable without"):
        vertex_body.model(wanted(env={"A": ""}), IMAGE)


def test_how_many_machines_there_are_is_no_part_of_the_name() -> None:
    def unit(options: dict[str, str] | None = None, **settings: Any) -> str:
        one = wanted(options, **settings)
        return vertex_body.unit_of(one, vertex_body.model(one, IMAGE))

    assert unit() == unit(min_replicas=2, max_replicas=5)
    assert len({unit(), unit({"spot": "yes"}), unit(accelerator="nvidia-l4:1")}) == 3
    assert unit().isdigit()
    assert len(unit()) == 10


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        ({"max_replicas": 3}, "cpu/utilization"),
        ({"max_replicas": 3, "accelerator": "nvidia-l4:1"}, "accelerator/duty_cycle"),
        ({"max_replicas": 1}, None),
    ],
)
def test_more_machines_come_by_what_is_used_most(
    settings: dict[str, Any], metric: str | None
) -> None:
    found = vertex_body.replicas(wanted({"target_percent": "40"}, **settings))

    rows = found.get("autoscalingMetricSpecs", [])
    assert [one["metricName"].removeprefix(vertex_body._METRICS + "/") for one in rows] == (
        [metric] if metric else []
    )
    assert all(one["target"] == 40 for one in rows)


def test_an_endpoint_cannot_go_to_zero() -> None:
    with pytest.raises(UsageError, match="keeps one machine at least, got 0"):
        vertex_body.replicas(wanted(min_replicas=0))


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ({}, {"accelerator": "nvidia-t4:1"}, "what it costs is in no table of ours"),
        ({"spot": "yes"}, {}, "may go at any time"),
        ({}, {"instance": "n1-standrad-4"}, "did you mean 'n1-standard-4'?"),
        ({}, {}, "machines are n1-standard-2 (2 vCPU, 7.5 GiB)"),
    ],
)
def test_the_plan_says_what_the_machine_is_and_what_nobody_knows_of_it(
    options: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    notes = VertexMode().notes(wanted(options, **settings))

    assert any(words in note for note in notes)


def test_the_cost_is_that_of_the_least_number_of_machines() -> None:
    cost = VertexMode().cost(wanted(min_replicas=2, max_replicas=9))

    assert cost is not None
    assert cost.usd_per_hour == 0.219
