"""The application around the calls: probes, and what happens when something of ours breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api(route="/v1/models/demo:predict".replace(":", "-"))
    def predict(self, x: int) -> int:
        return x


@pytest.fixture(scope="module")
def server(start_once: Start) -> Any:
    return start_once(Demo)


def test_probes_answer(server: Any) -> None:
    assert server.client.get("/livez").json() == {"status": "alive"}
    assert server.client.get("/readyz").json() == {"status": "ready"}


def test_a_route_may_have_several_parts(server: Any) -> None:
    assert server.post("/v1/models/demo-predict", {"x": 3}).json() == 3


def test_the_path_decides_as_it_stands_and_not_as_a_host_rebuilds_it(server: Any) -> None:
    data = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    assert server.send(data)[0].status == 200
    for path in ("/livez/", "//livez", "/./livez", "/livez;x", "/LIVEZ"):
        (answer,) = server.send(data.replace(b"/livez", path.encode()))
        assert answer.status == 404
        assert answer.header("location") is None


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/docs", "/none", "/openapi.json"]
)
def test_every_answer_has_the_id_of_its_request(server: Any, path: str) -> None:
    answer = server.client.get(path, headers={"x-request-id": "mine", "host": "localhost"})

    assert answer.headers["x-request-id"] == "mine"


def test_a_failure_of_our_own_is_a_problem_without_its_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(Demo)
    endpoint = server.server.endpoints[0]

    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(endpoint, "submit", broken)
    answers = [
        server.post("/v1/models/demo-predict?long", {"x": 1}),
        server.send(
            b"POST /v1/models/demo-predict HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n"
            b'Content-Type: application/json\r\n\r\n{"x":1}'
        )[0],
    ]

    for answer in answers:
        body = json.loads(answer.body if hasattr(answer, "body") else answer.content)
        assert body["status"] == 500
        assert body["code"] == "internal"
        assert "secret" not in json.dumps(body)


def test_the_server_says_nothing_about_itself(server: Any) -> None:
    assert "server" not in server.client.get("/livez").headers
