"""Rows, a service for them in this process, and a run that a test can look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from modelpack.offline.hello import Hello, Param
from modelpack.offline.job import Job
from modelpack.offline.run import Summary, run_batch
from tests.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]

NUMBER = Param(
    name="x",
    is_required=True,
    is_batched=True,
    dtype="float32",
    shape=(2,),
    is_file=False,
    is_text=False,
    schema={"type": "array", "items": {"type": "number"}},
)
HELLO = Hello(
    service="doubles",
    api="predict",
    runner="inline",
    max_batch_size=4,
    parameters=(NUMBER,),
    output_schema={"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    is_one_array=True,
    is_file=False,
    is_stream=False,
)


class Doubling:
    """An engine without a process: doubles, and refuses rows that hold a negative number."""

    hello = HELLO
    slots = 3

    def __init__(self) -> None:
        self._sent: list[tuple[int, Any]] = []
        self.chunks = 0

    def send(self, number: int, message: Mapping[str, Any]) -> None:
        self._sent.append((number, message))
        self.chunks += 1

    def receive(self) -> Mapping[str, Any]:
        number, message = self._sent.pop()  # the last first: answers need not come in order
        if "arrays" in message and message["arrays"]["x"].min() >= 0:
            rows = message["arrays"]["x"]
            answer = rows.astype(np.float32) * 2
            good = list(range(len(rows)))
            return {"chunk": number, "good": good, "answer": answer, "bad": [], "run_s": 0.0}
        if "arrays" in message:
            rows = message["arrays"]["x"].tolist()
        else:
            rows = [row["x"] for row in orjson.loads(message["json"])]
        good = [i for i, row in enumerate(rows) if not isinstance(row[0], str) and min(row) >= 0]
        bad = [[i, "refused-input", "negative", []] for i in range(len(rows)) if i not in good]
        answer = np.array([rows[i] for i in good], np.float32).reshape(-1, 2) * 2
        return {"chunk": number, "good": good, "answer": answer, "bad": bad, "run_s": 0.0}

    def readings(self) -> list[Any]:
        return []

    def close(self) -> None:
        self._sent.clear()


Run = Callable[..., Summary]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a job through ``Doubling``; a test names what it cares about."""

    def start(given: Path, output: str, **settings: Any) -> Summary:
        target = f"{tmp_path / output}/" if output.endswith("/") else str(tmp_path / output)
        settings = {"keep": ("id",), **settings}
        job = Job(api="predict", input=str(given), output=target, **settings)
        return run_batch(job, Doubling, source={"model": "doubles"})

    return start


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    """50 rows with an id each, of which rows 7 and 30 are refused and row 12 is no number."""
    file = tmp_path / "rows.csv"
    lines = ["id,a,b"]
    for i in range(50):
        a = {7: "-1", 30: "-5", 12: "x"}.get(i, str(i))
        lines.append(f"n{i},{a},{i}.5")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def doubling() -> type[Doubling]:
    """The engine without a process."""
    return Doubling
