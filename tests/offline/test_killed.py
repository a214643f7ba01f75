"""A run is killed at every step that changes the disk, and goes on: no row is lost, none is doubled.

The run is in a child of this process that kills itself with SIGKILL at its n-th step, for n = 1, 2, …
until it comes to its end.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest

from modelpack.errors import ConflictError
from modelpack.offline.job import Job
from modelpack.offline.run import run_batch

ROWS = 20
BAD = (5, 12)
GOOD = [row for row in range(ROWS) if row not in BAD]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Twenty rows, of which two are refused."""
    rows = np.array([[row, 0] for row in range(ROWS)], np.float64)
    rows[list(BAD)] = -1
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that dies at its n-th step; returns whether it came to its end."""
    child = os.fork()
    if child == 0:
        steps = iter(range(1, step + 1))

        def stepping(real: Callable[..., Any]) -> Callable[..., Any]:
            def before(*arguments: Any, **options: Any) -> Any:
                if next(steps, None) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return before

        with (
            patch.object(os, "fsync", stepping(os.fsync)),
            patch.object(Path, "replace", stepping(Path.replace)),
            patch.object(Path, "unlink", stepping(Path.unlink)),
            patch.object(Path, "mkdir", stepping(Path.mkdir)),
            patch.object(Path, "rmdir", stepping(Path.rmdir)),
        ):
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, f"killed {step} steps in, it did not go on"
    return True


def numbers_of(output: Path) -> list[tuple[int, float]]:
    """Return number and first answer of each row of an output."""
    match output.suffix:
        case ".csv":
            rows = list(csv.DictReader(output.read_text().splitlines()))
            return [(int(row["row"]), json.loads(row["output"])[0]) for row in rows]
        case ".jsonl":
            lines = [json.loads(line) for line in output.read_text().splitlines()]
            return [(line["row"], line["output"][0]) for line in lines]
        case ".parquet":
            rows = pq.read_table(output).to_pylist()
            return [(row["row"], row["output"][0]) for row in rows]
    answers = np.load(output)
    return list(zip(GOOD, answers[:, 0].tolist(), strict=True))


def attempts(tmp_path: Path, given: Path, name: str, engine: type) -> Iterator[tuple[int, Path]]:
    """Kill a run at each step in turn; after each, let it go on to its end.  Yields what it wrote."""
    for step in range(1, 1000):
        output = tmp_path / f"run-{step}" / name

        def work(output: Path = output) -> None:
            target = f"{output}/" if name == "parts" else str(output)
            job = Job(
                api="predict",
                input=str(given),
                output=target,
                part_rows=10,
                output_format="jsonl" if name == "parts" else None,
            )
            run_batch(job, engine, source={"model": "doubles"})

        is_over = killed_at(step, work)
        if not is_over:
            with suppress(ConflictError):  # it was over, and died while it was tidying up
                work()
            assert name == "parts" or not Path(f"{output}.batch").exists()
            yield step, output
        else:
            return
    pytest.fail("it never ends")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.npy"])
def test_a_run_that_is_killed_at_any_step_goes_on_without_losing_or_doubling_a_row(
    tmp_path: Path, given: Path, name: str, doubling: type
) -> None:
    killed = 0
    for step, output in attempts(tmp_path, given, name, doubling):
        assert numbers_of(output) == [(row, 2.0 * row) for row in GOOD], f"step {step}"
        lines = Path(f"{output}.bad.jsonl").read_text().splitlines()
        assert [json.loads(line)["row"] for line in lines] == list(BAD), f"step {step}"
        killed += 1
    assert killed > 30  # parts, records, dead letters, the whole, and tidying up


def test_parts_in_a_folder_are_whole_after_a_kill_at_any_step(
    tmp_path: Path, given: Path, doubling: type
) -> None:
    killed = 0
    for step, output in attempts(tmp_path, given, "parts", doubling):
        rows: list[tuple[int, float]] = []
        for part in sorted(output.glob("part-*.jsonl")):
            rows += numbers_of(part)
        assert rows == [(row, 2.0 * row) for row in GOOD], f"step {step}"
        killed += 1
    assert killed > 20


def test_what_is_done_is_not_asked_for_again(tmp_path: Path, given: Path, doubling: type) -> None:
    asked: list[int] = []

    class Counting(doubling):  # type: ignore[misc, valid-type]
        def send(self, number: int, message: Any) -> None:
            asked.append(len(message["arrays"]["x"]))
            super().send(number, message)

    class Failing(Counting):
        def receive(self) -> Any:
            if self.chunks >= 3 + len(self._sent):
                raise KeyboardInterrupt
            return super().receive()

    job = Job(api="predict", input=str(given), output=str(tmp_path / "out.jsonl"), part_rows=4)
    with pytest.raises(KeyboardInterrupt):
        run_batch(job, Failing, source={})
    done = len(list((tmp_path / "out.jsonl.batch").glob("*.done")))
    assert done > 0
    asked.clear()
    summary = run_batch(job, Counting, source={})
    assert sum(asked) == ROWS - summary.resumed_rows
    assert summary.resumed_rows == 4 * done


# Between opening a file and the block that closes it, Ctrl-C leaves that to the end of the process.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)
def test_ctrl_c_between_any_two_lines_loses_and_doubles_no_row(
    tmp_path: Path, given: Path, doubling: type
) -> None:
    """Every seventh line of what keeps the books is where Ctrl-C comes once."""
    watched = ("offline/run.py", "offline/journal.py", "outputs/text.py", "outputs/columns.py")
    interrupted = 0
    for step in range(1, 5000, 7):
        output = tmp_path / f"run-{step}" / "out.jsonl"
        job = Job(api="predict", input=str(given), output=str(output), part_rows=10)
        left = step

        def tracer(frame: Any, event: str, _: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(watched):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return tracer

        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            run_batch(job, doubling, source={})
            is_over = True
        except KeyboardInterrupt:
            is_over = False
        finally:
            sys.settrace(before)
        if is_over:
            break
        with suppress(ConflictError):
            run_batch(job, doubling, source={})
        assert numbers_of(output) == [(row, 2.0 * row) for row in GOOD], f"line {step}"
        interrupted += 1
    assert interrupted > 30
