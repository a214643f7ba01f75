"""Requests to a server whose service runs in processes of its own."""

from __future__ import annotations

import base64
import io
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Serve = Callable[..., Any]

SERVICE = """
@dataclass
class Point:
    x: float
    y: float = 1.0

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x is negative")

@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: Tensor["float32", "batch", 2]) -> Tensor["float32", "batch", 2]:
        return x * 2

    @modelpack.api(batch=True)
    def pair(self, x: Tensor["float32", "batch"]) -> tuple[list[str], Tensor["float32", "batch"]]:
        return [f"{one:g}" for one in x], x + 1

    @modelpack.api(batch=True)
    def lengths(self, points: list[Point], scale: int = 2) -> list[float]:
        return [(p.x + p.y) * scale for p in points]

    @modelpack.api
    def greet(self, name: str = "you", at: Point = Point(1.0)) -> dict[str, object]:
        return {"name": name, "x": at.x, "pid": os.getpid(), "nothing": None}

    @modelpack.api
    def size(self, picture: Image) -> list[int]:
        return list(picture.size)

    @modelpack.api
    def reverse(self, data: bytes) -> bytes:
        return data[::-1]

    @modelpack.api
    def refuse(self, age: int) -> int:
        if age < 0:
            raise modelpack.InputError("age is negative")
        return 1 // age

    @modelpack.api
    def odd(self) -> Tensor["float32", 2]:
        return np.zeros(3, np.float32)

    @modelpack.api
    async def later(self, n: int) -> int:
        await asyncio.sleep(0.01)
        return n + 1

"""

IMPORT = "from PIL.Image import Image\n"


@pytest.fixture(scope="module")
def server(start_once: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from modelpack.frameworks.source import Source

    folder = tmp_path_factory.mktemp("service")
    head = "import asyncio, os\nfrom dataclasses import dataclass\nimport numpy as np\n"
    head += "import modelpack\nfrom modelpack import Tensor\n"
    (folder / "service.py").write_text(head + IMPORT + SERVICE)
    source = Source("code", "service:Demo", str(folder))
    return start_once(source.open(), source=source, runner="process", replicas=2)


def test_the_service_runs_in_another_process(server: Any) -> None:
    answer = server.post("/greet", {}).json()

    assert server.server.place.kind == "process"
    assert answer.pop("pid") != os.getpid()
    assert answer == {"name": "you", "x": 1.0, "nothing": None}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/double", {"x": [[1, 2], [3, 4]]}, [[2, 4], [6, 8]]),
        ("/pair", {"x": [1.5, 2]}, [["1.5", "2"], [2.5, 3]]),
        ("/lengths", {"points": [{"x": 1}, {"x": 2, "y": 3}]}, [4.0, 10.0]),
        ("/lengths", {"points": [{"x": 1}], "scale": 10}, [20.0]),
        ("/later", {"n": 4}, 5),
    ],
)
def test_arguments_and_answers_cross_whole(
    server: Any, path: str, body: object, expected: object
) -> None:
    assert server.post(path, body).json() == expected


@pytest.mark.parametrize(
    ("path", "body", "expected", "said"),
    [
        ("/double", {"x": [[1]]}, (400, "bad-input"), "/x"),
        ("/lengths", {"points": [{"x": "a"}]}, (400, "bad-input"), "/points/0/x"),
        ("/lengths", {"points": [{"x": -1}]}, (422, "refused-input"), "x is negative"),
        ("/refuse", {"age": -1}, (422, "refused-input"), "age is negative"),
        ("/refuse", {"age": 0}, (500, "model-error"), "the service raised an error"),
        ("/odd", {}, (500, "bad-output"), "cannot be its answer"),
    ],
)
def test_failures_have_the_same_answers_as_in_one_process(
    server: Any, path: str, body: object, expected: tuple[int, str], said: str
) -> None:
    answer = server.post(path, body)

    assert (answer.status_code, answer.json()["code"]) == expected
    assert said in answer.text


def test_files_and_pictures_cross_as_bytes(server: Any) -> None:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (5, 3)).save(file, format="PNG")
    picture = file.getvalue()

    text = base64.b64encode(picture).decode()
    form = server.client.post("/size", files={"picture": picture}).json()
    raw = server.client.post("/size", content=picture, headers={"content-type": "image/png"})
    bad = server.client.post("/size", content=picture[:45], headers={"content-type": "image/png"})
    data = bytes(range(256)) * 40

    assert server.post("/size", {"picture": text}).json() == form == raw.json() == [5, 3]
    assert (bad.status_code, bad.json()["code"]) == (400, "bad-input")
    assert server.client.post("/reverse", files={"data": data}).content == data[::-1]


def test_arrays_of_a_megabyte_cross_in_shared_memory(server: Any) -> None:
    x = np.random.default_rng(3).normal(size=(60_000, 2)).astype(np.float32)
    headers = {
        "content-type": "application/octet-stream",
        "modelpack-dtype": "float32",
        "modelpack-shape": "60000,2",
        "accept": "application/octet-stream",
    }

    for _ in range(4):
        answer = server.client.post("/double", content=x.tobytes(), headers=headers)
        got = np.frombuffer(answer.content, np.float32).reshape(-1, 2)
        np.testing.assert_array_equal(got, x * 2)


def test_an_argument_that_a_method_keeps_does_not_change(serve: Serve) -> None:
    server = serve(SERVICE_THAT_KEEPS)
    sums: list[float] = []

    for number in range(5):
        sums.append(20_000.0 * number)
        assert server.post("/keep", {"x": [float(number)] * 20_000}).json() == sums


SERVICE_THAT_KEEPS = """
@modelpack.service
class Keeps:
    def __init__(self):
        self.kept = []

    @modelpack.api
    def keep(self, x: Tensor["float64", "n"]) -> list[float]:
        if len(x) > 1:  # no warm call
            self.kept.append(x)
        return [float(one.sum()) for one in self.kept]
"""


def test_shutdown_hooks_run_in_every_runner(serve: Serve, tmp_path: Any) -> None:
    server = serve(
        f"""
        @modelpack.service
        class Hooked:
            @modelpack.on_shutdown
            def leave(self):
                open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w")

            @modelpack.api
            def ask(self) -> int:
                return os.getpid()
        """,
        replicas=2,
    )

    assert server.stop() == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_hook_that_fails_shows_in_the_exit_status(serve: Serve) -> None:
    server = serve(
        """
        @modelpack.service
        class Hooked:
            @modelpack.on_shutdown
            def leave(self):
                raise RuntimeError("cannot leave")

            @modelpack.api
            def ask(self) -> int:
                return 1
        """
    )

    assert server.stop() == 1


def test_a_runner_minds_neither_ctrl_c_nor_sigterm_of_a_group(
    serve: Serve, pids: Callable[[Any], list[int]]
) -> None:
    server = serve(SERVICE_THAT_KEEPS)
    (before,) = pids(server)

    os.kill(before, signal.SIGINT)
    os.kill(before, signal.SIGTERM)  # it asks to be relieved, and serves until it is
    server.wait_until(lambda: pids(server) not in ([], [before]))

    assert server.post("/keep", {"x": [1.0, 1.0]}).json() == [2.0]
