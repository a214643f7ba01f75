"""KServe v1 over a socket: instances in, predictions out, errors in its own form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import modelpack

CLOUD = "application/cloudevents+json"


@modelpack.service
class Flowers:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2], factor: float = 1.0
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1) * factor

    @modelpack.api(batch=True)
    def explain(self, x: modelpack.Tensor["float32", "batch", 2]) -> dict[str, Any]:
        return {"weight": x, "rank": x.argsort(axis=1)}

    @modelpack.api
    def greet(self, name: str, times: int = 1) -> dict[str, Any]:
        if name == "nobody":
            raise modelpack.InputError("nobody is not greeted")
        return {"text": f"hello {name}", "times": times}

    @modelpack.api
    def table(self, rows: modelpack.Tensor["float32", "n", 2]) -> list[float]:
        return [float(row.sum()) for row in rows]

    @modelpack.api
    def total(self, rows: modelpack.Tensor["float32", "n", 2]) -> float:
        return float(rows.sum())

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


@pytest.fixture(scope="module", params=["fast", "asgi"])
def client(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Flowers, request.param, faces="kserve").client
    return found


@pytest.fixture(scope="module")
def running(start_once: Callable[..., Any]) -> Any:
    return start_once(Flowers, faces="kserve")


def test_it_is_alive_for_programs_and_a_page_for_browsers(client: httpx.Client) -> None:
    """The client of KServe asks for anything (``*/*``), and so do probes."""
    firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    program, page = client.get("/"), client.get("/", headers={"accept": firefox})

    assert program.json() == {"status": "alive"}
    assert page.headers["content-type"].startswith("text/html")
    assert program.headers["vary"] == page.headers["vary"] == "accept"


def test_without_the_contract_everybody_gets_the_page(start_once: Callable[..., Any]) -> None:
    page = start_once(Flowers, faces="oip").client.get("/")

    assert page.headers["content-type"].startswith("text/html")


def ask(client: httpx.Client, body: Any, model: str = "flowers", verb: str = "predict") -> Any:
    return client.post(f"/v1/models/{model}:{verb}", json=body)


@pytest.mark.parametrize(
    ("model", "body", "predictions"),
    [
        ("flowers", {"instances": [[1, 2], [3, 4]]}, [3.0, 7.0]),
        ("flowers", {"instances": [[1, 2]]}, [3.0]),
        ("flowers", {"inputs": [[1, 2]]}, [3.0]),
        ("flowers", {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, [3.0, 7.0]),
        ("flowers", {"instances": [{"x": [1, 2], "factor": 2.0}]}, [6.0]),
        ("flowers", {"instances": [[1, 2]], "parameters": {"factor": 0.5}}, [1.5]),
        ("flowers", {"instances": [[1, 2]], "id": 7, "parameters": None}, [3.0]),
        ("flowers.greet", {"instances": ["Ada"]}, [{"text": "hello Ada", "times": 1}]),
        ("flowers.table", {"instances": [[1, 2], [3, 4]]}, [3.0, 7.0]),
        ("flowers.table", {"instances": [[[1, 2], [3, 4]], [[5, 6]]]}, [[3.0, 7.0], [11.0]]),
        ("flowers.total", {"instances": [[[1, 2], [3, 4]], [[5, 6]]]}, [10.0, 11.0]),
    ],
)
def test_an_instance_has_a_prediction(
    client: httpx.Client, model: str, body: Any, predictions: Any
) -> None:
    answer = ask(client, body, model)

    assert (answer.status_code, answer.json()) == (200, {"predictions": predictions})


def test_instances_of_an_api_without_batches_are_answered_in_their_order(
    client: httpx.Client,
) -> None:
    names = [f"n{number}" for number in range(100)]

    answer = ask(client, {"instances": [{"name": one, "times": 2} for one in names]}, GREET)

    assert answer.json()["predictions"] == [{"text": f"hello {name}", "times": 2} for name in names]


GREET = "flowers.greet"


def test_the_api_called_explain_explains_the_model(client: httpx.Client) -> None:
    answer = ask(client, {"instances": [[2, 1], [3, 4]]}, verb="explain")

    assert answer.json() == {
        "explanations": [
            {"weight": [2.0, 1.0], "rank": [1, 0]},
            {"weight": [3.0, 4.0], "rank": [0, 1]},
        ]
    }


def test_models_are_listed_and_say_that_they_are_ready(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()["models"]

    assert models[0] == "flowers"
    assert set(models) == {"flowers", *(f"flowers.{n}" for n in OTHERS)}
    assert client.get("/v1/models/flowers").json() == {"name": "flowers", "ready": True}


OTHERS = ("explain", "greet", "table", "total", "count")


def test_a_model_is_not_ready_while_the_server_drains(running: Any) -> None:
    running.on_loop(lambda: setattr(running.server.front, "is_ready", False))
    try:
        answer = running.client.get("/v1/models/flowers")
    finally:
        running.on_loop(lambda: setattr(running.server.front, "is_ready", True))

    assert answer.status_code == 503
    assert answer.json()["error"]
    assert answer.headers["retry-after"] == "1"


MALFORMED = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "an object with 'instances'"),
    (b"null", "an object with 'instances'"),
    (b"{}", "got neither"),
    (b'{"instances": 3}', "/instances: expected a list"),
    (b'{"instances": []}', "got an empty list"),
    (b'{"instances": [[1, 2, 3]]}', "/instances"),
    (b'{"instances": [[1, 2], [3]]}', "/instances/1"),
    (b'{"instances": [[1, "2"]]}', "/instances/0/1"),
    (b'{"instances": [[1, NaN]]}', "not valid JSON"),
    (b'{"instances": [[1, 1e400]]}', "not valid JSON"),
    (b'{"instances": [[1, true]]}', "/instances/0/1"),
    (b'{"instances": [{"x": [1, 2]}, {"x": [1]}]}', "/instances/1/x"),
    (b'{"instances": [{"x": [1, 2]}, {"factor": 2}]}', "/instances"),
    (b'{"instances": [{"x": [1, 2], "factor": 1.5}, {"x": [1, 2]}]}', "/instances/1/factor"),
    (b'{"instances": [{"x": [1, 2], "factor": 1.5}, {"x": [1, 2], "factor": 2}]}', "same value"),
    (b'{"instances": [[1, 2]], "instances": [[1, 2]]}', "stands twice"),
    (b'{"instances": [[1, 2]], "inputs": [[1, 2]]}', "got both"),
    (b'{"instances": [[1, 2]], "parameters": {"factro": 1}}', "/parameters/factro"),
    (b'{"instances": [[1, 2]], "parameters": [1]}', "/parameters: expected an object"),
    (b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", "nested deeper"),
]


@pytest.mark.parametrize(("body", "said"), MALFORMED)
def test_what_is_malformed_is_said_in_the_form_of_the_contract(
    client: httpx.Client, body: bytes, said: str
) -> None:
    headers = {"content-type": "application/json"}

    answer = client.post("/v1/models/flowers:predict", content=body, headers=headers)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/roses", 404),
        ("POST", "/v1/models/roses:predict", 404),
        ("POST", "/v1/models/flowers:train", 404),
        ("POST", "/v1/models/flowers.greet:explain", 501),
        ("POST", "/v1/models/flowers.count:predict", 400),
        ("GET", "/v1/models/flowers:predict", 405),
        ("DELETE", "/v1/models/flowers", 405),
        ("GET", "/v1/models/flowers/versions/1", 404),
    ],
)
def test_what_is_not_there_is_said_in_the_form_of_the_contract(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, json={"instances": [1]})

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_what_the_service_refuses_in_one_instance_is_the_answer(client: httpx.Client) -> None:
    answer = ask(client, {"instances": ["Ada", "nobody", "Grace"]}, GREET)

    assert answer.status_code == 422
    assert "nobody is not greeted" in answer.json()["error"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/x-www-form-urlencoded", "text/plain", ""],
)
def test_curl_needs_to_say_nothing_of_the_content_type(
    client: httpx.Client, content_type: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}

    answer = client.post(
        "/v1/models/flowers:predict", content=b'{"instances": [[1, 2]]}', headers=headers
    )

    assert answer.json() == {"predictions": [3.0]}


def test_other_content_types_are_not_read(client: httpx.Client) -> None:
    headers = {"content-type": "application/x-pickle"}

    answer = client.post("/v1/models/flowers:predict", content=b"x", headers=headers)

    assert answer.status_code == 415
    assert list(answer.json()) == ["error"]


def test_an_event_with_its_attributes_in_the_head_is_answered_with_one(
    client: httpx.Client,
) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "a-7", "ce-type": "ask", "ce-source": "here"}

    answer = client.post(
        "/v1/models/flowers:predict", json={"instances": [[1, 2]]}, headers=headers
    )

    assert answer.json() == {"predictions": [3.0]}
    assert answer.headers["ce-id"] == "a-7"
    assert answer.headers["ce-specversion"] == "1.0"
    assert answer.headers["ce-type"] == "io.kserve.inference.response"
    assert answer.headers["ce-source"] == "io.kserve.inference.flowers"
    assert answer.headers["content-type"] == "application/json"


DATA = {"data": {"instances": [[1, 2]]}}
IN_BASE64 = {"data_base64": "eyJpbnN0YW5jZXMiOltbMSwyXV19"}


@pytest.mark.parametrize(
    ("content_type", "data"), [(CLOUD, DATA), (CLOUD, IN_BASE64), ("application/json", DATA)]
)
def test_an_event_in_an_envelope_is_answered_in_one(
    client: httpx.Client, content_type: str, data: Any
) -> None:
    event = {"specversion": "1.0", "id": "a-8", "type": "ask", "source": "here"}

    answer = client.post(
        "/v1/models/flowers:predict",
        json={**event, **data},
        headers={"content-type": content_type},
    )

    assert answer.headers["content-type"] == CLOUD
    assert answer.json()["data"] == {"predictions": [3.0]}
    assert answer.json()["id"] == "a-8"
    assert answer.json()["datacontenttype"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"}, {"instances": [[1, 2]]}),
        ({"content-type": CLOUD}, {"specversion": "1.0", "id": "1", "data": {}}),
        ({"content-type": CLOUD}, [1]),
        (
            {"content-type": CLOUD},
            {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data_base64": "?"},
        ),
        (
            {"content-type": CLOUD},
            {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": 3},
        ),
    ],
)
def test_a_malformed_event_is_refused(client: httpx.Client, headers: Any, body: Any) -> None:
    answer = client.post("/v1/models/flowers:predict", json=body, headers=headers)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
