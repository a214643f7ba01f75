"""The same questions to two servers: real sockets, made-up answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.answers import (
    Answer,
    Sample,
    ask,
    behaviour_lines,
    compare_answers,
    read_samples,
)
from modelpack.errors import BuildError, NotFoundError, UsageError

APIS = [{"name": "predict", "route": "/predict"}, {"name": "explain", "route": "/v2/explain"}]
SAMPLE = Sample(3, "/predict", {})


@contextmanager
def answering(reply: Callable[[str, Any], Any]) -> Iterator[str]:
    """Serve what ``reply(path, body)`` returns as JSON; None ends the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            value = reply(self.path, body)
            if value is None:
                self.close_connection = True
                return
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(value: Any, status: int = 200, kind: str = "application/json") -> Answer:
    return Answer(status, kind, value if isinstance(value, bytes) else json.dumps(value).encode())


def compared(old: Any, new: Any, **tolerance: float) -> Any:
    return compare_answers([SAMPLE], [answer(old)], [answer(new)], **tolerance)


def test_samples_name_their_api_where_there_is_more_than_one(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text('{"api": "explain", "body": [1]}\n\n{"api": "/predict", "body": {"x": 1}}\n')
    assert read_samples(file, APIS) == [
        Sample(1, "/v2/explain", [1]),
        Sample(3, "/predict", {"x": 1}),
    ]
    file.write_text('{"x": 1}\n{"api": "y", "body": 2, "z": 3}\n')
    assert [one.body for one in read_samples(file, APIS[:1])] == [
        {"x": 1},
        {"api": "y", "body": 2, "z": 3},
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"x": 1}\n{"x"', "samples.jsonl:1: which of the 2 apis is meant is not said"),
        ('{"api": "predict", "body": 1}\n{', "samples.jsonl:2: not JSON"),
        ('{"api": "predct", "body": 1}', "samples.jsonl:1: no api 'predct'"),
        ("\n\n", "has no samples"),
    ],
)
def test_a_line_that_is_no_sample_is_refused(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text(text)
    with pytest.raises(UsageError, match=what.replace(".", r"\.")):
        read_samples(file, APIS)
    with pytest.raises(NotFoundError):
        read_samples(tmp_path / "gone", APIS)


def test_each_sample_is_posted_to_its_route() -> None:
    with answering(lambda path, body: {"path": path, "body": body}) as url:
        found = ask(url, [Sample(1, "/a", 1), Sample(2, "/b", {"x": "ü"})])
    assert [json.loads(one.body) for one in found] == [
        {"path": "/a", "body": 1},
        {"path": "/b", "body": {"x": "ü"}},
    ]
    assert {(one.status, one.media_type) for one in found} == {(200, "application/json")}


def test_a_server_that_hangs_up_is_said_with_the_line() -> None:
    with (
        answering(lambda *_: None) as url,
        pytest.raises(BuildError, match="line 3 got no answer"),
    ):
        ask(url, [SAMPLE])


def test_equal_close_and_different_are_told_apart() -> None:
    samples = [Sample(n, "/predict", {}) for n in (1, 2, 3)]
    old = [answer({"y": [1, 2.0]}) for _ in samples]
    new = [answer({"y": [1, 2.0]}), answer({"y": [1, 2.00001]}), answer({"y": [1, 2.5]})]
    found = compare_answers(samples, old, new)
    assert (found.samples, found.same, found.close) == (3, 1, 1)
    assert bool(found)
    assert (found.largest, found.largest_at) == (0.5, "line 3 /y/1")
    assert list(behaviour_lines(found)) == [
        "3 samples: 1 the same, 1 within tolerance, 1 different",
        "largest difference 0.5, line 3 /y/1",
        "line 3 /predict: /y/1: 2.0 → 2.5",
    ]


def test_the_tolerance_is_that_of_the_call() -> None:
    assert not compared(100.0, 100.5, rtol=0.01)
    assert not compared(0.0, 0.5, atol=0.5)
    assert compared(100.0, 100.5, rtol=0.001, atol=0)
    assert not compared(1, 1.0, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ({"a": 1}, {"b": 1}, '{"a": 1} → {"b": 1}'),
        ([1], [1, 2], "[1] → [1, 2]"),
        ([True], [1], "/0: true → 1"),
        (["a"], ["b"], '/0: "a" → "b"'),
        ({"a": None}, {"a": 0.0}, "/a: null → 0.0"),
    ],
)
def test_what_is_no_number_must_be_equal(old: Any, new: Any, what: str) -> None:
    (change,) = compared(old, new).changes
    assert change.what == what


def test_status_and_kind_of_the_answer_count() -> None:
    error = answer({"code": "bad-input", "request_id": "1"}, 400)
    again = answer({"code": "bad-input", "request_id": "2"}, 400)
    other = answer({"code": "model-error"}, 400)
    image = answer(b"\x89PNG", kind="image/png")
    cases = {
        "same": (error, again),
        "status 200 → 400 'bad-input'": (answer(1), error),
        "error 'bad-input' → 'model-error'": (error, other),
        "application/json → image/png": (answer(1), image),
        "other bytes of image/png": (image, answer(b"\x89PNX", kind="image/png")),
    }
    for what, (old, new) in cases.items():
        found = compare_answers([SAMPLE], [old], [new])
        assert [one.what for one in found.changes] == ([] if what == "same" else [what])


def test_many_differences_are_counted_and_some_shown() -> None:
    samples = [Sample(n, "/predict", {}) for n in range(1, 31)]
    found = compare_answers(samples, [answer(1)] * 30, [answer("x")] * 30)
    assert len(found.changes) == 20
    assert list(behaviour_lines(found))[-1] == "and 10 more"
    assert found.to_json()["different"] == 30
