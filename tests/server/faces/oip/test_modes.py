"""The protocol over several processes, and across hot swaps: the same answers, and counts that add up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

SERVICE = """
from dataclasses import dataclass

import modelpack

FACTOR = {factor}


@dataclass
class Add:
    number: float


@modelpack.service
class Near:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch", 2]:
        x *= FACTOR
        return x

    @modelpack.api
    def add(self, words: list[str], more: Add | None = None) -> list[str]:
        return [f"{{word}}+{{more.number if more else 0}}" for word in words]
"""

Launch = Callable[..., "Server"]


class Server:
    """``modelpack serve`` in a process of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.write(2)
        names = {f"MODELPACK_{name.upper()}": value for name, value in settings.items()}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("modelpack"), "serve", "--port", "0"],
                cwd=folder,
                env={**os.environ, "MODELPACK_REPOSITORY_CONTROL": "true", **names},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), (folder / "log").read_text()
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def write(self, factor: int) -> None:
        (self.folder / "service.py").write_text(SERVICE.format(factor=factor))

    def infer(self, *, model: str = "near") -> list[float]:
        x = np.array([[1, 2]], "<f4")
        head = orjson.dumps(
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [1, 2],
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": 8},
                    }
                ]
            }
        )
        length = {"Inference-Header-Content-Length": str(len(head))}
        # A connection of its own each time, so that every worker has some of them.
        with httpx.Client(base_url=self.url, timeout=30) as client:
            answer = client.post(
                f"/v2/models/{model}/infer", content=head + x.tobytes(), headers=length
            )
        assert answer.status_code == 200, answer.text
        data: list[float] = answer.json()["outputs"][0]["data"]
        return data

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.client.post(f"/v2{path}", json=body or {})

    def stats(self) -> dict[str, Any]:
        found = self.client.get("/v2/models/near/stats").json()["model_stats"][0]
        assert isinstance(found, dict)
        return found

    def stop(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert status == 0, (self.folder / "log").read_text()


@pytest.fixture(
    scope="module",
    params=[
        {"workers": "1"},
        {"workers": "2"},
        {"workers": "1", "runner": "process"},
        {"workers": "2", "runner": "process", "replicas": "2"},
    ],
    ids=["alone", "workers", "runner", "workers-and-runners"],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("near"), **request.param)
    yield one
    one.stop()


def test_every_process_gives_the_same_answers_and_all_are_counted(server: Server) -> None:
    before = server.stats()["inference_count"]

    found = {tuple(server.infer()) for _ in range(20)}

    assert found == {(2, 4)}
    end = time.monotonic() + 10
    while server.stats()["inference_count"] < before + 20 and time.monotonic() < end:
        time.sleep(0.05)
    assert server.stats()["inference_count"] == before + 20


def test_objects_are_made_where_the_method_runs(server: Server) -> None:
    more = {"name": "more", "shape": [1], "datatype": "BYTES", "data": ['{"number": 3}']}
    words = {"name": "words", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}

    with_it = server.post("/models/near.add/infer", {"inputs": [words, more]})
    without = server.post("/models/near.add/infer", {"inputs": [words]})
    wrong = server.post("/models/near.add/infer", {"inputs": [words, {**more, "data": ["{}"]}]})

    assert with_it.json()["outputs"][0]["data"] == ["a+3.0", "b+3.0"]
    assert without.json()["outputs"][0]["data"] == ["a+0", "b+0"]
    assert (wrong.status_code, list(wrong.json())) == (400, ["error"])


def test_loading_serves_what_the_source_has_become(server: Server) -> None:
    """Comes last: from then on the service is another one."""
    before = server.stats()["inference_count"]
    server.write(5)

    answer = server.post("/repository/models/near/load")

    assert (answer.status_code, answer.json()) == (200, {})
    assert {tuple(server.infer()) for _ in range(10)} == {(5, 10)}
    assert server.client.get("/v2/models/near/versions/2/ready").status_code == 200
    assert server.stats()["inference_count"] >= before
    (server.folder / "service.py").write_text("not python")
    broken = server.post("/repository/models/near/load")
    assert (broken.status_code, list(broken.json())) == (400, ["error"])
    assert {tuple(server.infer()) for _ in range(5)} == {(5, 10)}
