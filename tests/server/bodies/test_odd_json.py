"""Hostile JSON over sockets, through both lanes: always a 400 in our own form, never more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Apis:
    @modelpack.api(batch=True)
    def rows(self, x: modelpack.Tensor["float32", "batch", 3]) -> list[float]:
        return x.sum(axis=1).tolist()

    @modelpack.api
    def tensor(self, x: modelpack.Tensor["int64"]) -> int:
        return int(x.sum())

    @modelpack.api
    def anything(self, x: Any) -> Any:
        return x


@pytest.fixture(scope="module", params=["fast", "asgi"])
def server(request: pytest.FixtureRequest, start_once: Start) -> Any:
    return start_once(Apis, request.param, max_body_bytes=2_000_000)


def request_of(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("path", ["/rows", "/tensor", "/anything"])
def test_odd_json_is_a_400_and_the_connection_goes_on(
    server: Any, odd_bodies: dict[str, bytes], path: str
) -> None:
    good = request_of("/rows", b'{"x":[[1,2,3]]}')

    for name, body in odd_bodies.items():
        odd, after = server.send(request_of(path, body) + good, answers=2)

        assert odd.status == 400, name
        problem = json.loads(odd.body)
        assert problem["code"] in ("bad-json", "bad-input"), name
        assert problem["errors"][0]["expected"], name
        assert problem["errors"][0]["got"], name
        assert len(odd.body) < 2500, name
        assert not re.search(rb"Traceback|\.py|line \d+, in |/modelpack/", odd.body), name
        assert after.body == b"[6.0]", name


SAME_FOR_ALL_LENGTHS = {
    "null": (b"null", "/x/{at}/1", "null"),
    "true": (b"true", "/x/{at}/1", "true"),
    "text": (b'"2"', "/x/{at}/1", "the string '2'"),
    "a list": (b"[2]", "/x/{at}/1", "a list of 1"),
    "an object": (b"{}", "/x/{at}/1", "an object"),
    "too large": (b"1e39", "/x/{at}/1", "the number 1e+39"),
    "a longer row": (b"1,2", "/x/{at}", "a list of 4"),
}


@pytest.mark.parametrize("mistake", SAME_FOR_ALL_LENGTHS)
@pytest.mark.parametrize("rows", [2, 60, 9000])
def test_a_mistake_is_named_alike_in_short_and_long_bodies(
    server: Any, mistake: str, rows: int
) -> None:
    wrong, pointer, got = SAME_FOR_ALL_LENGTHS[mistake]
    row = b"[1.5, 2.25, 3.125]"
    body = b'{"x":[%b,[1,%b,3]]}' % (b",".join([row] * (rows - 1)), wrong)

    (answer,) = server.send(request_of("/rows", body))
    (issue,) = json.loads(answer.body)["errors"]

    assert answer.status == 400
    assert issue["pointer"] == pointer.format(at=rows - 1)
    assert issue["got"] == got


def test_numbers_at_every_edge_are_answered_alike_by_both_ends(server: Any) -> None:
    edges = [0, -0.0, 5e-324, 1e-45, 3.4028234e38, -3.4028235e38, 2**53 + 1, 2**63, 2**64 - 1]
    for number in edges:
        body = orjson.dumps({"x": [[number, 0, 0]]})
        (answer,) = server.send(request_of("/rows", body))
        assert answer.status == 200, number
