"""The same server behind TLS: both lanes, refusals that can be read, hang-ups and the end."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.server.http.tls import context_for

Start = Callable[..., Any]


@modelpack.service
class Demo:
    gate = threading.Event()
    has_begun = threading.Event()

    @modelpack.api
    def echo(self, text: str) -> str:
        return text

    @modelpack.api
    def long(self, size: int) -> str:
        return "x" * size

    @modelpack.api
    def held(self, text: str) -> str:
        self.has_begun.set()
        self.gate.wait(20)
        return text


def call(path: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: t", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


TEXT = b'{"text":"abc"}'


@pytest.fixture
def server(start: Start, lane: str, certificates: Path) -> Any:
    return start(Demo, lane, **tls(certificates))


def tls(folder: Path, **more: Any) -> dict[str, Any]:
    return {"tls_cert": str(folder / "server.crt"), "tls_key": str(folder / "server.key"), **more}


def secured(server: Any, folder: Path, client: str | None = None, **more: Any) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(folder / "server.crt"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    for name, value in more.items():
        setattr(context, name, value)
    return context.wrap_socket(server.connect(), server_hostname="127.0.0.1")


# --- talking --------------------------------------------------------------------------------------


def test_calls_are_answered_in_either_lane(server: Any, certificates: Path) -> None:
    assert server.server.url == f"https://127.0.0.1:{server.port}"
    with secured(server, certificates) as connection:
        for text in ("one", "two", "x" * 300_000):
            connection.sendall(call("/echo", f'{{"text":"{text}"}}'.encode()))
            assert json.loads(server.read(connection, 1)[0].body) == text
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
        assert server.read(connection, 1)[0].status == 200
        connection.sendall(call("/long", b'{"size":3000000}', "Connection: close"))
        assert len(server.read(connection, 1)[0].body) == 3_000_002
        assert connection.recv(1) == b""


def test_the_version_is_new_enough_and_http11_is_agreed_on(server: Any, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "server.crt"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_a_refused_client_can_read_why(server: Any, certificates: Path) -> None:
    """It sends on and on meanwhile, and must not be reset before it has the answer."""
    with secured(server, certificates) as connection:
        connection.sendall(call("/echo", b"").replace(b"Length: 0", b"Length: 99999999"))
        connection.sendall(b"x" * 100_000)
        (answer,) = server.read(connection, 1)

        assert (answer.status, answer.header("connection")) == (413, "close")
    server.wait_until(lambda: not server.server._state.connections)


def test_a_refused_client_that_waits_for_the_end_gets_it(server: Any, certificates: Path) -> None:
    with secured(server, certificates) as connection:
        connection.sendall(b"rubbish\r\n\r\n")

        assert [answer.status for answer in server.read(connection, 2)] == [400]


def test_who_does_not_speak_tls_harms_nobody(server: Any, certificates: Path) -> None:
    with server.connect() as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n")
        while plain.recv(1000):
            pass
    with secured(server, certificates) as connection:
        connection.sendall(call("/echo", TEXT))
        assert server.read(connection, 1)[0].status == 200


def test_handshakes_that_fail_leave_no_descriptor_behind(server: Any, certificates: Path) -> None:
    def sockets() -> int:
        return sum(one.is_socket() for one in Path("/proc/self/fd").iterdir())

    before = sockets()
    for data in (b"", b"\x16", b"hello", b"\x16\x03\x01\x02\x00\x01"):
        for _ in range(5):
            with server.connect() as plain:
                plain.sendall(data)
    server.wait_until(lambda: sockets() <= before)


def test_a_handshake_that_drips_is_ended_and_holds_nobody_up(
    start: Start, certificates: Path
) -> None:
    server = start(Demo, **tls(certificates, head_timeout_s=0.5))
    with server.connect() as dripping:
        dripping.sendall(b"\x16\x03\x01")
        with secured(server, certificates) as connection:
            connection.sendall(call("/echo", TEXT))
            assert server.read(connection, 1)[0].status == 200
        dripping.settimeout(20)
        with suppress(ConnectionResetError):
            assert dripping.recv(1000) == b""


def test_a_client_that_leaves_takes_its_call_along(server: Any, certificates: Path) -> None:
    Demo.gate.clear()
    Demo.has_begun.clear()
    held = next(e for e in server.server.endpoints if e.api.name == "held")
    first, second = (secured(server, certificates) for _ in range(2))
    first.sendall(call("/held", TEXT))
    assert Demo.has_begun.wait(20)
    second.sendall(call("/held", TEXT))
    server.wait_until(lambda: held.queue.waiting_rows == 1)
    second.close()
    server.wait_until(lambda: held.queue.waiting_rows == 0)
    Demo.gate.set()

    assert server.read(first, 1)[0].status == 200
    first.close()


# --- the end --------------------------------------------------------------------------------------


def test_the_end_loses_no_request_and_waits_for_no_goodbye(server: Any, certificates: Path) -> None:
    """A client that keeps a connection in its pool does not read what is said there."""
    Demo.gate.clear()
    Demo.has_begun.clear()
    idle, busy, late = (secured(server, certificates) for _ in range(3))
    busy.sendall(call("/held", TEXT))
    assert Demo.has_begun.wait(20)
    server.loop.call_soon_threadsafe(server.server.stop)
    late.sendall(call("/held", TEXT))
    time.sleep(0.1)
    Demo.gate.set()

    assert [a.header("connection") for a in server.read(busy, 1)] == ["close"]
    assert [a.header("connection") for a in server.read(late, 1)] == ["close"]
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 4.0  # grace_s is 5
    for one in (idle, busy, late):
        one.close()


def test_a_dripping_handshake_does_not_hold_up_the_end(start: Start, certificates: Path) -> None:
    server = start(Demo, **tls(certificates))
    with server.connect() as dripping:
        dripping.sendall(b"\x16\x03\x01")
        server.wait_until(lambda: server.server._acceptor.is_opening)

        assert server.stop() == 0


# --- certificates of clients ----------------------------------------------------------------------


@pytest.fixture
def strict(start: Start, certificates: Path) -> Any:
    return start(Demo, **tls(certificates, tls_client_ca=str(certificates / "ca.crt")))


def test_a_client_with_a_certificate_of_the_authority_is_served(
    strict: Any, certificates: Path
) -> None:
    with secured(strict, certificates, client="client") as connection:
        connection.sendall(call("/echo", TEXT))
        assert strict.read(connection, 1)[0].status == 200


@pytest.mark.parametrize("client", [None, "other"])
def test_another_client_is_not(strict: Any, certificates: Path, client: str | None) -> None:
    def answers() -> list[Any]:
        with secured(strict, certificates, client=client) as connection:
            connection.sendall(call("/echo", TEXT))
            return list(strict.read(connection, 1))

    with suppress(ssl.SSLError, ConnectionError):
        assert answers() == []


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"tls_cert": "missing.crt"}, r"tls_cert: cannot read '.*missing.crt': no such file"),
        ({"tls_cert": "server.key"}, r"tls_cert: '.*server.key' holds no certificate"),
        ({"tls_cert": "server.crt"}, r"tls_key: '.*server.crt' holds no private key"),
        ({"tls_cert": "server.crt", "tls_key": "missing.key"}, r"tls_key: cannot read"),
        ({"tls_cert": "server.crt", "tls_key": "other.key"}, r"other.key' is not the key of"),
        ({"tls_cert": "server.crt", "tls_key": "locked.key"}, r"locked with a password"),
        ({"tls_cert": "."}, r"cannot read"),
        ({"tls_cert": "both.pem", "tls_client_ca": "missing"}, r"tls_client_ca: cannot read"),
        ({"tls_cert": "both.pem", "tls_client_ca": "ca.key"}, r"tls_client_ca: .* no certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    certificates: Path, files: dict[str, str], what: str
) -> None:
    settings = ServerSettings(**{name: str(certificates / file) for name, file in files.items()})

    with pytest.raises(UsageError, match=what) as refused:
        context_for(settings)

    assert refused.value.hint
    assert refused.value.exit_code == 2


def test_a_file_that_is_nearly_pem_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.pem"
    lines = [f"-----{edge} {what}-----" for what in ("CERTIFICATE", "PRIVATE KEY")
             for edge in ("BEGIN", "END")]  # fmt: skip
    file.write_text("\n".join(lines))

    with pytest.raises(UsageError, match=r"broken.pem"):
        context_for(ServerSettings(tls_cert=str(file)))


def test_certificate_and_key_may_stand_in_one_file(certificates: Path) -> None:
    context = context_for(ServerSettings(tls_cert=str(certificates / "both.pem")))

    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context_for(ServerSettings()) is None
