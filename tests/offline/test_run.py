"""A run from file to file: outputs of every form, bad rows, limits, going on, what stands in the way."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from modelpack.errors import BadRowsError, BatchError, ConflictError, UsageError
from modelpack.offline.job import Job
from modelpack.offline.pace import Sizes
from modelpack.offline.run import run_batch

BAD = [7, 12, 30]
GOOD = [row for row in range(50) if row not in BAD]


def test_csv_has_the_number_of_each_row_the_kept_columns_and_the_answer(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    summary = run(rows_csv, "out.csv", part_rows=10)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [int(row["row"]) for row in rows] == GOOD
    assert [row["id"] for row in rows] == [f"n{i}" for i in GOOD]
    assert [json.loads(row["output"]) for row in rows] == [[2 * i, 2 * i + 1] for i in GOOD]
    assert (summary.rows, summary.bad) == (50, 3)
    assert summary.parts > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.csv",
        "out.csv.bad.jsonl",
        "rows.csv",
    ]


def test_the_dead_letter_file_has_the_number_the_reason_and_the_row(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    summary = run(rows_csv, "out.csv")
    assert summary.dead_letter == f"{tmp_path / 'out.csv'}.bad.jsonl"
    lines = [json.loads(line) for line in Path(summary.dead_letter).read_text().splitlines()]
    assert [line["row"] for line in lines] == BAD
    assert lines[0]["error"] == {"code": "refused-input", "detail": "negative"}
    assert lines[0]["input"] == {"x": [-1, 7.5]}


def test_jsonl_parquet_and_npy_have_the_same_answers(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    for name in ("out.jsonl", "out.parquet", "out.npy"):
        run(rows_csv, name, part_rows=16)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "out.parquet")
    expected = [{"row": i, "id": f"n{i}", "output": [2 * i, 2 * i + 1]} for i in GOOD]
    assert lines == expected
    assert table.to_pylist() == expected
    assert str(table.schema.field("output").type) == "fixed_size_list<element: float>[2]"
    assert np.load(tmp_path / "out.npy").tolist() == [row["output"] for row in expected]
    assert np.load(tmp_path / "out.npy").dtype == np.float32


def test_a_folder_holds_the_parts_themselves(run: Any, rows_csv: Path, tmp_path: Path) -> None:
    summary = run(rows_csv, "out/", part_rows=20)
    parts = sorted((tmp_path / "out").glob("*.csv"))
    assert [part.name for part in parts] == [f"part-{n:06d}.csv" for n in range(summary.parts)]
    rows = [row for part in parts for row in csv.DictReader(part.read_text().splitlines())]
    assert [int(row["row"]) for row in rows] == GOOD
    with pytest.raises(ConflictError, match="is done, 50 rows"):
        run(rows_csv, "out/", part_rows=20)


def test_a_folder_of_somebody_else_is_left_alone(run: Any, rows_csv: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "part-000000.csv").write_text("precious")
    (folder / "notes.csv").write_text("precious")
    with pytest.raises(ConflictError, match="parts of something else"):
        run(rows_csv, "out/")
    assert (folder / "part-000000.csv").read_text() == "precious"
    run(rows_csv, "out/", restart=True)
    assert (folder / "notes.csv").read_text() == "precious"


def test_an_output_that_is_there_is_replaced_only_when_asked(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").write_text("precious")
    with pytest.raises(ConflictError, match="is there already"):
        run(rows_csv, "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    assert not (tmp_path / "out.jsonl.batch").exists()
    run(rows_csv, "out.jsonl", restart=True)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 47


def test_too_many_bad_rows_stop_the_run_which_goes_on_when_more_are_allowed(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRowsError, match="and 1 may"):
        run(rows_csv, "out.jsonl", max_bad=1, part_rows=5)
    said = (tmp_path / "out.jsonl.bad.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in said] == BAD[:2]
    assert not (tmp_path / "out.jsonl").exists()
    summary = run(rows_csv, "out.jsonl", max_bad=3, part_rows=5)
    assert summary.resumed_rows >= 12
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == GOOD


def test_a_run_in_which_no_row_fits_stops_early(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n" + "-1,2\n" * 50_000)
    with pytest.raises(BadRowsError, match="none of the first"):
        run(file, "out.jsonl", keep=())
    assert len((tmp_path / "out.jsonl.bad.jsonl").read_text().splitlines()) < 50_000


def test_a_run_of_something_else_is_not_gone_on_with(
    rows_csv: Path, tmp_path: Path, doubling: Any
) -> None:
    class Ended(doubling):  # type: ignore[misc]
        def receive(self) -> Any:
            if self.chunks > 4:
                raise KeyboardInterrupt
            return super().receive()

    def job(**changes: Any) -> Job:
        settings: dict[str, Any] = {
            "api": "predict",
            "input": str(rows_csv),
            "output": str(tmp_path / "out.csv"),
            "part_rows": 4,
            "keep": ("id",),
        }
        return Job(**{**settings, **changes})

    with pytest.raises(KeyboardInterrupt):
        run_batch(job(), Ended, source={"model": "1"})
    with pytest.raises(ConflictError, match="source differs"):
        run_batch(job(), doubling, source={"model": "2"})
    with pytest.raises(ConflictError, match="api and keep differ"):
        run_batch(job(api="other", keep=("a",)), doubling, source={"model": "1"})
    rows_csv.write_text(rows_csv.read_text() + "n50,1,2\n")
    with pytest.raises(ConflictError, match="input differs"):
        run_batch(job(), doubling, source={"model": "1"})
    summary = run_batch(job(restart=True), doubling, source={"model": "1"})
    assert (summary.rows, summary.resumed_rows) == (51, 0)


def test_two_runs_do_not_write_to_one_output(rows_csv: Path, tmp_path: Path, doubling: Any) -> None:
    output = str(tmp_path / "out.csv")
    job = Job(api="predict", input=str(rows_csv), output=output, keep=("id",))

    class Meanwhile(doubling):  # type: ignore[misc]
        def receive(self) -> Any:
            with pytest.raises(ConflictError, match="another run writes"):
                run_batch(job, doubling, source={})
            return super().receive()

    assert run_batch(job, Meanwhile, source={}).rows == 50


def test_a_part_that_was_changed_is_not_put_into_the_output(
    run: Any, rows_csv: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRowsError):
        run(rows_csv, "out.csv", max_bad=2, part_rows=5)
    part = tmp_path / "out.csv.batch" / "part-000001.csv"
    part.write_text(part.read_text().replace("2", "3", 1))
    with pytest.raises(BatchError, match="is not what was written there"):
        run(rows_csv, "out.csv", max_bad=5, part_rows=5)
    assert not (tmp_path / "out.csv").exists()


def test_an_empty_input_gives_an_empty_output(run: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n")
    for name in ("out.csv", "out.jsonl", "out.parquet", "out.npy"):
        assert run(tmp_path / "rows.csv", name, keep=()).rows == 0
    assert (tmp_path / "out.csv").read_text() == "row\n"
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert len(np.load(tmp_path / "out.npy")) == 0


def test_an_output_without_a_form_is_a_mistake_of_the_command(run: Any, rows_csv: Path) -> None:
    with pytest.raises(UsageError, match="does not say in which form"):
        run(rows_csv, "out.dat")
    assert run(rows_csv, "out.dat", output_format="jsonl").rows == 50


def test_chunks_grow_with_the_speed_and_stay_whole_batches() -> None:
    sizes = Sizes(32)
    seen = []
    for _ in range(10):
        sizes.learn(sizes.next)
        seen.append(sizes.next)
    assert all(size % 32 == 0 for size in seen)
    assert max(seen) <= 8192
    slow = Sizes(None)
    slow._last -= 100.0
    slow.learn(1)
    assert slow.next == 1
