"""Generators that run in another process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]

STREAMS = """
from collections.abc import AsyncIterator, Iterator

@modelpack.service
class Streams:
    @modelpack.api
    def count(self, n: int, fail_at: int = -1) -> Iterator[int]:
        for i in range(n):
            if i == fail_at:
                raise ValueError("no more")
            yield i

    @modelpack.api
    async def wait(self, folder: str, n: int = 1000) -> AsyncIterator[list[int]]:
        try:
            for i in range(n):
                open(f"{folder}/{i}", "w").close()
                yield [i, os.getpid()]
                await asyncio.sleep(0.005)
        finally:
            open(f"{folder}/closed", "w").close()

    @modelpack.api
    def refuse(self, n: int) -> Iterator[int]:
        raise modelpack.InputError("not that")
        yield n
"""


@pytest.fixture(scope="module")
def server(start_once: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from modelpack.frameworks.source import Source

    folder = tmp_path_factory.mktemp("service")
    head = "import asyncio, os\nimport modelpack\n"
    (folder / "service.py").write_text(head + STREAMS)
    source = Source("code", "", str(folder))
    return start_once(source.open(), source=source, runner="process")


def lines(answer: Any) -> list[Any]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_pieces_come_one_after_the_other(server: Any) -> None:
    assert lines(server.post("/count", {"n": 50})) == list(range(50))
    assert lines(server.post("/count", {"n": 0})) == []


def test_what_a_generator_raises_is_told(server: Any) -> None:
    refused = server.post("/refuse", {"n": 1})
    failed = server.post("/count", {"n": 3, "fail_at": 0})

    assert (refused.status_code, refused.json()["code"]) == (422, "refused-input")
    assert (failed.status_code, failed.json()["code"]) == (500, "model-error")


def test_a_later_failure_breaks_the_stream_off(server: Any) -> None:
    import httpx

    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        server.client.stream("POST", "/count", json={"n": 5, "fail_at": 2}) as answer,
    ):
        for data in answer.iter_raw():
            got += data

    *pieces, last = [json.loads(line) for line in got.splitlines()]
    assert pieces == [0, 1]
    assert last["error"]["code"] == "model-error"


def test_a_generator_ends_when_its_client_leaves(server: Any, tmp_path: Path) -> None:
    body = {"folder": str(tmp_path)}
    with server.client.stream("POST", "/wait", json=body) as answer:
        next(answer.iter_raw())

    server.wait_until(lambda: (tmp_path / "closed").exists())
    assert len(list(tmp_path.iterdir())) < 1000


def test_a_stream_breaks_off_when_its_runner_dies(serve: Serve, tmp_path: Path) -> None:
    import httpx

    server = serve(STREAMS)
    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        server.client.stream("POST", "/wait", json={"folder": str(tmp_path)}) as answer,
    ):
        for data in answer.iter_raw():
            if not got:
                os.kill(json.loads(data.splitlines()[0])[1], signal.SIGKILL)
            got += data

    assert json.loads(got.splitlines()[-1])["error"]["code"] == "runner-crashed"
    assert lines(server.post("/count", {"n": 2})) == [0, 1]
