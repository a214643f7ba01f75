"""Vertex AI, Azure ML and Cloud Run: the paths and words of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Pair:
    """Answers with two columns."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2], scale: float = 1.0
    ) -> dict[str, modelpack.Tensor["float32", "batch"]]:
        return {"sum": x.sum(axis=1) * scale, "first": x[:, 0]}


@pytest.fixture(params=["fast", "asgi"], scope="module")
def lane_once(request: pytest.FixtureRequest) -> str:
    lane: str = request.param
    return lane


@pytest.fixture(scope="module")
def vertex(start_once: Start, lane_once: str) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIP_HTTP_PORT", "8080")
        patch.setenv("AIP_HEALTH_ROUTE", "/is/healthy")
        patch.setenv("AIP_PREDICT_ROUTE", "/predict")
        yield start_once(Pair, lane_once).client


@pytest.fixture(scope="module")
def azure(start_once: Start, lane_once: str) -> httpx.Client:
    return start_once(Pair, lane_once, faces="azureml").client


ROWS = [[1, 2], [3, 4]]


def test_vertex_has_one_prediction_an_instance(vertex: httpx.Client) -> None:
    bare = vertex.post("/predict", json={"instances": ROWS})
    named = vertex.post(
        "/predict", json={"instances": [{"x": one} for one in ROWS], "parameters": {"scale": 2}}
    )

    assert bare.json() == {"predictions": [{"sum": 3.0, "first": 1.0}, {"sum": 7.0, "first": 3.0}]}
    assert [one["sum"] for one in named.json()["predictions"]] == [6.0, 14.0]


def test_vertex_health_is_where_it_was_told(vertex: httpx.Client) -> None:
    assert vertex.get("/is/healthy").status_code == 200


def test_vertex_may_ask_for_health_where_the_page_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIP_HTTP_PORT", "8080")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/")
    running = start(Pair)

    assert running.client.get("/").json() == {"status": "Healthy"}
    running.on_loop(lambda: setattr(running.server.front, "is_ready", False))
    refused = running.client.get("/")
    assert (refused.status_code, refused.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert "html" in running.client.get("/", headers={"accept": "text/html"}).text


def test_on_the_routes_of_vertex_every_refusal_is_googles(vertex: httpx.Client) -> None:
    method = vertex.get("/predict")
    below = vertex.get("/is/healthy/not")

    assert (method.status_code, method.json()["error"]["code"]) == (405, 405)
    assert (below.status_code, below.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_raw_predict_passes_everything_that_the_api_reads(vertex: httpx.Client) -> None:
    """Also the api's own body, on the path that the platform took over from it."""
    own = vertex.post("/predict", json={"x": ROWS})
    csv = vertex.post("/predict", content="1,2\n3,4\n", headers={"content-type": "text/csv"})

    assert own.json() == {"sum": [3.0, 7.0], "first": [1.0, 3.0]}
    assert len(csv.json()["predictions"]) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": []}, "/instances"),
        ({"instances": [[1, 2]], "parameters": []}, "/parameters"),
        ({"instances": [[1, 2]], "others": 1}, "exactly one of"),
        ({"instances": [[1, None]]}, "null"),
    ],
)
def test_vertex_errors_are_those_of_googles_apis(
    vertex: httpx.Client, body: dict[str, Any], words: str
) -> None:
    answer = vertex.post("/predict", json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_vertex_routes_are_those_of_the_endpoint_where_none_were_given() -> None:
    from modelpack.server.faces.vertex import routes_of

    assert routes_of({"AIP_ENDPOINT_ID": "7", "AIP_DEPLOYED_MODEL_ID": "9"}) == (
        "/v1/endpoints/7/deployedModels/9",
        "/v1/endpoints/7/deployedModels/9:predict",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": ROWS}},
        {"input_data": ROWS},
        {"input_data": {"x": ROWS}},
        {"data": ROWS},
        {"x": ROWS},
    ],
)
def test_azure_scores_every_form_and_puts_nothing_around_the_answer(
    azure: httpx.Client, body: dict[str, Any]
) -> None:
    answer = azure.post("/score", json=body, headers={"x-ms-client-request-id": "mine"})

    assert answer.json() == {"sum": [3.0, 7.0], "first": [1.0, 3.0]}
    assert answer.headers["x-ms-client-request-id"] == "mine"


def test_azure_takes_params_and_says_errors_as_azure_does(azure: httpx.Client) -> None:
    scaled = azure.post("/score", json={"input_data": ROWS, "params": {"scale": 2}})
    wrong = azure.post("/score", json={"input_data": [[1]]})
    method = azure.get("/score")

    assert scaled.json()["sum"] == [6.0, 14.0]
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "BadRequest")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "BadRequest")
    assert azure.get("/livez").status_code == azure.get("/readyz").status_code == 200


def test_cloud_run_has_probes_that_reach_it_from_outside(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_SERVICE", "pair")
    client = start(Pair).client

    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").status_code == 200


def test_platforms_that_are_not_there_are_not_spoken(start: Start) -> None:
    client = start(Pair).client

    assert client.get("/health/ready").status_code == 404
    assert client.post("/vertex/predict", json={"instances": ROWS}).status_code == 404
    assert client.post("/score", json={"data": ROWS}).status_code == 200
