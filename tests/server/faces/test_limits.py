"""Limits, codings, readiness and time hold behind every contract, in its own form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

import modelpack

MOST = 4096

ASKED: dict[str, tuple[Any, Any]] = {
    "/v1/models/sums:predict": ({"instances": [[1, 2]]}, {"predictions": [3.0]}),
    "/v1/models/sums/labels/stable:predict": ({"inputs": [[1, 2]]}, {"outputs": [3.0]}),
    "/predictions/sums": ([1, 2], 3.0),
    "/api/v1.0/predictions": ({"jsonData": {"x": [[1, 2]]}}, None),
}

FORMS: dict[str, Callable[[Any], str]] = {
    "/v1/models/sums:predict": lambda body: body["error"],
    "/v1/models/sums/labels/stable:predict": lambda body: body["error"],
    "/predictions/sums": lambda body: body["message"],
    "/api/v1.0/predictions": lambda body: body["status"]["info"],
}


@modelpack.service
class Sums:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[float]:
        return [float(row.sum()) for row in x]


@pytest.fixture(scope="module", params=["fast", "asgi"])
def running(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> Any:
    return start_once(
        Sums, request.param, max_body_bytes=MOST, accept_encoding=True, max_inflated_bytes=MOST
    )


@contextmanager
def not_ready(running: Any) -> Iterator[None]:
    running.on_loop(lambda: setattr(running.server.front, "is_ready", False))
    try:
        yield
    finally:
        running.on_loop(lambda: setattr(running.server.front, "is_ready", True))


@contextmanager
def draining(running: Any) -> Iterator[None]:
    running.on_loop(lambda: setattr(running.server.front, "is_draining", True))
    try:
        yield
    finally:
        running.on_loop(lambda: setattr(running.server.front, "is_draining", False))


@pytest.mark.parametrize("path", ASKED)
def test_a_body_that_is_too_long_is_refused(running: Any, path: str) -> None:
    with running.fresh_client() as client:
        answer = client.post(path, content=b" " * (MOST + 1))

    assert answer.status_code == 413
    assert str(MOST) in FORMS[path](answer.json())


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_compressed_body_is_taken(running: Any, path: str, chunked: bool) -> None:
    body, answer = ASKED[path]
    packed = gzip.compress(json.dumps(body).encode())

    got = running.client.post(
        path,
        content=iter([packed]) if chunked else packed,
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )

    assert got.status_code == 200
    assert answer is None or got.json() == answer


@pytest.mark.parametrize("path", ASKED)
def test_a_bomb_is_refused(running: Any, path: str) -> None:
    packed = gzip.compress(b" " * (MOST + 1))

    got = running.client.post(
        path,
        content=packed,
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )

    assert got.status_code == 413
    assert "decompressed" in FORMS[path](got.json())


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    "headers", [{"x-request-timeout-ms": "soon"}, {"modelpack-priority": "now"}]
)
def test_a_wish_that_is_not_understood_is_refused(
    running: Any, path: str, headers: dict[str, str]
) -> None:
    got = running.client.post(path, json=ASKED[path][0], headers=headers)

    assert got.status_code == 400
    assert "expected" in FORMS[path](got.json())


@pytest.mark.parametrize("path", ASKED)
def test_the_id_of_a_request_comes_back(running: Any, path: str) -> None:
    got = running.client.post(path, json=ASKED[path][0], headers={"x-request-id": "r-9"})

    assert got.headers["x-request-id"] == "r-9"


def test_the_state_of_a_version_follows_the_server(running: Any) -> None:
    def state() -> tuple[int, bool, str]:
        with running.fresh_client() as client:
            answer: httpx.Response = client.get("/v1/models/sums")
        body = answer.json()
        return answer.status_code, body["ready"], body["model_version_status"][0]["state"]

    assert state() == (200, True, "AVAILABLE")
    with not_ready(running):
        assert state() == (503, False, "LOADING")
    with draining(running):
        assert state() == (503, False, "UNLOADING")


def test_seldon_is_not_well_while_no_messages_are_taken(running: Any) -> None:
    with not_ready(running):
        answer = running.client.get("/health/status")

    assert answer.status_code == 503
    assert answer.json()["status"]["reason"] == "MICROSERVICE_INTERNAL_ERROR"
