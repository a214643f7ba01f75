"""Healthy is: ready, the right version, and an answer to its own examples."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modelpack.deploy import State, Status
from modelpack.deploy.probe import (
    Answer,
    Clock,
    Probe,
    examples,
    fetch,
    is_ready,
    service_url,
)
from modelpack.errors import DeployError


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    @property
    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now_s += seconds

        return Clock(now=lambda: self.now_s, sleep=sleep)


class Service:
    """Answers by path; what it does not know is not there."""

    def __init__(self, **answers: object) -> None:
        self.answers = {"/readyz": 200, "/openapi.json": document()} | answers
        self.calls: list[tuple[str, bytes | None]] = []

    def __call__(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        path = url.removeprefix("http://service")
        self.calls.append((path, body))
        answer = self.answers.get(path, 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Answer):
            return answer
        if isinstance(answer, int):
            return Answer(answer, b"")
        return Answer(200, json.dumps(answer).encode())


def document(version: str | None = "a", **examples: object) -> dict[str, object]:
    paths = {
        f"/{name}": {"post": {"requestBody": {"content": {"application/json": {"example": value}}}}}
        for name, value in examples.items()
    }
    return {"info": {"version": version} if version else {}, "paths": paths}


def status(state: State = State.STARTING, **more) -> Status:
    return Status(name="digits", target="x", state=state, **{"url": "http://service", **more})


def probe(service: Service, *statuses: Status, time: Time | None = None) -> Probe:
    said = list(statuses) or [status()]
    return Probe(lambda: said.pop(0) if len(said) > 1 else said[0], (time or Time()).clock, service)


def test_a_ready_service_is_ready_at_once() -> None:
    time = Time()
    assert probe(Service(), time=time).wait_until_ready(10).url == "http://service"
    assert time.now_s == 0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (503, "/readyz says 503"),
        (Answer(503, b'{"detail": "3 of 5 models are\\u001b loaded"}'), "3 of 5 models are loaded"),
        (Answer(503, b'["no document"]'), "/readyz says 503"),
        (404, "/readyz says 404"),
        (ConnectionRefusedError("no"), "nothing answers at /readyz"),
    ],
)
def test_a_service_that_never_gets_ready_uses_up_its_time(answer, why: str) -> None:
    time = Time()
    with pytest.raises(DeployError, match="'digits' was not ready within 10 s") as caught:
        probe(Service(**{"/readyz": answer}), time=time).wait_until_ready(10)
    assert 10 <= time.now_s < 10.2
    assert caught.value.message.endswith(why)
    assert "ready_timeout_s" in str(caught.value.hint)


@pytest.mark.parametrize("state", [State.FAILED, State.STOPPED, State.ABSENT])
def test_what_has_ended_is_not_waited_for(state: State) -> None:
    time = Time()
    service = Service(**{"/readyz": 503})
    with pytest.raises(DeployError, match="has ended before it was ready: exit 1"):
        probe(service, status(), status(state, detail="exit 1"), time=time).wait_until_ready(100)
    assert time.now_s < 1


def test_what_keeps_ending_is_not_waited_for() -> None:
    service = Service(**{"/readyz": 503})
    with pytest.raises(DeployError, match="keeps ending"):
        probe(service, status(), status(restarts=3)).wait_until_ready(100)


def test_where_the_service_is_not_to_be_reached_the_engine_decides() -> None:
    states = [status(State.STARTING, url=None), status(State.RUNNING, url=None)]
    assert probe(Service(), *states).wait_until_ready(10).state is State.RUNNING


def test_every_example_is_predicted_with(make_spec) -> None:
    service = Service(
        **{"/openapi.json": document(predict={"x": [1]}, embed={"text": "é"}), "/predict": {}},
        **{"/embed": {}},
    )

    assert probe(service).check_answers(make_spec(), "http://service") == []
    assert service.calls[1:] == [
        ("/predict", b'{"x": [1]}'),
        ("/embed", json.dumps({"text": "é"}).encode()),
    ]


@pytest.mark.parametrize("answer", [500, 503, 504])
def test_a_service_that_fails_its_own_example_is_not_healthy(make_spec, answer: int) -> None:
    service = Service(**{"/openapi.json": document(predict={}), "/predict": answer})
    with pytest.raises(DeployError, match=f"its own example at /predict with HTTP {answer}"):
        probe(service).check_answers(make_spec(), "http://service")


def test_a_service_that_does_not_answer_its_example_is_not_healthy(make_spec) -> None:
    service = Service(**{"/openapi.json": document(predict={}), "/predict": TimeoutError("slow")})
    with pytest.raises(DeployError, match="no answer at /predict: slow"):
        probe(service).check_answers(make_spec(), "http://service")


def test_an_example_that_the_service_refuses_is_only_noted(make_spec) -> None:
    service = Service(**{"/openapi.json": document(predict={}), "/predict": 422})
    notes = probe(service).check_answers(make_spec(), "http://service")
    assert notes == ["/predict refuses its own example with HTTP 422"]


def test_another_version_at_the_address_is_not_taken_for_ours(make_spec) -> None:
    service = Service(**{"/openapi.json": document(version="b")})
    with pytest.raises(DeployError, match="version 'b', not 'a'"):
        probe(service).check_answers(make_spec(), "http://service")


@pytest.mark.parametrize("version", ["a", "digits:a", None, ""])
def test_the_right_version_or_none_is_taken(make_spec, version) -> None:
    service = Service(**{"/openapi.json": document(version=version)})
    assert probe(service).check_answers(make_spec(), "http://service") == []


@pytest.mark.parametrize("answer", [404, [], "text", {"paths": {"/x": None}}])
def test_a_service_without_a_description_is_taken_as_it_is(make_spec, answer) -> None:
    service = Service(**{"/openapi.json": answer})
    assert probe(service).check_answers(make_spec(), "http://service") == []


def test_a_description_that_is_refused_is_noted(make_spec) -> None:
    """A server behind a name that it does not know shows its pages to nobody."""
    service = Service(**{"/openapi.json": 403})
    [note] = probe(service).check_answers(make_spec(), "http://service")
    assert note.startswith("/openapi.json answers HTTP 403")


def test_what_stops_running_while_it_is_checked_is_not_healthy() -> None:
    with pytest.raises(DeployError, match="answered and is 'unhealthy' now"):
        probe(Service(), status(State.UNHEALTHY)).require_running()


def test_both_forms_of_examples_are_found() -> None:
    def post(media: object) -> dict[str, object]:
        return {"post": {"requestBody": {"content": {"application/json": media}}}}

    paths = {
        "/one": post({"example": 1}),
        "/two": post({"examples": {"first": {"value": 2}, "second": {"value": 3}}}),
        "/none": post({"schema": {}}),
        "/get": {"get": {}},
    }
    assert examples({"paths": paths}) == [("/one", 1), ("/two", 2)]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
        ("::1", "http://[::1]:3000"),
        ("example.com", "http://example.com:3000"),
    ],
)
def test_a_url_is_where_the_same_machine_reaches_it(host: str, url: str) -> None:
    assert service_url(host, 3000) == url


@pytest.fixture
def stream_server() -> Iterator[str]:
    """Sends one chunk of a stream and then nothing, and redirects elsewhere."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", "http://example.invalid/")
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n")
            over.wait(30)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()
        thread.join()


def test_a_stream_is_not_waited_to_its_end(stream_server: str) -> None:
    assert fetch(f"{stream_server}/x", body=b"{}", timeout_s=20) == Answer(200, b"first")


def test_no_redirect_is_followed_and_no_proxy_asked(stream_server: str, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(f"{stream_server}/x", timeout_s=20).status == 302
    assert not is_ready(stream_server)


def test_nobody_there_is_not_ready(free_port: int) -> None:
    assert not is_ready(f"http://127.0.0.1:{free_port}")
    assert not is_ready(None)
