"""Any requests, cut into any pieces: with the fast lane and without it, the same answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelpack

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api(batch=True, max_batch_size=3)
    def double(self, x: list[int]) -> list[int]:
        if 13 in x:
            raise modelpack.InputError("thirteen")
        return [n * 2 for n in x]

    @modelpack.api
    async def later(self, text: str) -> str:
        return text[::-1]


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: t", *lines, "", ""]).encode()


def whole(path: str, body: bytes, kind: str = "application/json", **more: Any) -> bytes:
    lines = [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return head(path, *lines, **more) + body


def chunked(path: str, body: bytes) -> bytes:
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:4], body[4:])]
    lines = "Content-Type: application/json", "Transfer-Encoding: chunked"
    return head(path, *lines) + b"".join(pieces) + b"0\r\n\r\n"


ROWS = st.lists(st.integers(0, 15), min_size=0, max_size=7)
BODIES = ROWS.map(lambda x: json.dumps({"x": x}).encode())
REQUESTS = st.one_of(
    BODIES.map(lambda body: whole("/double", body)),
    BODIES.map(lambda body: whole("/double", body)),
    BODIES.map(lambda body: whole("/double?query", body)),
    BODIES.map(lambda body: chunked("/double", body)),
    st.text(max_size=5).map(lambda t: whole("/later", json.dumps({"text": t}).encode())),
    st.binary(max_size=8).map(lambda body: whole("/double", body)),
    st.binary(max_size=8).map(lambda body: whole("/double", body, "text/plain")),
    st.binary(max_size=8).map(lambda body: whole("/nothing", body)),
    st.just(head("/livez", method="GET")),
    st.just(b"\r\n" + head("/livez", method="GET")),
    st.just(whole("/double", b"{}", method="PUT")),
)
LAST = st.sampled_from(
    [
        b"",
        b"rubbish\r\n\r\n",
        b"\r\rGET / HTTP/1.1\r\n\r\n",
        head("/livez", method="GET").replace(b"Host: t\r\n", b""),
        whole("/double", b'{"x":[1]}').replace(b"1.1", b"1.0"),
        whole("/double", b"x" * 2000),
        chunked("/double", b'{"x":[1]}')[:-4] + b"rubbish",
    ]
)


@pytest.fixture(scope="module")
def servers(start_once: Start) -> list[Any]:
    return [start_once(Demo, lane, max_body_bytes=1000) for lane in ("fast", "asgi")]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    requests=st.lists(REQUESTS, min_size=1, max_size=6),
    last=LAST,
    cuts=st.lists(st.integers(0, 1500), max_size=6),
)
def test_both_lanes_answer_any_stream_of_bytes_alike(
    servers: list[Any], requests: list[bytes], last: bytes, cuts: list[int]
) -> None:
    data = b"".join([*requests, last])
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    outcomes = [ask(server, pieces, len(requests) + bool(last)) for server in servers]

    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) >= len(requests)


def ask(server: Any, pieces: list[bytes], count: int) -> list[tuple[int, Any]]:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        return [(a.status, without_id(a.body)) for a in server.read(connection, count)]


def without_id(body: bytes) -> Any:
    parsed = json.loads(body)
    if isinstance(parsed, dict):
        parsed.pop("request_id", None)
    return parsed
