"""TorchServe's routes over a socket: bytes, forms and JSON in, answers as a handler gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

import modelpack


@modelpack.service
class Kitten:
    """Looks at pictures, or nearly."""

    @modelpack.api
    def predict(self, data: bytes, top: int = 2) -> dict[str, Any]:
        return {"size": len(data), "top": top}

    @modelpack.api
    def explain(self, data: bytes) -> bytes:
        return data[::-1]

    @modelpack.api(batch=True)
    def rows(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1)

    @modelpack.api(batch=True)
    def labels(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    @modelpack.api(batch=True)
    def both(self, texts: list[str]) -> tuple[list[str], list[int]]:
        return texts, [len(text) for text in texts]

    @modelpack.api
    def join(self, first: str, second: list[int]) -> str:
        return f"{first}{second}"

    @modelpack.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)


@pytest.fixture(scope="module", params=["fast", "asgi"])
def client(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> httpx.Client:
    found: httpx.Client = start_once(Kitten, request.param, faces="torchserve").client
    return found


@pytest.fixture(scope="module")
def running(start_once: Callable[..., Any]) -> Any:
    return start_once(Kitten, faces="torchserve")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["kitten", "kitten/1"])
@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/octet-stream", "text/plain"])
def test_a_file_needs_nothing_around_it(
    client: httpx.Client, method: str, path: str, kind: str
) -> None:
    headers = {"content-type": kind} if kind else {}

    answer = client.request(method, f"/predictions/{path}", content=b"\xff" * 7, headers=headers)

    assert answer.json() == {"size": 7, "top": 2}


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({"data": b"1234"}, {"size": 4, "top": 2}),
        ({"body": b"1234"}, {"size": 4, "top": 2}),
        ({"data": b"1234", "top": (None, "5")}, {"size": 4, "top": 5}),
    ],
)
def test_a_form_has_the_file_in_a_part(client: httpx.Client, files: Any, answer: Any) -> None:
    assert client.post("/predictions/kitten", files=files).json() == answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ([1, 2], 3.0),
        ([[1, 2]], [3.0]),
        ([[1, 2], [3, 4]], [3.0, 7.0]),
        ({"data": [1, 2]}, 3.0),
        ({"body": [[1, 2]]}, [3.0]),
        ({"x": [[1, 2]]}, [3.0]),
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [3.0, 7.0]}),
    ],
)
def test_json_is_a_row_rows_or_a_native_body(client: httpx.Client, body: Any, answer: Any) -> None:
    assert client.post("/predictions/kitten.rows", json=body).json() == answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"data": "abc"}, ["abc", 3]),
        ({"data": ["abc", ""]}, [["abc", ""], [3, 0]]),
        ({"texts": ["abc"]}, [["abc"], [3]]),
    ],
)
def test_a_row_of_several_columns_has_the_form_of_the_answer(
    client: httpx.Client, body: Any, answer: Any
) -> None:
    assert client.post("/predictions/kitten.both", json=body).json() == answer


def test_arrays_may_be_bytes_as_at_the_api_itself(client: httpx.Client) -> None:
    headers = {
        "content-type": "application/octet-stream",
        "modelpack-dtype": "float32",
        "modelpack-shape": "1,2",
    }
    data = np.array([[1, 2]], np.float32).tobytes()

    answer = client.post("/predictions/kitten.rows", content=data, headers=headers)

    assert answer.json() == [3.0]


@pytest.mark.parametrize(
    ("model", "sent", "answer"),
    [
        ("kitten.labels", {"content": b"meow"}, "MEOW"),
        ("kitten.labels", {"json": "meow"}, "MEOW"),
        ("kitten.labels", {"data": {"data": "meow"}}, "MEOW"),
        ("kitten.join", {"data": {"first": "a", "second": "[1]"}}, "a[1]"),
        ("kitten.join", {"json": {"first": "a", "second": [1]}}, "a[1]"),
    ],
)
def test_a_text_is_answered_as_text(
    client: httpx.Client, model: str, sent: Any, answer: str
) -> None:
    got = client.post(f"/predictions/{model}", **sent)

    assert (got.status_code, got.text) == (200, answer)
    assert got.headers["content-type"] == "text/plain; charset=utf-8"


def test_json_that_curl_calls_a_form_is_json(client: httpx.Client) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}

    answer = client.post("/predictions/kitten.rows", content=b"[1, 2]", headers=headers)

    assert answer.json() == 3.0


def test_explanations_come_from_the_api_called_explain(client: httpx.Client) -> None:
    answer = client.post("/explanations/kitten", content=b"abc")

    assert answer.content == b"cba"
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_stream_comes_piece_by_piece(client: httpx.Client) -> None:
    answer = client.post("/predictions/kitten.count", json={"to": 3})

    assert answer.text.split() == ["0", "1", "2"]
    assert answer.headers["transfer-encoding"] == "chunked"


def test_the_server_is_healthy_until_it_drains(running: Any) -> None:
    assert running.client.get("/ping").json() == {"status": "Healthy"}

    running.on_loop(lambda: setattr(running.server.front, "is_ready", False))
    try:
        answer = running.client.get("/ping")
    finally:
        running.on_loop(lambda: setattr(running.server.front, "is_ready", True))

    assert (answer.status_code, answer.json()) == (500, {"status": "Unhealthy"})


def test_models_are_listed_page_by_page(client: httpx.Client) -> None:
    first = client.get("/models", params={"limit": 4}).json()
    second = client.get("/models", params={"next_page_token": first["nextPageToken"]}).json()

    names = [one["modelName"] for one in first["models"] + second["models"]]
    assert names == ["kitten", *(f"kitten.{n}" for n in OTHERS)]
    assert "nextPageToken" not in second


OTHERS = ("explain", "rows", "labels", "both", "join", "count")


@pytest.mark.parametrize("path", ["kitten.rows", "kitten.rows/1", "kitten.rows/all"])
def test_a_model_is_described(client: httpx.Client, path: str) -> None:
    (answer,) = client.get(f"/models/{path}").json()

    assert answer["modelName"] == "kitten.rows"
    assert answer["modelVersion"] == "1"
    assert (answer["batchSize"], answer["minWorkers"]) == (32, 1)
    assert answer["jobQueueStatus"] == {"remainingCapacity": 4096, "pendingRequests": 0}
    assert [one["status"] for one in answer["workers"]] == ["READY"]


def test_options_of_the_root_are_the_routes(client: httpx.Client) -> None:
    answer = client.options("/").json()

    assert answer["openapi"].startswith("3.")
    assert {"/ping", "/predictions/kitten", "/explanations/kitten"} <= answer["paths"].keys()


@pytest.mark.parametrize(
    ("request_line", "status", "kind"),
    [
        ("POST /predictions/puppy", 404, "ModelNotFoundException"),
        ("PUT /predictions/puppy", 404, "ModelNotFoundException"),
        ("POST /predictions/kitten/7", 404, "ModelVersionNotFoundException"),
        ("POST /explanations/puppy", 404, "ModelNotFoundException"),
        ("POST /explanations/kitten.rows", 501, "InternalServerException"),
        ("GET /models/puppy", 404, "ModelNotFoundException"),
        ("GET /models/kitten/7", 404, "ModelVersionNotFoundException"),
        ("GET /models?limit=0", 400, "BadRequestException"),
        ("GET /models?next_page_token=x", 400, "BadRequestException"),
        ("GET /predictions/kitten", 405, "MethodNotAllowedException"),
        ("POST /models/kitten", 405, "MethodNotAllowedException"),
        ("GET /predictions", 404, "ResourceNotFoundException"),
    ],
)
def test_what_is_not_there_is_said_in_the_form_of_the_contract(
    client: httpx.Client, request_line: str, status: int, kind: str
) -> None:
    method, path = request_line.split()

    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.json() == {"code": status, "type": kind, "message": answer.json()["message"]}


MALFORMED = [
    ("kitten.rows", {"content": b"{", "headers": {"content-type": "application/json"}}, "JSON"),
    ("kitten.rows", {"content": b"\xff\x00"}, "JSON"),
    ("kitten.rows", {"json": [1, 2, 3]}, "/x"),
    ("kitten.rows", {"json": "12"}, "/x"),
    ("kitten.rows", {"json": {"y": [1, 2]}}, "/x"),
    ("kitten.rows", {"json": {"instances": []}}, "/instances"),
    ("kitten.rows", {"json": {"data": [1, "2"]}}, "/data"),
    ("kitten.labels", {"content": b"\xff"}, "UTF-8"),
    ("kitten.labels", {"json": {"data": 3}}, "/data"),
    ("kitten.join", {"json": [1]}, "'first'"),
    ("kitten.join", {"data": {"first": "a"}}, "/second"),
    ("kitten.join", {"data": {"first": "a", "second": "["}}, "/second"),
    ("kitten.join", {"data": {"first": "a", "second": "[1]", "third": ""}}, "/third"),
    ("kitten", {"files": {"other": b"1"}}, "/data"),
    (
        "kitten",
        {"content": b"--b", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        "form",
    ),
]


@pytest.mark.parametrize(("model", "sent", "said"), MALFORMED)
def test_what_is_malformed_is_said_in_the_form_of_the_contract(
    client: httpx.Client, model: str, sent: Any, said: str
) -> None:
    answer = client.post(f"/predictions/{model}", **sent)

    assert answer.status_code == 400
    assert answer.json()["code"] == 400
    assert answer.json()["type"] == "BadRequestException"
    assert said in answer.json()["message"]


def test_a_form_without_a_boundary_is_not_read(client: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data"}

    answer = client.post("/predictions/kitten", content=b"x", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (415, 415)
