"""A real service in its process: what it answers, what it refuses, how it dies and comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from modelpack.errors import BatchError, NotFoundError, UserCodeError
from modelpack.offline.engine import LocalEngine
from modelpack.offline.launch import Wishes, open_project

SERVICE = """
import asyncio
import os
import signal
from dataclasses import dataclass

import modelpack
import numpy as np


@dataclass
class Sized:
    text: str
    length: int


@modelpack.service
class Many:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", "n"], scale: float = 1.0
    ) -> dict[str, modelpack.Tensor["float32", "batch"]]:
        if (x == 666).any():
            raise RuntimeError("the number of the beast")
        if (x == 13).any():
            raise modelpack.InputError("13 is refused")
        if (x == 9).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return {"total": x.sum(axis=1) * scale, "rows": np.full(len(x), len(x), "float32")}

    @modelpack.api
    def size(self, text: str, times: int = 1) -> Sized:
        return Sized(text * times, len(text) * times)

    @modelpack.api
    async def later(self, text: str) -> str:
        return text.upper()

    @modelpack.api
    def pieces(self, text: str):
        yield from text

    @modelpack.api
    async def slowly(self, text: str):
        await asyncio.sleep(0.0 if text == "now" else 60.0)
        yield text

    @modelpack.api
    def upper(self, file: bytes) -> bytes:
        return file.upper()

    @modelpack.api
    def odd(self, text: str) -> int:
        return text
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    (folder / "service.py").write_text(SERVICE)
    return folder


Open = Callable[..., Any]


@contextmanager
def engine_for(
    project: Path, api: str, constants: dict[str, Any] | None = None, **wishes: Any
) -> Iterator[LocalEngine]:
    flags = wishes.pop("flags", {})
    opened = open_project(project, None, api, constants or {}, Wishes(flags=flags, **wishes))
    engine = LocalEngine(opened.launch)
    try:
        yield engine
    finally:
        engine.close()


def asked(engine: LocalEngine, **message: Any) -> Any:
    engine.send(0, {"chunk": 0, **message})
    return engine.receive()


def rows(*values: dict[str, Any]) -> dict[str, Any]:
    return {"json": orjson.dumps(values)}


@pytest.fixture(scope="module")
def predict(project: Path) -> Iterator[LocalEngine]:
    with engine_for(project, "predict", {"scale": 2.0}) as engine:
        yield engine


def test_rows_run_together_and_come_back_in_order(predict: LocalEngine) -> None:
    reply = asked(predict, **rows(*({"x": [i, 0.5]} for i in range(7))))
    assert reply["good"] == list(range(7))
    assert reply["answer"]["total"].tolist() == [2 * (i + 0.5) for i in range(7)]
    assert set(reply["answer"]["rows"].tolist()) == {7.0}


def test_arrays_are_rows_too_and_take_the_dtype_of_the_api(predict: LocalEngine) -> None:
    for dtype in ("int64", "float64", "uint8", "float32"):
        reply = asked(predict, arrays={"x": np.arange(6, dtype=dtype).reshape(3, 2)}, count=3)
        assert reply["answer"]["total"].tolist() == [2.0, 10.0, 18.0]
    many = np.array([[1, 2], [np.nan, 1], [1e300, 0], [3, 4]])
    reply = asked(predict, arrays={"x": many}, count=4)
    assert reply["good"] == [0, 1, 3]  # NaN is a number of an array, 1e300 none of float32
    assert [bad[:2] for bad in reply["bad"]] == [[2, "bad-input"]]


def test_rows_of_different_lengths_are_all_answered(predict: LocalEngine) -> None:
    reply = asked(predict, **rows({"x": [1]}, {"x": [1, 2]}, {"x": [3]}, {"x": [1, 1, 1]}))
    assert reply["good"] == [0, 1, 2, 3]
    assert reply["answer"]["total"].tolist() == [2.0, 6.0, 6.0, 6.0]


def test_each_bad_row_is_told_with_its_reason_and_the_others_are_answered(
    predict: LocalEngine,
) -> None:
    given = [{"x": [i, 1]} for i in range(8)]
    given[1], given[3], given[5] = {"x": ["a", 1]}, {"x": [666, 1]}, {"x": [13, 1]}
    given[6] = {"y": [1, 2]}
    reply = asked(predict, **rows(*given))
    assert reply["good"] == [0, 2, 4, 7]
    assert reply["answer"]["total"].tolist() == [2.0, 6.0, 10.0, 16.0]
    (one, two, three, four) = reply["bad"]
    assert one[:2] == [1, "bad-input"]
    assert one[3][0] == ["/x/0", "a number (float32)", "the string 'a'"]
    assert two[:3] == [3, "model-error", "RuntimeError: the number of the beast"]
    assert three[:3] == [5, "refused-input", "13 is refused"]
    assert four[:2] == [6, "bad-input"]


def test_values_without_an_axis_may_differ_from_row_to_row(project: Path) -> None:
    with engine_for(project, "predict") as engine:
        given = [{"x": [1, 1], "scale": s} for s in (1.0, 1.0, 3.0, 1.0)] + [{"x": [1, 1]}]
        reply = asked(engine, **rows(*given))
        assert reply["answer"]["total"].tolist() == [2.0, 2.0, 6.0, 2.0, 2.0]
        assert reply["answer"]["rows"].tolist() == [4.0, 4.0, 1.0, 4.0, 4.0]  # and share calls
        assert reply["good"] == [0, 1, 2, 3, 4]


def test_the_size_of_batches_can_be_chosen(project: Path) -> None:
    with engine_for(project, "predict", batch_size=3) as engine:
        assert engine.hello.max_batch_size == 3
        reply = asked(engine, arrays={"x": np.ones((8, 2), np.float32)}, count=8)
        assert max(reply["answer"]["rows"]) <= 3.0
        (reading, _) = engine.readings()
        assert reading["batches"]["rows"] == 8
        assert reading["stats"]["rows"] == 8


@pytest.mark.parametrize(
    ("api", "given", "answer"),
    [
        ("size", {"text": "ab", "times": 2}, {"text": "abab", "length": 4}),
        ("later", {"text": "ab"}, "AB"),
        ("pieces", {"text": "ab"}, ["a", "b"]),
        ("upper", {"file": b"ab"}, b"AB"),
    ],
)
def test_apis_without_a_batch_answer_each_row_by_itself(
    project: Path, api: str, given: dict[str, Any], answer: Any
) -> None:
    with engine_for(project, api) as engine:
        reply = asked(engine, rows=[given, {}, given])
        assert reply["good"] == [0, 2]
        assert reply["answer"] == [answer, answer]
        assert [bad[:2] for bad in reply["bad"]] == [[1, "bad-input"]]


def test_a_stream_that_takes_too_long_is_said_to(project: Path) -> None:
    with engine_for(project, "slowly", timeout_s=0.2) as engine:
        reply = asked(engine, **rows({"text": "now"}, {"text": "later"}))
        assert reply["good"] == [0]
        assert reply["bad"][0][:2] == [1, "timeout"]


def test_an_answer_that_is_none_is_the_fault_of_its_row(project: Path) -> None:
    with engine_for(project, "odd") as engine:
        reply = asked(engine, **rows({"text": "7"}, {"text": "x"}))
        assert reply["answer"] == [7]
        assert reply["bad"][0][:2] == [1, "bad-output"]


def test_a_row_that_kills_the_process_is_bad_and_the_others_are_answered(project: Path) -> None:
    with engine_for(project, "predict") as engine:
        for number in range(3):
            x = np.ones((5, 2), np.float32)
            if number == 1:
                x[3, 0] = 9
            engine.send(number, {"chunk": number, "arrays": {"x": x}, "count": 5})
        replies = {reply["chunk"]: reply for reply in (engine.receive() for _ in range(3))}
        assert [replies[n]["good"] for n in (0, 1, 2)] == [
            [0, 1, 2, 3, 4],
            [0, 1, 2, 4],
            [0, 1, 2, 3, 4],
        ]
        assert [bad[:2] for bad in replies[1]["bad"]] == [[3, "runner-crashed"]]


def test_a_runner_in_a_process_that_dies_costs_its_row_alone(project: Path) -> None:
    with engine_for(project, "predict", flags={"runner": "process"}) as engine:
        x = np.ones((2, 2), np.float32)
        x[1, 0] = 9
        reply = asked(engine, arrays={"x": x}, count=2)
        assert reply["good"] == [0]
        assert [bad[:2] for bad in reply["bad"]] == [[1, "runner-crashed"]]


def test_a_process_that_dies_for_no_row_is_started_again(project: Path) -> None:
    with engine_for(project, "later") as engine:
        os.kill(engine._process.pid, signal.SIGKILL)
        assert asked(engine, **rows({"text": "a"}))["answer"] == ["A"]


def test_a_process_that_only_dies_ends_the_run_with_what_it_said(project: Path) -> None:
    with engine_for(project, "predict") as engine:
        x = np.full((200, 2), 9, np.float32)
        engine.send(0, {"chunk": 0, "arrays": {"x": x}, "count": 200})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelpack.offline.engine._MOST_DEATHS", 3)
            with pytest.raises(BatchError, match="was ended by SIGKILL, for the 4th time"):
                engine.receive()


def test_the_process_ends_with_the_one_that_started_it(project: Path) -> None:
    with engine_for(project, "later") as engine:
        process = engine._process
    assert process.returncode == 0


def test_what_keeps_a_service_away_is_said_as_serve_says_it(project: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(NotFoundError, match="has no api 'predct'") as raised,
        engine_for(project, "predct"),
    ):
        pass
    assert raised.value.hint == "did you mean 'predict'?"
    (tmp_path / "service.py").write_text("1 / 0\n")
    with pytest.raises(UserCodeError, match="ZeroDivisionError"), engine_for(tmp_path, "predict"):
        pass
