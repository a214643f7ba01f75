"""Connections: what they take for an answer, when they are kept, proxies, TLS, other versions."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.client.errors import (
    CallError,
    CallForbiddenError,
    CallLostError,
    CallRefusedError,
    CallTimeoutError,
    CallUnknownError,
)
from modelpack.client.place import Tls, place_of, proxy_for
from modelpack.errors import UsageError
from tests.client.conftest import (
    BEGIN_STREAM,
    DOCUMENT,
    STREAM,
    Certificate,
    answer,
    chunk,
    requests_of,
)

Asks = Any
Play = Any
ONCE = modelpack.Retry(attempts=1)


def call(asks: Asks, url: str, **options: Any) -> Any:
    return asks(url, retry=ONCE, **options).call("predict", {"n": 1}).value


# --- what is an answer --------------------------------------------------------------------------


def test_an_answer_may_come_in_chunks(asks: Asks, script: Play) -> None:
    server = script(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\n4\r\n1\r\n2\r\n0\r\n\r\n"
    )

    assert call(asks, server.url) == 42


def test_an_answer_may_come_byte_by_byte(asks: Asks, script: Play) -> None:
    def drip(connection: socket.socket) -> None:
        for byte in answer(200, b"1234"):
            connection.sendall(bytes([byte]))

    assert call(asks, script(drip).url) == 1234


def test_an_answer_without_a_length_ends_with_its_connection(asks: Asks, script: Play) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n77")

    assert call(asks, script(play).url) == 77


def test_an_interim_answer_is_passed_over(asks: Asks, script: Play) -> None:
    server = script(b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + answer(200, b"6"))

    assert call(asks, server.url) == 6


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-ty",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n",
    ],
    ids=["head", "length", "chunks"],
)
def test_half_an_answer_is_none(asks: Asks, script: Play, cut: bytes) -> None:
    server = script(lambda connection: connection.sendall(cut))

    with pytest.raises(CallLostError, match="closed before the answer was whole"):
        call(asks, server.url)


def test_what_does_not_speak_http_is_said(asks: Asks, script: Play) -> None:
    server = script(lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"))

    with pytest.raises(CallLostError, match="does not speak HTTP"):
        call(asks, server.url)


def test_a_refusal_is_read_also_when_the_body_was_not_taken(asks: Asks, script: Play) -> None:
    """A server that answers 413 and hangs up while the body is still on its way."""

    def refuse(connection: socket.socket) -> None:
        connection.sendall(answer(413, b"", "connection: close"))
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(1 << 20):  # until the client has seen it
            pass

    client = asks(script(refuse).url, retry=ONCE)

    with pytest.raises(CallRefusedError) as caught:
        client.call("predict", {"n": "x" * 3_000_000})
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"{", b"[1,", b"\xff"])
def test_an_answer_that_is_no_json_is_said(asks: Asks, script: Play, body: bytes) -> None:
    with pytest.raises(CallError, match="not JSON"):
        call(asks, script(answer(200, body)).url)


def test_an_answer_of_another_type_is_said(asks: Asks, script: Play) -> None:
    with pytest.raises(CallError, match="is 'text/html', not application/json"):
        call(asks, script(answer(200, b"<p>", kind="text/html")).url)


def test_an_error_page_of_a_gateway_is_known_by_its_status(asks: Asks, script: Play) -> None:
    with pytest.raises(CallError, match="status 502: bad gateway") as caught:
        call(asks, script(answer(502, b"<html>", kind="text/html")).url)

    assert caught.value.code == "call-failed"


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_ask_is_told_how_to_say_who_asks(asks: Asks, script: Play, status: int) -> None:
    with pytest.raises(CallForbiddenError) as caught:
        call(asks, script(answer(status)).url)

    assert caught.value.exit_code == 4
    assert "authorization" in str(caught.value.hint)


def test_a_redirect_is_not_followed_but_named(asks: Asks, script: Play) -> None:
    with pytest.raises(CallError) as caught:
        call(asks, script(answer(308, b"", "location: https://other.example/predict")).url)

    assert caught.value.hint == "call 'https://other.example/predict' instead"


@pytest.mark.parametrize(
    "document", [b"<html>", b"[]", b'{"openapi": "3.1.0"}', b'{"info":1,"paths":2}']
)
def test_a_server_of_another_kind_is_said(asks: Asks, document: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer(200, document))

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(CallError, match="not what a service shows"):
            call(asks, f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


# --- streams ------------------------------------------------------------------------------------


def test_a_stream_whose_next_piece_does_not_come_is_given_up(asks: Asks, script: Play) -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(BEGIN_STREAM + chunk(b"1\n"))
        connection.settimeout(10)
        connection.recv(1)

    client = asks(script(stall, document=STREAM).url, timeout_s=0.3)

    with pytest.raises(CallTimeoutError):
        client.pieces("predict", n=1)
    assert client.read == [1]


def test_a_stream_that_breaks_off_is_not_taken_for_a_whole_one(asks: Asks, script: Play) -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(BEGIN_STREAM + chunk(b"1\n2\n3"))

    client = asks(script(cut, document=STREAM).url)

    with pytest.raises(CallLostError):
        client.pieces("predict", n=1)
    assert client.read == [1, 2]


def test_pieces_may_be_cut_anywhere(asks: Asks, script: Play) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(BEGIN_STREAM + b"".join(chunk(bytes([b])) for b in b"12\n\n345\n6"))
        connection.sendall(chunk(b""))

    client = asks(script(drip, document=STREAM).url)

    assert client.pieces("predict", n=1) == [12, 345, 6]


def test_a_slow_reader_holds_its_stream_back(asks: Asks, script: Play) -> None:
    """What is not taken stays with the server, and not in the memory of the client."""
    sent = 0
    stopped = threading.Event()

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        piece = chunk(b"7\n" * 32768)
        connection.settimeout(0.5)
        connection.sendall(BEGIN_STREAM)
        try:
            while sent < 200_000_000:
                connection.sendall(piece)
                sent += len(piece)
        except TimeoutError:
            stopped.set()

    client = asks(script(pour, document=STREAM).url)
    stream = client.value("predict", n=1)

    def first() -> Any:
        return next(stream)

    async def first_awaited() -> Any:
        piece = await anext(stream)
        await asyncio.get_running_loop().run_in_executor(None, stopped.wait, 20)
        return piece

    if isinstance(client.client, modelpack.Client):
        assert first() == 7
        assert stopped.wait(20)
        stream.close()
    else:
        assert client.runner.run(first_awaited()) == 7
        client.runner.run(stream.close())
    assert stopped.is_set()
    assert sent < 50_000_000


def test_long_bodies_go_both_ways(asks: Asks, served: str) -> None:
    rows = np.random.default_rng(1).random((500_000, 4), dtype=np.float32)

    assert np.array_equal(asks(served).value("predict", x=rows), rows.sum(axis=1))


# --- connections that are kept ------------------------------------------------------------------


def test_calls_share_a_connection(asks: Asks, script: Play) -> None:
    server = script(answer(200))
    client = asks(server.url)

    for _ in range(5):
        client.call("predict", {"n": 1})

    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    asks: Asks, script: Play
) -> None:
    server = script(answer(200), closes=True)
    client = asks(server.url, retry=ONCE)

    for _ in range(5):
        assert client.call("predict", {"n": 1}).attempts == 1
        time.sleep(0.05)  # its end has to arrive

    assert len(server.heard) == 5


def test_what_nobody_asked_for_ends_a_connection(asks: Asks, script: Play) -> None:
    server = script(answer(200, b"1") + answer(200, b"2"), answer(200, b"3"))
    client = asks(server.url, retry=ONCE)

    assert client.call("predict", {"n": 1}).value == 1
    assert client.call("predict", {"n": 1}).value == 3
    assert server.heard[0].connection != server.heard[1].connection


def test_a_connection_is_not_kept_when_the_server_says_so(asks: Asks, script: Play) -> None:
    server = script(answer(200, b"1", "connection: close"))
    client = asks(server.url, retry=ONCE)

    client.call("predict", {"n": 1})
    client.call("predict", {"n": 1})

    assert [one.connection for one in server.heard] == [0, 1]


def test_a_call_that_took_too_long_leaves_no_answer_for_the_next(asks: Asks, script: Play) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(0.4)
        connection.sendall(answer(200, b"13"))

    client = asks(script(late, answer(200, b"14")).url, retry=ONCE)

    with pytest.raises(CallTimeoutError):
        client.call("predict", {"n": 1}, timeout_s=0.1)
    assert client.call("predict", {"n": 1}).value == 14


def test_a_child_process_has_connections_of_its_own(script: Play) -> None:
    server = script(answer(200))
    client = modelpack.Client(server.url)
    client.call("predict", {"n": 1})

    child = os.fork()
    if child == 0:
        os._exit(0 if client.call("predict", {"n": 1}).value == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    client.call("predict", {"n": 1})
    client.close()

    assert [one.connection for one in server.heard] == [0, 1, 0]


async def _cancelled(url: str) -> None:
    async with modelpack.AsyncClient(url) as client:
        await client.service()
        task = asyncio.create_task(client.predict(n=1))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_a_task_that_is_cancelled_hangs_up(script: Play) -> None:
    gone = threading.Event()

    def wait(connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            if connection.recv(1) == b"":
                gone.set()
        except ConnectionResetError:
            gone.set()

    asyncio.run(_cancelled(script(wait).url))

    assert gone.wait(10)


def test_a_client_may_be_used_in_one_loop_after_the_other(script: Play) -> None:
    server = script(answer(200, b"4"))
    client = modelpack.AsyncClient(server.url)

    async def once() -> Any:
        try:
            return await client.predict(n=1)
        finally:
            await client.close()

    assert [asyncio.run(once()), asyncio.run(once())] == [4, 4]


# --- paths and headers --------------------------------------------------------------------------


def test_a_path_in_the_url_stands_before_every_route(asks: Asks, script: Play) -> None:
    server = script(answer(200))

    call(asks, f"{server.url}/models/digits/", headers={"Authorization": "Bearer t"})

    assert requests_of(server.heard) == ["POST /models/digits/predict HTTP/1.1"]
    heard = server.heard[0]
    assert heard.header("authorization") == "Bearer t"
    assert heard.header("host") == f"127.0.0.1:{server.port}"
    assert heard.header("user-agent").startswith("modelpack/")


# --- proxies ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_a_proxy_of_the_environment_is_given_the_whole_url(
    asks: Asks, script: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = script(answer(200, b"8"))
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")

    assert call(asks, "http://service.invalid/base") == 8
    assert requests_of(proxy.heard) == ["POST http://service.invalid/base/predict HTTP/1.1"]
    assert proxy.heard[0].header("proxy-authorization") == "Basic bWU6cEBzcw=="
    assert proxy.heard[0].header("host") == "service.invalid"


def test_no_proxy_stands_between_this_machine_and_itself(
    asks: Asks, script: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = script(answer(200, b"8"))
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert call(asks, server.url) == 8
    assert call(asks, server.url.replace("127.0.0.1", "localhost")) == 8


def test_no_proxy_is_asked_for_hosts_that_are_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:8080")
    monkeypatch.setenv("NO_PROXY", "inside.example,.local.example")

    assert proxy_for(place_of("https://inside.example")) is None
    assert proxy_for(place_of("https://a.local.example:8443")) is None
    found = proxy_for(place_of("https://outside.example"))
    assert found is not None
    assert (found.place.host, found.place.port) == ("proxy.example", 8080)
    assert proxy_for(place_of("http://outside.example")) is None


def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    asks: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://me:secret@proxy.example:1080")

    with pytest.raises(UsageError, match=r"proxy.example:1080") as caught:
        asks("http://service.invalid")
    assert "secret" not in str(caught.value)


def tunnel(to: int, status: int = 200) -> Callable[[socket.socket], None]:
    """Return a proxy that lets its client through to a port, or does not."""

    def play(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        if status != 200:
            return
        with socket.create_connection(("127.0.0.1", to)) as onward:
            back = threading.Thread(target=copy, args=(onward, connection))
            back.start()
            copy(connection, onward)
            back.join()

    return play


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_tls_goes_through_a_proxy(
    asks: Asks, script: Play, monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    server = script(answer(200, b"9"), context=certificate.context())
    proxy = script(tunnel(server.port))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")

    assert call(asks, "https://service.invalid", ca=certificate.file) == 9
    assert requests_of(proxy.heard) == ["CONNECT service.invalid:443 HTTP/1.1"]
    assert requests_of(server.heard) == ["POST /predict HTTP/1.1"]


def test_a_proxy_that_does_not_let_us_through_is_named(
    asks: Asks, script: Play, monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    proxy = script(tunnel(0, 407))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")

    with pytest.raises(CallLostError, match="status 407") as caught:
        call(asks, "https://service.invalid", ca=certificate.file)
    assert not caught.value.may_have_run


# --- TLS ----------------------------------------------------------------------------------------


def test_a_server_is_believed_by_the_authority_that_is_named(
    asks: Asks, script: Play, certificate: Certificate
) -> None:
    server = script(answer(200, b"2"), context=certificate.context())

    assert call(asks, server.url, ca=certificate.file) == 2
    assert call(asks, server.url, verify=False) == 2


def test_the_well_known_authorities_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)

    assert len(Tls().context().get_ca_certs()) > 50


def test_a_server_that_nobody_vouches_for_is_not_believed(
    asks: Asks, script: Play, certificate: Certificate
) -> None:
    server = script(answer(200, b"2"), context=certificate.context())
    client = asks(server.url, retry=modelpack.Retry(first_s=5))

    with pytest.raises(CallLostError, match="certificate is not trusted") as caught:
        client.call("predict", {"n": 1})
    assert caught.value.attempts == 1
    assert server.heard == []


def test_a_server_may_ask_who_we_are(asks: Asks, script: Play, certificate: Certificate) -> None:
    server = script(answer(200, b"2"), context=certificate.context(asks_for_one=True))

    assert call(
        asks, server.url, ca=certificate.file, cert=certificate.file, key=certificate.key
    ) == 2  # fmt: skip
    with pytest.raises(CallLostError):
        call(asks, server.url, ca=certificate.file)


def test_plain_http_where_tls_was_meant_is_said(asks: Asks, served: str) -> None:
    with pytest.raises(CallLostError) as caught:
        call(asks, served.replace("http", "https"))

    assert caught.value.hint == f"does it speak plain HTTP? then '{served}'"


@pytest.mark.parametrize("name", ["ca", "cert"])
def test_files_of_tls_that_are_none_are_named(asks: Asks, tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.pem"
    with pytest.raises(UsageError, match=r"TLS: .*x.pem.*no such file"):
        asks("https://127.0.0.1:1", **{name: file})
    file.write_text("nothing")
    with pytest.raises(UsageError, match=r"TLS: '.*x.pem': no certificate .* in PEM$"):
        asks("https://127.0.0.1:1", **{name: file})


def test_a_certificate_without_its_key_asks_for_it(asks: Asks, certificate: Certificate) -> None:
    with pytest.raises(UsageError, match="no certificate with its key") as caught:
        asks("https://127.0.0.1:1", cert=certificate.file)
    assert caught.value.hint == "name the file of the key: key, or --key"


def test_a_certificate_of_another_name_is_told_from_one_of_another_authority(
    asks: Asks, script: Play, certificate: Certificate
) -> None:
    server = script(answer(200, b"2"), context=certificate.context())
    once = modelpack.Retry(attempts=1)

    with pytest.raises(CallLostError) as foreign:
        asks(server.url, retry=once).call("predict", {"n": 1})
    assert foreign.value.hint == "name the file of its authority: ca, or --ca"

    other = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(CallLostError, match="mismatch") as named:
        asks(other, retry=once, ca=certificate.file).call("predict", {"n": 1})
    assert named.value.hint == "call it by a name that is in its certificate"


def test_tls_where_plain_http_was_meant_is_said(
    asks: Asks, script: Play, certificate: Certificate
) -> None:
    server = script(answer(200, b"2"), context=certificate.context())
    plain = server.url.replace("https", "http")

    with pytest.raises(CallLostError) as caught:
        asks(plain, retry=modelpack.Retry(attempts=1)).call("predict", {"n": 1})

    assert caught.value.hint is not None
    assert "one that speaks TLS is named by https://" in caught.value.hint


# --- another version ----------------------------------------------------------------------------


def test_what_a_server_offers_is_read_again_when_it_has_changed(
    asks: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes 'm' now, where it took 'n'."""
    monkeypatch.setattr("modelpack.client.calls._STALE_S", 0.0)
    documents = [DOCUMENT, DOCUMENT.replace(b'"n"', b'"m"')]
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                for body in (documents[0], b"1", documents[1], b"2"):
                    sent.append(connection.recv(65536))
                    connection.sendall(answer(200, body))

        thread = threading.Thread(target=talk)
        thread.start()
        client = asks(f"http://127.0.0.1:{listener.getsockname()[1]}", retry=ONCE)
        assert client.call("predict", {"n": 1}).value == 1
        assert client.call("predict", {"m": 1}).value == 2
        thread.join()

    assert sent[3].endswith(b'{"m":1}')


def test_what_a_server_offers_is_read_by_one_for_all(script: Play) -> None:
    server = script(answer(200))

    async def many() -> None:
        async with modelpack.AsyncClient(server.url) as client:
            await asyncio.gather(*(client.predict(n=1) for _ in range(20)))

    asyncio.run(many())
    with modelpack.Client(server.url) as client:
        words = ("predict", {"n": 1})
        threads = [threading.Thread(target=client.call, args=words) for _ in range(10)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    assert server.looks == 2
    assert len(server.heard) == 30


def test_an_api_that_went_away_is_said_as_it_was(
    asks: Asks, script: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelpack.client.calls._STALE_S", 0.0)

    with pytest.raises(CallUnknownError) as caught:
        call(asks, script(answer(404)).url)
    assert caught.value.status == 404
