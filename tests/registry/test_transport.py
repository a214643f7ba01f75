"""Where a registry is, and what may go there."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import RefusedError, UnreachableError
from modelpack.registry.credentials import Credentials
from modelpack.registry.transport import Transport

Start = Callable[..., str]


class Recording(BaseHTTPRequestHandler):
    """Answers with what the test chose and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, tuple[int, dict[str, str]]]
    asked: list[tuple[str, str | None]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        status, headers = self.answers.get(self.path, (200, {}))
        if self.path == "/asks" and "Authorization" not in self.headers:
            status, headers = 401, {"WWW-Authenticate": 'Basic realm="x"'}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def servers() -> Iterator[Start]:
    """Start a server; returns its host.  With a certificate it speaks TLS."""
    started: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(handler: type[Recording], certificate: Path | None = None) -> str:
        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass

        server = Quiet(("127.0.0.1", 0), handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def recording(**answers: tuple[int, dict[str, str]]) -> type[Recording]:
    fields = {"answers": {f"/{path}": a for path, a in answers.items()}, "asked": []}
    return type("Handler", (Recording,), fields)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of its own for 127.0.0.1, with its key."""
    file = tmp_path / "certificate.pem"
    done = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            file,
            "-out",
            tmp_path / "only.pem",
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("'openssl' cannot make a certificate")
    file.write_text(file.read_text() + (tmp_path / "only.pem").read_text())
    return file


@pytest.fixture
def connect() -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def make(host: str, **options: Any) -> Transport:
        found = Credentials("me", "secret")
        made.append(Transport(host, find_credentials=lambda _: found, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def get(transport: Transport, path: str) -> int:
    return transport.request("GET", path, what="look", ok=(200,)).status


def test_this_machine_is_spoken_to_in_the_open(servers: Start, connect: Any) -> None:
    transport = connect(servers(recording()))
    assert get(transport, "/x") == 200
    assert transport.origin().startswith("http://")


def test_this_machine_is_spoken_to_over_tls_where_it_speaks_it(
    servers: Start, connect: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    transport = connect(servers(recording(), certificate))
    assert get(transport, "/x") == 200
    assert transport.origin().startswith("https://")


def test_a_certificate_that_nobody_vouches_for_is_refused(
    servers: Start, connect: Any, certificate: Path
) -> None:
    host = servers(recording(), certificate)
    with pytest.raises(RefusedError, match="is not trusted") as caught:
        get(connect(host, scheme="https"), "/x")
    assert "SSL_CERT_FILE" in str(caught.value.hint)
    assert caught.value.exit_code == 4
    assert get(connect(host, scheme="https", insecure=True), "/x") == 200


def test_a_server_without_tls_is_said(servers: Start, connect: Any) -> None:
    with pytest.raises(UnreachableError, match="does not speak TLS"):
        get(connect(servers(recording()), scheme="https"), "/x")


def test_no_such_host_is_said_by_its_name(connect: Any) -> None:
    with pytest.raises(UnreachableError, match=r"registry\.invalid.*no network, or no host"):
        get(connect("registry.invalid"), "/x")


def test_nobody_listening_is_said(connect: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnreachableError, match="nobody listens there"):
        get(connect(host), "/x")


def test_a_password_does_not_follow_a_redirect(servers: Start, connect: Any) -> None:
    elsewhere = recording()
    there = servers(elsewhere)
    here = recording(moved=(307, {"Location": f"http://{there}/blob"}))
    transport = connect(servers(here))
    assert get(transport, "/asks") == 200
    assert get(transport, "/moved") == 200
    assert [used is not None for path, used in here.asked if path == "/moved"] == [True]
    assert elsewhere.asked == [("/blob", None)]


@pytest.mark.parametrize("target", ["http://cdn.example/x", "ftp://cdn.example/x", "file:///etc/x"])
def test_a_redirect_to_where_there_is_no_tls_is_refused(
    servers: Start, connect: Any, target: str
) -> None:
    transport = connect(servers(recording(moved=(302, {"Location": target}))))
    with pytest.raises(RefusedError, match="not over TLS"):
        get(transport, "/moved")


def test_what_began_over_tls_goes_on_over_tls(
    servers: Start, connect: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    plain = recording()
    location = {"Location": f"http://{servers(plain)}/x"}
    host = servers(recording(moved=(302, location)), certificate)
    with pytest.raises(RefusedError, match="not over TLS"):
        get(connect(host, scheme="https"), "/moved")
    assert plain.asked == []


def test_redirects_in_a_circle_end(servers: Start, connect: Any) -> None:
    transport = connect(servers(recording(moved=(302, {"Location": "/moved"}))))
    with pytest.raises(Exception, match="again and again"):
        get(transport, "/moved")


def test_plain_http_with_another_machine_has_to_be_asked_for(connect: Any) -> None:
    with pytest.raises(RefusedError, match="without TLS"):
        connect("registry.example", scheme="http")
    assert connect("registry.example").origin() == "https://registry.example"
