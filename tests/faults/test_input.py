"""F17 to F23: whatever a client may send, the answer says what is wrong and nothing falls over."""

from __future__ import annotations

import gzip
import json
import pickle
from typing import Any

import pytest


@pytest.fixture(scope="module")
def plain(serve_once: Any) -> Any:
    return serve_once("plain", max_body_bytes=100_000)


def post(body: bytes, *headers: str, path: str = "/double") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", *headers]
    if not any(one.lower().startswith(("content-length", "transfer")) for one in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


JSON = "content-type: application/json"


def parsed(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else {}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[]", ""),
        (b"{}", "/x"),
        (b'{"x": 1}', "/x"),
        (b'{"x": [[1, "2"]]}', "/x/0/1"),
        (b'{"x": [[1, null]]}', "/x/0/1"),
        (b'{"x": [[1, true]]}', "/x/0/1"),
        (b'{"x": [[1, 2], [3]]}', "/x/1"),
        (b'{"x": [[1, 2, 3]]}', "/x"),
        (b'{"x": []}', "/x"),
        (b'{"x": [[1, 2]], "y": 1}', "/y"),
        (b'{"x": [[1, 2]], "x": [[1, 2]]}', ""),
        (b'{"x": [[1, 1e400]]}', None),
        (b'{"x": [[1, 1e39]]}', "/x/0/1"),
        (b"\xff\xfe", ""),
    ],
)
def test_f17_json_that_does_not_fit_is_a_400_that_names_the_field(
    plain: Any, body: bytes, pointer: str | None
) -> None:
    status, problem = parsed(plain.send(post(body, JSON)))

    assert status == 400
    assert problem["errors"][0].keys() == {"pointer", "expected", "got"}
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


def test_f17_a_value_out_of_its_declared_range_is_a_422(plain: Any) -> None:
    status, problem = parsed(plain.send(post(b'{"years": 130}', JSON, path="/age")))

    assert (status, problem["errors"][0]["pointer"]) == (422, "/years")


@pytest.mark.parametrize(
    "body",
    [
        b'{"value": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        b'{"value": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        b'{"value": NaN}',
        b'{"value": Infinity}',
        b'{"value": -Infinity}',
    ],
    ids=["lists", "objects", "nan", "infinity", "minus-infinity"],
)
def test_f18_deep_nesting_and_literals_that_are_no_json_are_a_400(plain: Any, body: bytes) -> None:
    assert parsed(plain.send(post(body, JSON, path="/echo")))[0] == 400


def test_f18_a_number_of_very_many_digits_is_a_400(plain: Any) -> None:
    body = b'{"x": [[1, ' + b"9" * 90_000 + b"]]}"

    assert parsed(plain.send(post(body, JSON)))[0] == 400


def test_f19_a_body_over_the_limit_is_refused_before_it_is_read(plain: Any) -> None:
    head = post(b"", JSON, "content-length: 100001")

    assert parsed(plain.send(head))[0] == 413


def test_f19_a_client_that_waits_for_leave_is_refused_before_it_sends(plain: Any) -> None:
    head = post(b"", JSON, "content-length: 100001", "expect: 100-continue")
    answer = plain.send(head)

    assert parsed(answer)[0] == 413
    assert b"100 Continue" not in answer


def test_f19_a_chunked_body_over_the_limit_is_refused_on_its_way(plain: Any) -> None:
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"

    answer = plain.send(post(chunk * 30, JSON, "transfer-encoding: chunked"))

    assert parsed(answer)[0] == 413


def test_f20_a_compressed_body_is_a_415_by_default(plain: Any) -> None:
    body = gzip.compress(b'{"x": [[1, 2]]}')

    assert parsed(plain.send(post(body, JSON, "content-encoding: gzip")))[0] == 415


def test_f20_where_they_are_accepted_bodies_inflate_up_to_a_limit(serve: Any) -> None:
    served = serve("plain", accept_encoding="true", max_inflated_bytes=100_000)
    good = gzip.compress(b'{"x": [[1, 2]]}')
    bomb = gzip.compress(b'{"x": [[1, 2]]' + b" " * 50_000_000 + b"}")

    answers = [
        parsed(served.send(post(body, JSON, "content-encoding: gzip")))[0]
        for body in (good, bomb, good[:-4], b"no gzip")
    ]

    assert answers == [200, 413, 400, 400]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-pickle", "nonsense", ""])
def test_f21_an_unknown_content_type_is_a_415(plain: Any, content_type: str) -> None:
    body = pickle.dumps({"x": [[1, 2]]})

    status, problem = parsed(plain.send(post(body, f"content-type: {content_type}")))

    assert (status, problem["code"]) == (415, "unsupported-media-type")
    assert "application/json" in problem["detail"]


@pytest.mark.parametrize(
    "data",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /livez HTTP/3.0\r\nhost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"POST /double HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["words", "space", "version", "no-host", "two-lengths", "tls"],
)
def test_f22_malformed_http_is_a_400_and_the_end(plain: Any, data: bytes) -> None:
    answer = plain.send(data)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer.lower()


def test_f23_an_unknown_route_is_a_404_and_a_wrong_method_a_405(plain: Any) -> None:
    unknown = plain.client.get("/nowhere")
    wrong = plain.client.get("/double")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert "POST" in wrong.headers["allow"]
