"""A port is somebody's from the moment in which it is chosen."""

from __future__ import annotations

import socket

import pytest

from modelpack.deploy.ports import check_port_is_free, free_port, listen, port_of, reserve
from modelpack.errors import PortInUseError, UsageError


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} of '127.0.0.1'"):
            check_port_is_free("127.0.0.1", port)
    check_port_is_free("127.0.0.1", port)


def test_who_is_meant_can_listen_at_a_reserved_port_and_nobody_is_given_it() -> None:
    with reserve("127.0.0.1") as holder:
        port = port_of(holder)
        taken = [reserve("127.0.0.1") for _ in range(50)]
        assert port not in [port_of(one) for one in taken]
        for one in taken:
            one.close()
        with socket.create_server(("127.0.0.1", port)):  # as servers do: with SO_REUSEADDR
            pass
        with listen("127.0.0.1", port), pytest.raises(PortInUseError):
            reserve("127.0.0.1", port)


def test_who_connects_waits_until_somebody_accepts() -> None:
    with listen("127.0.0.1", 0) as listener:
        client = socket.create_connection(("127.0.0.1", port_of(listener)), timeout=10)
        client.sendall(b"hello")
        accepted, _ = listener.accept()
        with client, accepted:
            accepted.settimeout(10)
            assert accepted.recv(5) == b"hello"


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
def test_an_address_of_another_machine_is_said(host: str) -> None:
    with pytest.raises(UsageError, match=f"deploy.host: '{host}' cannot be listened at") as caught:
        free_port(host)
    assert "127.0.0.1" in (caught.value.hint or "")
