"""The address is this process's own, or it is said why not."""

from __future__ import annotations

import os
import socket

import pytest

from modelpack.errors import PortInUseError, UsageError
from modelpack.server.http.listening import listen_on, refuse_newcomers, url_of


def test_a_free_port_is_taken_and_told() -> None:
    with listen_on("127.0.0.1", 0) as listener:
        url = url_of(listener)
        port = listener.getsockname()[1]

        assert url == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_said_and_never_shared(other: str) -> None:
    with listen_on(other, 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port} is in use") as caught:
            listen_on("127.0.0.1", port)

    assert "--port" in str(caught.value.hint)


def test_not_even_with_one_that_would_share() -> None:
    with socket.socket() as sharing:
        sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sharing.bind(("127.0.0.1", 0))
        sharing.listen()
        with pytest.raises(PortInUseError):
            listen_on("127.0.0.1", sharing.getsockname()[1])


def test_a_port_can_be_taken_again_right_after_it_was_used() -> None:
    with listen_on("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            while True:
                try:
                    accepted, _ = listener.accept()
                    break
                except BlockingIOError:
                    continue
            accepted.close()  # our side closes first: the kernel remembers the connection
            assert client.recv(1) == b""

    with listen_on(*address) as again:
        assert again.getsockname() == address


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a" * 300, "host.invalid"])
def test_what_is_no_address_of_this_machine_is_said(host: str) -> None:
    with pytest.raises(UsageError, match="is not a"):
        listen_on(host, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_that_needs_rights_is_said() -> None:
    with pytest.raises(UsageError, match="may not listen on port 1"):
        listen_on("127.0.0.1", 1)


def test_every_address_is_shown_as_one_that_can_be_opened() -> None:
    with listen_on("0.0.0.0", 0) as listener:
        assert url_of(listener).startswith("http://127.0.0.1:")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_addresses_stand_in_brackets() -> None:
    try:
        listener = listen_on("::1", 0)
    except UsageError:
        pytest.skip("no IPv6 loopback address")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")


def test_newcomers_are_ignored_and_those_that_came_before_are_not() -> None:
    with listen_on("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        before = socket.create_connection(address, timeout=5)
        refuse_newcomers(listener.fileno())
        with socket.socket() as newcomer:
            newcomer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                newcomer.connect(address)
        accepted, _ = listener.accept()
        accepted.sendall(b"x")

        assert before.recv(1) == b"x"
        with pytest.raises(BlockingIOError):
            listener.accept()
        accepted.close()
        before.close()
