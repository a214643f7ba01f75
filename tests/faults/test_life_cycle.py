"""F24 to F30: signals, kills, ports, new versions, clocks, and fifty crashes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

PIECES: list[dict[str, Any]] = [
    {},
    {"runner": "process"},
    {"workers": 2},
    {"workers": 2, "runner": "process", "replicas": 2},
]
ROW = {"x": [[1.0, 2.0]]}


def named(settings: dict[str, Any]) -> str:
    return "-".join(settings) or "one-process"


def post(body: bytes, path: str = "/double") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("settings", PIECES, ids=named)
@pytest.mark.parametrize("to", ["process", "group"])
def test_f24_sigterm_under_load_loses_nothing(
    serve: Any, settings: dict[str, Any], to: str
) -> None:
    served = serve("batched", popen={"start_new_session": True}, **settings)
    data = post(b'{"x": [[1.0, 2.0]]}')
    with ExitStack() as stack:
        # Some are read at once, some the server has not even accepted when the signal comes.
        clients = [stack.enter_context(served.connect()) for _ in range(60)]
        for client in clients[:50]:
            client.sendall(data)
        if to == "group":
            os.killpg(served.pid, signal.SIGTERM)
        else:
            os.kill(served.pid, signal.SIGTERM)
        for client in clients[50:]:
            client.sendall(data)
        answers = [_read_to_end(client) for client in clients]

    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 60
    assert served.process.wait(30) == 0
    assert "Traceback" not in served.text()


def _read_to_end(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("settings", PIECES, ids=named)
def test_f25_sigterm_while_an_item_hangs_ends_in_time(serve: Any, settings: dict[str, Any]) -> None:
    served = serve("batched", grace_s=1, **settings)
    with served.connect() as client:
        client.sendall(post(b'{"x": [[99.0, 2.0]]}'))
        served.wait_until(lambda: served.counter("modelpack_in_flight_requests") == 1)
        tree = served.tree()
        began = time.monotonic()
        os.kill(served.pid, signal.SIGTERM)
        answer = _read_to_end(client)
        status = served.process.wait(30)
        took = time.monotonic() - began

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"unavailable"' in answer
    assert took < 1 + 2 + 1  # grace, two seconds, and one for a busy machine
    assert status in (0, 1)
    served.wait_until(lambda: not any(_is_alive(pid) for pid in tree), within=5)


@pytest.mark.parametrize("settings", PIECES, ids=named)
def test_f26_kill_9_leaves_nothing_behind(serve: Any, settings: dict[str, Any]) -> None:
    served = serve("batched", **settings)
    tree = served.tree()
    assert len(tree) >= 1 + settings.get("workers", 1) - 1

    os.kill(served.pid, signal.SIGKILL)
    served.process.wait()

    served.wait_until(lambda: not any(_is_alive(pid) for pid in tree), within=5)
    served.wait_until(lambda: _is_free(served.port), within=5)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_f27_a_port_in_use_is_one_line_that_names_address_and_option(
    serve: Any, workers: int
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        served = serve("plain", "--port", str(port), ready=False, workers=workers)

        assert served.process.wait(30) == 1
    said = [line for line in served.text().splitlines() if not line.startswith("{")]
    assert said[0] == f"error[port-in-use]: 127.0.0.1:{port} is in use"
    assert "--port" in said[1]
    assert len(said) == 2


VERSION = """
from modelpack import Tensor, api, service


@service
class Versioned:
    def __init__(self) -> None:
        {init}

    @api
    def version(self) -> int:
        return {number}
"""


def version(number: int, init: str = "pass") -> str:
    return VERSION.replace("{number}", str(number)).replace("{init}", init)


@pytest.fixture
def swapping(serve: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that starts a server and one that swaps its code."""

    def begin(**settings: Any) -> tuple[Any, Callable[[str], subprocess.CompletedProcess[str]]]:
        served = serve("plain", admin_socket=tmp_path / "admin.sock", **settings)

        def swap(code: str) -> subprocess.CompletedProcess[str]:
            (served.folder / "service.py").write_text(code)
            command = ["curl", "-sS", "--unix-socket", str(tmp_path / "admin.sock"), "-w",
                       " %{http_code}", "-d", "{}", "http://x/swap"]  # fmt: skip
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        return served, swap

    return begin


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
@pytest.mark.parametrize("settings", PIECES, ids=named)
def test_f28_a_new_version_is_swapped_in_and_no_request_fails(
    swapping: Any, settings: dict[str, Any]
) -> None:
    served, swap = swapping(**settings)
    assert swap(version(1)).stdout.endswith(" 200"), served.text()

    with served.load("/version", {}, clients=4) as load:
        for number in (2, 3):
            load.wait_for(20)
            done = swap(version(number))
            assert done.stdout.endswith(" 200"), done.stdout + served.text()
        load.wait_for(50)

    assert load.failed() == []
    seen = [a.json() for a in load.answers]
    assert set(seen) == {1, 2, 3}
    assert served.post("/version", {}).json() == 3


@pytest.mark.parametrize("broken", ["raise OSError('weights.bin is gone')", "this is no python"])
def test_f28_a_new_version_that_does_not_load_leaves_the_old_one(
    swapping: Any, broken: str
) -> None:
    served, swap = swapping()
    assert swap(version(1)).stdout.endswith(" 200"), served.text()

    with served.load("/version", {}, clients=2) as load:
        load.wait_for(5)
        done = swap(version(2, init=broken))
        load.wait_for(20)

    assert not done.stdout.endswith(" 200")
    assert "Traceback" not in done.stdout
    assert load.failed() == []
    assert {a.json() for a in load.answers} == {1}


def test_f29_nothing_waits_by_the_wall_clock() -> None:
    """A jump of the wall clock is only noticed by what reads it: dates in headers and logs."""
    root = Path(__file__).parents[2] / "modelpack" / "server"
    readers: set[str] = set()
    for file in root.rglob("*.py"):
        text = file.read_text()
        found = re.search(
            r"\btime\.time\(|from time import [^\n]*\btime\b|datetime\.now|utcnow", text
        )
        if found:
            readers.add(str(file.relative_to(root)))

    # The Date header, start times shown to people, the times of log lines, spans and events, what
    # is signed with its time, deadlines that a platform gives as a time of day.
    assert readers <= {
        "faces/catalog.py",
        "faces/events.py",
        "faces/statistics.py",
        "fetch/__main__.py",
        "http/front.py",
        "lambda_/function.py",
        "lambda_/handler.py",
        "life/lifecycle.py",
        "observe/logs.py",
        "observe/payloads/record.py",
        "observe/tracing.py",
        "observe/watching.py",
        "tasks/telling.py",
    }


JUMPING_CLOCK = """
import time

real = time.time


def jumping() -> float:
    try:
        with open(r"{file}") as offset:
            return real() + float(offset.read() or 0)
    except OSError:
        return real()


time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
"""


@pytest.mark.parametrize("settings", PIECES, ids=named)
def test_f29_a_clock_that_jumps_changes_no_answer(
    serve: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Every process of the server reads a wall clock that jumps as the file says."""
    clock, site = tmp_path / "clock", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPING_CLOCK.replace("{file}", str(clock)))
    served = serve(
        "batched", environment={"PYTHONPATH": str(site)}, request_timeout_s=5, **settings
    )

    with served.load("/double", ROW, clients=4) as load:
        for days in (1, -30, 3650):
            load.wait_for(20)
            clock.write_text(str(days * 86400))
        load.wait_for(40)
        served.wait_until(lambda: "203" in served.client.get("/livez").headers["date"])  # it jumped

    assert load.failed() == []
    assert served.stop() == 0


@pytest.mark.parametrize("times", [12, pytest.param(50, marks=pytest.mark.long)])
def test_f30_crash_after_crash_leaves_no_zombie_and_no_descriptor(serve: Any, times: int) -> None:
    served = serve("batched", runner="process", replicas=2)
    served.call_all("/double", [ROW] * 8)
    served.client.get("/metrics")
    before = _descriptors(served.pid)

    crashes = 0
    while crashes < times:
        served.wait_until(lambda: served.has_runners(2))
        os.kill(served.runners()[crashes % 2], signal.SIGKILL)
        crashes += 1
        assert served.post("/double", ROW).status_code == 200
    served.wait_until(lambda: served.has_runners(2))
    assert served.post("/double", ROW).status_code == 200

    served.wait_until(lambda: not _zombies(served.tree()))
    served.wait_until(lambda: _descriptors(served.pid) <= before + 2)
    assert served.stop() == 0


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _zombies(tree: list[int]) -> list[int]:
    return [pid for pid in tree if not _is_alive(pid)]
