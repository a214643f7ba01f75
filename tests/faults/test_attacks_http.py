"""S13 and S14: what listens where, who may manage it, and messages that are no HTTP."""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def plain(serve_once: Any) -> Any:
    return serve_once("plain")


def test_s13_by_default_only_this_machine_is_listened_to(plain: Any) -> None:
    listening = _listening_addresses(plain.tree())

    assert {host for host, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == {plain.port}


def _listening_addresses(pids: list[int]) -> set[tuple[str, int]]:
    found = set()
    for pid in pids:
        links = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in links:
                    host, port = words[1].split(":")
                    packed = struct.pack("<I", int(host, 16)) if len(host) == 8 else b""
                    name = socket.inet_ntoa(packed) if packed else host
                    found.add((name, int(port, 16)))
    return found


@pytest.mark.parametrize(
    "path",
    ["/shutdown", "/stop", "/swap", "/scale", "/workers", "/admin", "/status", "/debug", "/config"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_s13_there_is_no_way_to_manage_the_server_over_its_port(
    plain: Any, method: str, path: str
) -> None:
    assert plain.client.request(method, path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/repository/models/{model}/load", 403),
        ("POST", "/v2/repository/models/{model}/unload", 403),
        ("POST", "/models", 405),
        ("POST", "/models?url=/tmp/x", 405),
        ("PUT", "/models/{model}?min_worker=2", 405),
        ("DELETE", "/models/{model}", 405),
    ],
)
def test_s13_what_other_servers_are_managed_by_is_refused(
    plain: Any, method: str, path: str, status: int
) -> None:
    model = plain.client.get("/v2/models").json()["models"][0]

    assert plain.client.request(method, path.format(model=model)).status_code == status


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"host": "127.0.0.1.evil.example:3000"}]
)
def test_s13_pages_answer_only_to_hosts_of_this_machine(
    plain: Any, path: str, headers: dict[str, str]
) -> None:
    assert plain.client.get(path, headers=headers).status_code in (400, 403, 421)
    assert plain.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_s13_probes_answer_to_any_host(plain: Any, path: str) -> None:
    assert plain.client.get(path, headers={"host": "10.1.2.3"}).status_code == 200


def test_s13_the_admin_socket_is_for_its_owner_alone(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"
    path.parent.mkdir(mode=0o700)
    old = os.umask(0)
    try:
        served = serve("plain", admin_socket=path)
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert served.stop() == 0
    assert not path.exists()


MALFORMED = {
    "both lengths": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 0\r\n\r\n",
    "length list": b"content-length: 0, 0\r\n\r\n",
    "signed length": b"content-length: +0\r\n\r\n",
    "hex length": b"content-length: 0x0\r\n\r\n",
    "spaced length": b"content-length: 1 0\r\n\r\n",
    "empty length": b"content-length: \r\n\r\n",
    "huge length": b"content-length: 99999999999999999999999\r\n\r\n",
    "unknown coding": b"transfer-encoding: gzip\r\n\r\n",
    "coding list": b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "double chunked": b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "odd coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before colon": b"content-length : 0\r\n\r\n",
    "folded": b"x-a: 1\r\n b\r\ncontent-length: 0\r\n\r\n",
    "bare carriage return": b"x-a: 1\rb\r\ncontent-length: 0\r\n\r\n",
    "nul": b"x-a: 1\x00\r\ncontent-length: 0\r\n\r\n",
    "no name": b": 1\r\ncontent-length: 0\r\n\r\n",
    "two hosts": b"host: y\r\ncontent-length: 0\r\n\r\n",
    "bad chunk size": b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    "negative chunk": b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    "long chunk": b"transfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n",
}


@pytest.mark.parametrize("rest", MALFORMED.values(), ids=MALFORMED.keys())
def test_s14_a_malformed_message_is_refused_and_the_connection_ends(
    plain: Any, rest: bytes
) -> None:
    head = b"POST /double HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    hidden = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"

    answer = plain.send(head + rest + hidden)

    assert re.match(rb"HTTP/1.1 4(00|13) ", answer), answer[:80]
    assert answer.count(b"HTTP/1.1 ") == 1  # what was smuggled behind is not answered


def test_s14_a_header_block_over_32_kib_is_a_431(plain: Any) -> None:
    data = b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 33_000 + b"\r\n\r\n"

    assert plain.send(data).startswith(b"HTTP/1.1 431 ")
