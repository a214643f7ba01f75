"""TensorFlow Serving's RESTful API over a socket: rows, columns, NaN, bytes, versions, labels."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import httpx
import numpy as np
import pytest

import modelpack


class Both(TypedDict):
    sum: modelpack.Tensor["float32", "batch"]
    shown_bytes: list[str]


@modelpack.service
class Half:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x / 2 + 2

    @modelpack.api(batch=True)
    def both(self, x: modelpack.Tensor["float32", "batch", 2], scale: float = 1.0) -> Both:
        with np.errstate(over="ignore"):
            total = x.sum(axis=1) * scale
        return {"sum": total, "shown_bytes": [str(row.tolist()) for row in x]}

    @modelpack.api(batch=True)
    def species(self, x: modelpack.Tensor["float64", "batch", 2]) -> list[dict[str, float]]:
        return [{"setosa": float(a), "other": float(b)} for a, b in x]

    @modelpack.api(batch=True)
    def scores(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        return x

    @modelpack.api(batch=True)
    def named(self, x: modelpack.Tensor["float32", "batch", 2]) -> dict[str, Any]:
        return {"label": ["a"] * len(x), "score": x[:, 0]}

    @modelpack.api
    def length(self, file: bytes) -> int:
        return len(file)

    @modelpack.api
    def bare(self, x: modelpack.Tensor["float32", "n", 2]) -> modelpack.Tensor["float32", 2]:
        return x.sum(axis=0)

    @modelpack.api(batch=True)
    def pair(
        self, a: modelpack.Tensor["float32", "batch"], b: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return a + b

    @modelpack.api(batch=True)
    def split(self, x: modelpack.Tensor["float32", "batch"]) -> tuple[list[float], list[str]]:
        return x.tolist(), [str(one) for one in x]

    @modelpack.api(batch=True, nan="error")
    def strict(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


@pytest.fixture(scope="module", params=["fast", "asgi"])
def client(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Half, request.param, faces="tfserving").client
    return found


@pytest.fixture(scope="module")
def both(start_once: Callable[..., Any]) -> httpx.Client:
    """A server that speaks KServe's protocol, too."""
    found: httpx.Client = start_once(Half, faces="kserve,tfserving").client
    return found


def ask(client: httpx.Client, path: str, body: Any) -> Any:
    return client.post(f"/v1/models/{path}", content=json.dumps(body))


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("half:predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ("half:predict", {"instances": [{"x": 1.0}]}, {"predictions": [2.5]}),
        ("half:predict", {"inputs": [1.0]}, {"outputs": [2.5]}),
        ("half:predict", {"inputs": {"x": [1.0]}}, {"outputs": [2.5]}),
        (
            "half:predict",
            {"signature_name": "serving_default", "inputs": [1.0]},
            {"outputs": [2.5]},
        ),
        (
            "half:predict",
            {"signature_name": "both", "instances": [[1, 2]]},
            {"predictions": [{"sum": 3.0, "shown_bytes": {"b64": "WzEuMCwgMi4wXQ=="}}]},
        ),
        (
            "half.both:predict",
            {"inputs": {"x": [[1, 2]], "scale": 2.0}},
            {"outputs": {"sum": [6.0], "shown_bytes": [{"b64": "WzEuMCwgMi4wXQ=="}]}},
        ),
        (
            "half:predict",
            {"signature_name": "serving_default", "instances": [1.0, 2.0]},
            {"predictions": [2.5, 3.0]},
        ),
        ("half.length:predict", {"inputs": {"b64": "QUJD"}}, {"outputs": 3}),
        (
            "half:predict",
            {"signature_name": "length", "instances": [{"b64": "QUJD"}, {"file": {"b64": ""}}]},
            {"predictions": [3, 0]},
        ),
        (
            "half.split:predict",
            {"instances": [1.0, 2.0]},
            {
                "predictions": [
                    {"output": 1.0, "output_1": "1.0"},
                    {"output": 2.0, "output_1": "2.0"},
                ]
            },
        ),
        (
            "half.split:predict",
            {"inputs": [1.0]},
            {"outputs": {"output": [1.0], "output_1": ["1.0"]}},
        ),
        ("half.bare:predict", {"inputs": [[1, 2], [3, 4], [5, 6]]}, {"outputs": [9.0, 12.0]}),
        ("half/versions/1:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("half/versions/0:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("half/labels/stable:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("half/labels/latest:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
    ],
)
def test_rows_and_columns_are_answered_in_their_own_form(
    client: httpx.Client, both: httpx.Client, path: str, body: Any, answer: Any
) -> None:
    for one in (client, both):
        got = ask(one, path, body)
        assert (got.status_code, got.json()) == (200, answer)


def test_tokens_for_nan_and_infinity_go_in_and_come_out(client: httpx.Client) -> None:
    body = b'{"instances": [NaN, Infinity, -Infinity, 0.1]}'

    answer = client.post("/v1/models/half:predict", content=body)

    assert answer.content == b'{"predictions":[NaN,Infinity,-Infinity,2.05]}'


def test_beside_kserve_tokens_come_out_only_where_no_other_client_asks(
    both: httpx.Client,
) -> None:
    """A sum that is too large: the request itself is strict JSON."""
    large = {"instances": [[3.4e38, 3.4e38]]}

    plain = ask(both, "half.both:predict", large)
    named = ask(both, "half.both:predict", {"signature_name": "serving_default", **large})
    versioned = ask(both, "half.both/versions/1:predict", large)

    assert plain.json()["predictions"][0]["sum"] is None
    assert named.json()["predictions"][0]["sum"] == math.inf
    assert versioned.json()["predictions"][0]["sum"] == math.inf


@pytest.mark.parametrize(
    ("path", "body", "results"),
    [
        (
            "half.species:classify",
            {"examples": [{"x": [0.9, 0.1]}, {"x": [0.25, 0.75]}]},
            [[["setosa", 0.9], ["other", 0.1]], [["setosa", 0.25], ["other", 0.75]]],
        ),
        ("half.scores:classify", {"examples": [{"x": [0.5, 0.25]}]}, [[["0", 0.5], ["1", 0.25]]]),
        ("half.named:classify", {"examples": [{"x": [0.5, 0.25]}]}, [[["a", 0.5]]]),
        ("half:regress", {"examples": [{"x": 1.0}, {"x": 2.0}]}, [2.5, 3.0]),
        (
            "half:regress",
            {"signature_name": "serving_default", "examples": [{"x": 1.0}]},
            [2.5],
        ),
        ("half/versions/1:regress", {"context": {"x": 4.0}, "examples": [{}]}, [4.0]),
    ],
)
def test_examples_are_classified_and_regressed(
    client: httpx.Client, path: str, body: Any, results: Any
) -> None:
    answer = ask(client, path, body)

    assert (answer.status_code, answer.json()) == (200, {"results": results})


def test_the_status_names_the_version_and_its_state(client: httpx.Client) -> None:
    status = {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }

    for path in ("", "/versions/1", "/labels/stable"):
        assert client.get(f"/v1/models/half{path}").json() == status


def test_beside_kserve_the_status_has_the_fields_of_both(both: httpx.Client) -> None:
    answer = both.get("/v1/models/half").json()

    assert (answer["name"], answer["ready"]) == ("half", True)
    assert answer["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize("path", ["", "/versions/1", "/labels/latest"])
def test_the_metadata_describes_each_api_as_a_signature(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/models/half{path}/metadata").json()

    assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) >= {"serving_default", "both", "species", "length"}
    assert signatures["serving_default"] == {
        "inputs": {
            "x": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "x:0",
            }
        },
        "outputs": {
            "output": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "output:0",
            }
        },
        "method_name": "tensorflow/serving/predict",
    }


@pytest.mark.parametrize(
    ("request_line", "status", "error"),
    [
        ("POST quarter:predict", 404, "Servable not found for request: Latest(quarter)"),
        ("GET quarter", 404, "Servable not found for request: Latest(quarter)"),
        ("GET quarter/metadata", 404, "Servable not found for request: Latest(quarter)"),
        ("POST half/versions/7:predict", 404, "for request: Specific(half, 7)"),
        ("GET half/versions/7", 404, "for request: Specific(half, 7)"),
        ("GET half/labels/nightly", 400, "Unrecognized servable version label: nightly"),
        ("POST half/labels/nightly:predict", 400, "version label: nightly"),
        ("POST half:train", 404, "nothing answers"),
        ("POST half:regress", 400, "/examples: expected a list of instances, got nothing"),
        ("POST half.count:predict", 400, "piece by piece"),
        ("GET half:predict", 405, "only"),
        ("DELETE half", 405, "only"),
    ],
)
def test_what_is_not_there_is_said_in_the_words_of_the_contract(
    client: httpx.Client, both: httpx.Client, request_line: str, status: int, error: str
) -> None:
    method, path = request_line.split()
    for one in (client, both):
        answer = one.request(method, f"/v1/models/{path}", content=b'{"instances": [1]}')
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert error in answer.json()["error"]


MALFORMED = [
    (
        "half:predict",
        '{"signature_name": "serving_default", "instances": [1, "2"]}',
        "/instances/1",
    ),
    ("half:predict", '{"signature_name": "serving_default", "signature_name": 3}', "stands twice"),
    (
        "half:predict",
        '{"signature_name": "serving_default", "signature_name": "both", "instances": [1]}',
        "stands twice",
    ),
    ("half:predict", "{", "not valid JSON"),
    ("half:predict", "[1]", "'instances' or 'inputs'"),
    ("half:predict", "{}", "got neither"),
    ("half:predict", '{"instances": [1], "inputs": [1]}', "got both"),
    ("half:predict", '{"instances": [NaN], "instances": [1]}', "stands twice"),
    ("half:predict", '{"instances": [nan]}', "not valid JSON"),
    ("half:predict", '{"instances": [NaN, 1e400]}', "not valid JSON"),
    ("half:predict", '{"instances": [NaN, ' + "9" * 400 + "]}", "not valid JSON"),
    ("half:predict", '{"instances": [NaN, "\\ud800"]}', "not valid JSON"),
    ("half:predict", '{"instances": ' + "[" * 900 + "NaN" + "]" * 900 + "}", "nested deeper"),
    ("half:predict", '{"instances": ' + "[" * 99999 + "NaN" + "]" * 99999 + "}", "nested deeper"),
    ("half:predict", '{"instances": [1], "signature_name": 3}', "/signature_name"),
    ("half:predict", '{"instances": [1], "signature_name": "x"}', 'name: "x" not found'),
    ("half:predict", '{"instances": [1], "signature_name": "count"}', "piece by piece"),
    ("half.bare:predict", '{"instances": [[1, 2], [3, 4], [5, 6]]}', "one row for each instance"),
    ("half:predict", '{"inputs": {"b64": "?"}, "signature_name": "length"}', "/inputs"),
    ("half:predict", '{"inputs": [1], "signature_name": "scores"}', "/inputs"),
    ("half.pair:predict", '{"inputs": {"a": [1, 2], "b": [1]}}', "2 rows as in the others"),
    ("half.pair:predict", '{"instances": [{"a": 1, "b": 1}, {"a": 1}]}', "/instances/1"),
    ("half.pair:predict", '{"inputs": [1, 2]}', "the keys 'a', 'b'"),
    ("half.length:predict", '{"inputs": {"b64": "?"}}', "/inputs"),
    ("half.length:predict", '{"inputs": {"b64": 3}}', "/inputs"),
    ("half.strict:predict", '{"instances": [NaN]}', "/instances/0"),
    ("half:classify", "{}", "/examples: expected a list"),
    ("half:regress", '{"examples": []}', "got an empty list"),
    ("half:regress", '{"examples": [{"x": 1}], "context": {"y": 1}}', "/context/y"),
    ("half.both:regress", '{"examples": [{"x": [1, 2]}]}', "use ':predict'"),
    ("half:classify", '{"examples": [{"x": 1}]}', "use ':predict'"),
]


@pytest.mark.parametrize(("path", "body", "said"), MALFORMED)
def test_what_is_malformed_is_said_in_the_form_of_the_contract(
    client: httpx.Client, path: str, body: str, said: str
) -> None:
    answer = client.post(f"/v1/models/{path}", content=body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_a_signature_is_counted_where_it_runs(both: httpx.Client) -> None:
    def requests(api: str) -> int:
        page = both.get("/metrics").text.splitlines()
        counts = [line for line in page if line.startswith("modelpack_requests_total{")]
        return sum(int(float(c.rsplit(" ", 1)[1])) for c in counts if f'api="{api}"' in c)

    before = requests("predict"), requests("scores")

    ask(both, "half:predict", {"signature_name": "scores", "instances": [[1, 2]]})

    assert (requests("predict"), requests("scores")) == (before[0], before[1] + 1)


def test_a_row_of_float32_shows_its_own_digits_beside_a_token(client: httpx.Client) -> None:
    answer = client.post("/v1/models/half.scores:predict", content=b'{"instances": [[0.1, NaN]]}')

    assert answer.content == b'{"predictions":[[0.1,NaN]]}'
    assert np.float32(0.1) == np.float32(json.loads(answer.content)["predictions"][0][0])


def test_bytes_are_base64_both_ways(client: httpx.Client) -> None:
    data = base64.b64encode(bytes(range(256))).decode()

    answer = ask(client, "half.length:predict", {"inputs": {"file": {"b64": data}}})

    assert answer.json() == {"outputs": 256}
