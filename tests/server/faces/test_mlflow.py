"""MLflow's scoring server: its paths, and a data frame in each of its forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

import modelpack


@modelpack.service
class Flowers:
    """Iris, by its four lengths."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2], add: int = 0
    ) -> modelpack.Tensor["int64", "batch"]:
        return x.sum(axis=1).astype("int64") + add


@modelpack.service
class Columns:
    """Takes columns by their names."""

    @modelpack.api(batch=True)
    def predict(self, age: modelpack.Tensor["float64", "batch"], name: list[str]) -> list[str]:
        return [f"{n} is {a:g}" for n, a in zip(name, age.tolist(), strict=True)]


@modelpack.service
class Chat:
    """Has a parameter with a name of MLflow's own."""

    @modelpack.api
    def predict(self, inputs: str, messages: list[str] | None = None) -> dict[str, Any]:
        return {"said": inputs, "before": len(messages or [])}


Start = Callable[..., Any]


@pytest.fixture(scope="module")
def flowers(start_once: Start) -> httpx.Client:
    return start_once(Flowers, faces="mlflow").client


@pytest.fixture(scope="module")
def columns(start_once: Start) -> httpx.Client:
    return start_once(Columns, faces="mlflow").client


SPLIT = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {"data": [[1, 2], [3, 4]]}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
    ],
)
def test_each_form_of_a_frame_has_the_same_predictions(
    flowers: httpx.Client, body: dict[str, Any]
) -> None:
    plain = flowers.post("/invocations", json=body)
    with_params = flowers.post("/invocations", json={**body, "params": {"add": 10}})

    assert plain.json() == {"predictions": [3, 7]}
    assert with_params.json() == {"predictions": [13, 17]}


def test_the_first_line_of_csv_names_the_columns_even_if_they_are_numbers(
    flowers: httpx.Client,
) -> None:
    head = {"content-type": "text/csv"}
    answer = flowers.post("/invocations", content="0,1\n1,2\n3,4\n", headers=head)

    assert answer.json() == {"predictions": [3, 7]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"dataframe_split":{"columns":["name","age"],"data":[["Bo",7],["8",8]]}}', "json"),
        (b'{"dataframe_records":[{"age":7,"name":"Bo"},{"age":8,"name":"8"}]}', "json"),
        (b'{"inputs":{"age":[7,8],"name":["Bo","8"]}}', "json"),
        (b"name,age\nBo,7\n8,8.0\n", "csv"),
    ],
)
def test_columns_find_their_parameters_by_name(
    columns: httpx.Client, body: bytes, kind: str
) -> None:
    content_type = "application/json" if kind == "json" else "text/csv"
    answer = columns.post("/invocations", content=body, headers={"content-type": content_type})

    assert answer.json() == {"predictions": ["Bo is 7", "8 is 8"]}


def test_columns_that_are_no_parameters_are_refused(columns: httpx.Client) -> None:
    frame = {"columns": ["name", "agee"], "data": [["Bo", 7]]}
    answer = columns.post("/invocations", json={"dataframe_split": frame})

    assert answer.status_code == 400
    assert "'age', 'name'" in answer.json()["message"]


def test_a_body_that_is_the_apis_own_is_answered_unwrapped(start: Start) -> None:
    """The api's own form comes first, where a parameter has a name of MLflow's."""
    client = start(Chat, faces="mlflow").client

    own = client.post("/invocations", json={"inputs": "hello", "messages": ["a"]})
    wrapped = client.post("/invocations", json={"instances": ["hello"]})

    assert own.json() == {"said": "hello", "before": 1}
    assert wrapped.json() == {"predictions": [{"said": "hello", "before": 0}]}


def test_probes_and_version(flowers: httpx.Client) -> None:
    ping, health = flowers.get("/ping"), flowers.get("/health")

    assert (ping.status_code, ping.text) == (health.status_code, health.text) == (200, "\n")
    assert flowers.get("/version").text.count(".") == 2


def test_errors_are_those_of_the_scoring_server(flowers: httpx.Client) -> None:
    bad = flowers.post("/invocations", json={"dataframe_split": {}, "inputs": []})
    empty = flowers.post("/invocations", json={})
    other = flowers.post("/invocations", content=b"x", headers={"content-type": "text/html"})

    assert bad.json()["error_code"] == empty.json()["error_code"] == "BAD_REQUEST"
    assert (bad.status_code, empty.status_code, other.status_code) == (400, 400, 415)
    assert other.json().keys() == {"error_code", "message"}
