"""The admin socket: few orders, for the server's own user alone, and no way to stop the server."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., Any]
Project = Callable[..., Path]


@pytest.fixture
def server(launch: Launch, project: Project) -> Any:
    return launch(project())


def raw(server: Any, data: bytes) -> bytes:
    """Send bytes to the admin socket; returns all that comes back."""
    folder = os.open(server.socket.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(f"/proc/self/fd/{folder}/{server.socket.name}")
        os.close(folder)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def test_only_its_user_may_open_it_and_it_goes_with_the_server(server: Any) -> None:
    assert server.socket.stat().st_mode & 0o777 == 0o600

    server.signal(signal.SIGTERM)

    assert server.wait() == 0
    assert not server.socket.exists()


def test_status_says_what_is_served_and_by_what(server: Any) -> None:
    status, said = server.admin("GET", "/status")

    assert status == 200
    assert said["state"] == "ready"
    assert (said["service"], said["tag"], said["url"]) == ("doubler", "doubler:1", server.url)
    assert said["workers"] == [{"pid": server.process.pid, "state": "ready"}]
    assert said["pid"] == server.process.pid
    assert said["replicas"] == 1
    assert said["runner"] in ("inline", "thread")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/stop", 404),
        ("POST", "/shutdown", 404),
        ("DELETE", "/status", 405),
        ("GET", "/swap", 405),
        ("POST", "/double", 404),
        ("GET", "/metrics", 404),
    ],
)
def test_there_is_nothing_else(server: Any, method: str, path: str, status: int) -> None:
    assert server.admin(method, path)[0] == status
    assert server.process.poll() is None


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/scale", {}, 400, "usage"),
        ("/scale", {"replicas": 0}, 400, "usage"),
        ("/scale", {"replicas": "2"}, 400, "usage"),
        ("/scale", {"replicas": True}, 400, "usage"),
        ("/scale", {"replicas": 2, "more": 1}, 400, "usage"),
        ("/scale", [1], 400, "usage"),
        ("/workers", {"workers": 2}, 400, "usage"),
        ("/swap", {"bundle": "relative"}, 400, "usage"),
        ("/swap", {"bundle": "/nowhere"}, 404, "not-found"),
        ("/swap", {"bundle": "/tmp"}, 400, "usage"),
        ("/swap", {"model": "/nowhere.onnx"}, 404, "not-found"),
        ("/swap", {"url": "http://elsewhere/"}, 400, "usage"),
        ("/swap", {"tag": 5}, 400, "usage"),
    ],
)
def test_what_cannot_be_is_refused(
    server: Any, path: str, body: object, status: int, code: str
) -> None:
    answer, said = server.admin("POST", path, body)

    assert (answer, said["code"]) == (status, code)
    assert said["detail"]
    assert server.post("/double", {"x": [1]}) == [2]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nhost: x\r\n", 400),
        (b"POST /scale HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{", 400),
        (b"POST /scale HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n" + b"x" * 99999, 400),
        (b"GET /status HTTP/1.1\r\nhost: x\r\n\r\nGET /status HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ],
)
def test_what_is_not_one_request_is_refused(server: Any, data: bytes, status: int) -> None:
    answer = raw(server, data)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head
    json.loads(body)


def test_replicas_change_under_load_and_no_request_is_lost(
    server: Any, load: Callable[..., Any]
) -> None:
    asked = load(server)
    for replicas in (3, 1, 2):
        asked.wait_for(10)
        status, said = server.admin("POST", "/scale", {"replicas": replicas})
        assert (status, said["replicas"]) == (200, replicas)
    asked.wait_for(10)

    assert {status for status, _ in asked.stop()} == {200}


def test_a_folder_that_others_may_write_to_is_refused(launch: Launch, project: Project) -> None:
    folder = project()
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    server = launch(folder, admin_socket=str(shared / "admin.sock"), ready=False)

    assert server.wait() == 4
    assert "others may write to" in server.log.read_text()


def test_a_socket_that_is_in_use_is_left_alone_and_a_dead_one_is_replaced(
    launch: Launch, project: Project
) -> None:
    folder = project()
    first = launch(folder)
    second = launch(folder, admin_socket=str(first.socket), ready=False)
    assert second.wait() == 5
    assert first.admin("GET", "/status")[0] == 200

    first.signal(signal.SIGKILL)
    first.wait()
    assert first.socket.exists()
    third = launch(folder, admin_socket=str(first.socket))
    third.socket = first.socket
    assert third.admin("GET", "/status")[1]["pid"] == third.process.pid


def test_metrics_can_have_a_port_of_their_own(launch: Launch, project: Project) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = launch(project(), metrics_port=port, workers=2)
    server.post("/double", {"x": [1]})

    assert server.get("/metrics")[0] == 404
    main, server.url = server.url, f"http://127.0.0.1:{port}"
    assert server.metric('modelpack_requests_total{api="double"') == 1
    assert server.get("/readyz")[0] == 404
    assert server.post("/double", {"x": [1]})["code"] == "not-found"

    server.url = main
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
