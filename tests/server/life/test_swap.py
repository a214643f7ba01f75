"""Another version in a running server: no request is lost, and a broken one changes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., Any]
Project = Callable[..., Path]
Load = Callable[..., Any]
Until = Callable[..., None]
Doubler = Callable[[int], str]

HOOKED = """
import sys
import modelpack

@modelpack.service
class Hooked:
    @modelpack.on_startup
    def begin(self):
        print("begin {version}", file=sys.stderr, flush=True)

    @modelpack.on_shutdown
    def end(self):
        print("end {version}", file=sys.stderr, flush=True)

    @modelpack.api
    def version(self) -> int:
        return {version}

    @modelpack.api
    def only_{version}(self) -> int:
        return {version}
"""


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


def wait_for_all(server: Any, workers: int, until: Until) -> None:
    until(lambda: len(server.workers()) == workers)


@pytest.fixture
def serve(launch: Launch, project: Project, doubler: Doubler, until: Until) -> Launch:
    """Start a server that doubles; all of its workers are ready.  Returns it and its folder."""

    def begin(*, workers: int, **settings: Any) -> Any:
        folder = project(doubler(2))
        server = launch(folder, workers=workers, **settings)
        until(lambda: len(server.workers()) == workers)
        return server, folder

    return begin


@pytest.mark.parametrize("runner", ["auto", "process"])
def test_ten_swaps_under_load_lose_no_request(
    serve: Launch, doubler: Doubler, load: Load, workers: int, runner: str
) -> None:
    server, folder = serve(workers=workers, runner=runner)
    asked = load(server, clients=8)
    asked.wait_for(10)

    for factor in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12):
        (folder / "service.py").write_text(doubler(factor))
        assert server.admin("POST", "/swap", {})[0] == 200
        assert {tuple(server.post("/double", {"x": [1]})) for _ in range(4)} == {(factor,)}
        asked.wait_for(3)

    answers = asked.stop()
    assert {status for status, _ in answers} == {200}
    assert {json.loads(body)[0] for _, body in answers} == set(range(2, 13))
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_version_that_does_not_load_changes_nothing(
    serve: Launch, doubler: Doubler, load: Load, workers: int
) -> None:
    server, folder = serve(workers=workers)
    asked = load(server, clients=4)
    for broken in (
        "raise ValueError('half way')",
        doubler(3).replace("FACTOR = 3", "FACTOR = 3 +"),
        doubler(3).replace("class Doubler:", "class Doubler:\n    def __init__(self): 1 / 0"),
    ):
        (folder / "service.py").write_text(broken)
        status, said = server.admin("POST", "/swap", {})
        assert status == 422
        assert said["code"] == "service-failed"
        assert server.post("/double", {"x": [1]}) == [2]
    (folder / "service.py").write_text(doubler(5))

    assert server.admin("POST", "/swap", {})[0] == 200
    assert server.post("/double", {"x": [1]}) == [5]
    assert {status for status, _ in asked.stop()} == {200}


def test_either_all_workers_take_a_version_or_none(
    launch: Launch, project: Project, doubler: Doubler, until: Until, tmp_path: Path
) -> None:
    """The service loads in whichever worker is the first to make a file."""
    folder = project(doubler(2))
    server = launch(folder, workers=2)
    wait_for_all(server, 2, until)
    flag = tmp_path / "flag"
    picky = f"open({str(flag)!r}, 'x').close()\n"
    (folder / "service.py").write_text(picky + doubler(3))

    status, said = server.admin("POST", "/swap", {})

    assert status == 422
    assert "FileExistsError" in said["detail"]
    assert flag.exists()
    assert {tuple(server.post("/double", {"x": [1]})) for _ in range(16)} == {(2,)}


def test_routes_documents_and_hooks_are_those_of_the_version(
    launch: Launch, project: Project, until: Until
) -> None:
    folder = project(HOOKED.format(version=1))
    server = launch(folder)
    assert server.post("/only_1", {}) == 1
    (folder / "service.py").write_text(HOOKED.format(version=2))

    assert server.admin("POST", "/swap", {})[0] == 200

    assert server.post("/only_2", {}) == 2
    assert server.post("/only_1", {})["code"] == "not-found"
    document = json.loads(server.get("/openapi.json")[1])
    assert "/only_2" in document["paths"]
    assert "/only_1" not in document["paths"]
    until(lambda: "end 1" in server.log.read_text())
    said = [line for line in server.log.read_text().splitlines() if line[:1] != "{"]
    assert said == ["begin 1", "begin 2", "end 1"]


def test_counters_go_on_and_those_of_a_lost_api_stay(
    launch: Launch, project: Project, until: Until, workers: int
) -> None:
    folder = project(HOOKED.format(version=1))
    server = launch(folder, workers=workers)
    wait_for_all(server, workers, until)
    for _ in range(3):
        server.post("/version", {})
        server.post("/only_1", {})
    (folder / "service.py").write_text(HOOKED.format(version=2))
    server.admin("POST", "/swap", {})
    server.post("/version", {})
    until(lambda: len(server.events("version-ended")) == workers)

    assert server.metric('modelpack_requests_total{api="version",status="200"}') == 4
    assert server.metric('modelpack_requests_total{api="only_1",status="200"}') == 3


def test_calls_and_streams_that_have_begun_are_finished_by_their_version(
    launch: Launch, project: Project, doubler: Doubler, wire: Any, until: Until
) -> None:
    post, read_answer = wire
    folder = project(doubler(2))
    server = launch(folder)
    with server.connect() as waiting, server.connect() as stream, server.connect() as dripping:
        waiting.sendall(post("/wait", '{"s":1.0}'))
        asks_for_end = post("/count", '{"n":6,"s":0.2}').replace(
            b"Host", b"Connection: close\r\nHost"
        )
        stream.sendall(asks_for_end)
        request = post("/double", '{"x":[1]}')
        dripping.sendall(request[:-4])
        until(lambda: server.metric("modelpack_in_flight_requests") >= 2)
        (folder / "service.py").write_text(doubler(3))
        assert server.admin("POST", "/swap", {})[0] == 200

        assert server.post("/double", {"x": [1]}) == [3]
        dripping.sendall(request[-4:])
        assert read_answer(dripping)[:2] == (200, b"[2]")
        dripping.sendall(request)
        assert read_answer(dripping)[:2] == (200, b"[3]")
        assert read_answer(waiting)[:2] == (200, b"1.0")
        pieces = stream.makefile("rb").read().decode()
    assert [line for line in pieces.splitlines() if line.startswith("[2")] == [
        f"[2,{i}]" for i in range(6)
    ]
    until(lambda: len(server.events("version-ended")) == 1)
    assert server.events("version-ended")[0]["clean"]


def test_a_changed_sibling_module_comes_with_the_version(
    launch: Launch, project: Project, doubler: Doubler
) -> None:
    text = doubler(2).replace("FACTOR = 2", "from helper import FACTOR")
    folder = project(text)
    (folder / "helper.py").write_text("FACTOR = 4\n")
    server = launch(folder)
    assert server.post("/double", {"x": [1]}) == [4]
    (folder / "helper.py").write_text("FACTOR = 6\n")

    server.admin("POST", "/swap", {})

    assert server.post("/double", {"x": [1]}) == [6]


def test_a_swap_while_another_is_under_way_is_refused(
    launch: Launch, project: Project, doubler: Doubler, until: Until, workers: int
) -> None:
    import threading

    folder = project(doubler(2))
    server = launch(folder, workers=workers)
    wait_for_all(server, workers, until)
    (folder / "service.py").write_text("import time; time.sleep(1.5)\n" + doubler(3))
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(server.admin("POST", "/swap", {})[0]))
    first.start()
    until(lambda: bool(server.events("swap-asked")))

    assert server.admin("POST", "/swap", {})[0] == 409
    first.join()
    assert answers == [200]
    assert server.post("/double", {"x": [1]}) == [3]


def test_a_worker_that_is_replaced_after_a_swap_has_the_new_version(
    launch: Launch, project: Project, doubler: Doubler, until: Until
) -> None:
    import os

    folder = project(doubler(2))
    server = launch(folder, workers=2)
    wait_for_all(server, 2, until)
    (folder / "service.py").write_text(doubler(3))
    server.admin("POST", "/swap", {})
    before = server.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: pid not in server.workers() and len(server.workers()) == 2)

    assert not set(before) & set(server.workers())
    assert {tuple(server.post("/double", {"x": [1]})) for _ in range(8)} == {(3,)}
