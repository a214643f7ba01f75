"""Bodies that take long to read are read aside: others are answered meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import modelpack
from modelpack.sdk.api import Arguments
from modelpack.sdk.service import spec_of
from modelpack.server.bodies.aside import Aside
from modelpack.server.bodies.readers import LIGHT_ARRAY_BYTES, LIGHT_BYTES, BodyReader
from modelpack.server.problems import Overloaded

Start = Callable[..., Any]


@modelpack.service
class Sizes:
    @modelpack.api(batch=True)
    def total(self, x: modelpack.Tensor["float64", "batch", "n"]) -> list[float]:
        return x.sum(axis=1).tolist()

    @modelpack.api
    def word(self, x: modelpack.Tensor["float32", "n"], word: str = "a") -> str:
        return word

    @modelpack.api
    def area(self, picture: Image.Image) -> int:
        return picture.width * picture.height


APIS = {api.name: api for api in spec_of(Sizes).apis}
LONG = json.dumps({"x": [[1.0] * 100_000]}).encode()


def test_long_and_odd_bodies_are_heavy() -> None:
    json_head = {b"content-type": b"application/json"}
    arrays, pictures = BodyReader(APIS["total"], 1000), BodyReader(APIS["area"])

    assert LIGHT_BYTES < arrays.light_bytes(json_head) == LIGHT_ARRAY_BYTES < len(LONG)
    assert BodyReader(APIS["word"]).light_bytes(json_head) == LIGHT_BYTES
    assert arrays.light_bytes({b"content-type": b"application/octet-stream"}) > LIGHT_ARRAY_BYTES
    assert arrays.light_bytes({**json_head, b"content-encoding": b"gzip"}) == -1
    assert pictures.light_bytes(json_head) == -1


def test_a_long_body_has_its_answer(start: Start, lane: str) -> None:
    server = start(Sizes, lane, accept_encoding=True)

    for _ in range(3):
        assert server.client.post("/total", content=LONG).status_code == 415
        head = {"content-type": "application/json"}
        assert server.client.post("/total", content=LONG, headers=head).json() == [100_000.0]
        packed = {**head, "content-encoding": "gzip"}
        body = gzip.compress(LONG)
        assert server.client.post("/total", content=body, headers=packed).json() == [100_000.0]


def test_what_is_wrong_in_a_long_body_is_named(start: Start, lane: str) -> None:
    server = start(Sizes, lane)
    body = LONG[:-3] + b"null]]}"

    answer = server.client.post(
        "/total", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-json"


def test_a_picture_takes_the_same_way_in_every_form(start: Start, lane: str) -> None:
    server = start(Sizes, lane)
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")

    raw = server.client.post(
        "/area", content=file.getvalue(), headers={"content-type": "image/png"}
    )
    form = server.client.post("/area", files={"picture": ("p.png", file.getvalue())})

    assert raw.json() == form.json() == 600


class Gate:
    """Lets the test say how long a body takes to read."""

    def __init__(self) -> None:
        self.entered, self.may_go = threading.Event(), threading.Event()


GATES: dict[str, Gate] = {}


@dataclasses.dataclass
class Held:
    gate: str
    text: str

    def __post_init__(self) -> None:
        GATES[self.gate].entered.set()
        assert GATES[self.gate].may_go.wait(20)


@modelpack.service
class Holding:
    @modelpack.api
    def size(self, held: Held) -> int:
        return len(held.text)

    @modelpack.api
    def echo(self, n: int) -> int:
        return n


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    held = GATES[request.node.name] = Gate()
    yield held
    held.may_go.set()
    del GATES[request.node.name]


def held_body(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"held": {"gate": request.node.name, "text": "x" * LIGHT_BYTES}}


def test_others_are_answered_while_a_body_is_being_read(
    start: Start, lane: str, gate: Gate, request: pytest.FixtureRequest
) -> None:
    server = start(Holding, lane)

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(httpx.post, f"{server.url}/size", json=held_body(request), timeout=20)
        assert gate.entered.wait(20)
        assert server.post("/echo", {"n": 1}).json() == 1
        assert not long.done()
        gate.may_go.set()
        assert long.result(20).json() == LIGHT_BYTES


def test_the_deadline_counts_while_a_body_is_being_read(
    start: Start, lane: str, gate: Gate, request: pytest.FixtureRequest
) -> None:
    server = start(Holding, lane)

    answer = server.post("/size", held_body(request), headers={"x-request-timeout-ms": "300"})

    assert gate.entered.is_set()
    assert answer.status_code == 504


def test_a_client_that_leaves_is_forgotten_while_its_body_is_being_read(
    start: Start, lane: str, gate: Gate, request: pytest.FixtureRequest
) -> None:
    server = start(Holding, lane)
    body = json.dumps(held_body(request)).encode()
    head = b"POST /size HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"

    with server.connect() as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert gate.entered.wait(20)
    server.wait_until(lambda: 'status="499"' in server.client.get("/metrics").text)
    gate.may_go.set()

    assert server.post("/echo", {"n": 1}).json() == 1


class Slow:
    """A reader that waits until it may go on."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.bodies: list[bytes] = []

    def __call__(self, body: bytes) -> Arguments:
        self.bodies.append(body)
        assert self.may_go.wait(20)
        if body == b"bad":
            raise ValueError(body)
        return Arguments({"x": body}, 1)


Outcome = tuple[str, Arguments | None, BaseException | None]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


def run(story: Callable[[Slow, Aside[str], list[Outcome]], Any], max_bytes: int = 10) -> None:
    async def work() -> None:
        slow, outcomes = Slow(), []
        aside: Aside[str] = Aside(lambda *outcome: outcomes.append(outcome), max_bytes)
        await story(slow, aside, outcomes)

    asyncio.run(work())


def test_the_loop_turns_while_bodies_are_read() -> None:
    async def story(slow: Slow, aside: Aside[str], outcomes: list[Outcome]) -> None:
        aside.begin("one", b"abc", slow)
        aside.begin("two", b"bad", slow)
        await until(lambda: len(slow.bodies) == 2)  # the loop runs, and both are in threads
        assert outcomes == []

        slow.may_go.set()
        await until(lambda: len(outcomes) == 2)

        found = {call: (arguments, error) for call, arguments, error in outcomes}
        assert found["one"] == (Arguments({"x": b"abc"}, 1), None)
        assert found["two"][0] is None
        assert isinstance(found["two"][1], ValueError)
        assert aside.calls() == []

    run(story)


def test_a_call_that_is_forgotten_is_not_handed_on() -> None:
    async def story(slow: Slow, aside: Aside[str], outcomes: list[Outcome]) -> None:
        aside.begin("gone", b"abc", slow)
        aside.begin("here", b"abc", slow)
        assert aside.forget("gone")
        assert not aside.forget("gone")
        assert not aside.forget("never there")

        slow.may_go.set()
        await until(lambda: len(outcomes) == 1 and len(slow.bodies) == 2)

        assert [call for call, _, _ in outcomes] == ["here"]

    run(story)


def test_bodies_beyond_the_limit_are_refused_until_there_is_room() -> None:
    async def story(slow: Slow, aside: Aside[str], outcomes: list[Outcome]) -> None:
        aside.begin("six", b"123456", slow)
        with pytest.raises(Overloaded):
            aside.begin("five", b"12345", slow)
        aside.begin("four", b"1234", slow)
        aside.forget("six")
        with pytest.raises(Overloaded):  # its body is still there
            aside.begin("one", b"1", slow)

        slow.may_go.set()
        await until(lambda: len(outcomes) == 1)
        await until(lambda: _has_room(aside, slow))

    run(story)


def _has_room(aside: Aside[str], slow: Slow) -> bool:
    try:
        aside.begin("five", b"12345", slow)
    except Overloaded:
        return False
    return True


def test_one_body_is_taken_however_long_it_is() -> None:
    async def story(slow: Slow, aside: Aside[str], outcomes: list[Outcome]) -> None:
        slow.may_go.set()
        aside.begin("long", b"x" * 100, slow)
        await until(lambda: len(outcomes) == 1)

    run(story)


def test_numbers_of_a_long_body_are_those_of_a_short_one() -> None:
    rows = np.random.default_rng(1).random((700, 60))
    body = json.dumps({"x": rows.tolist()}).encode()
    assert len(body) > LIGHT_ARRAY_BYTES

    assert np.array_equal(BodyReader(APIS["total"]).json(body).values["x"], rows)
