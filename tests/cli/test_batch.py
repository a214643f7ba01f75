"""``modelpack batch`` as people run it: a project, a model, a bundle; what is printed, how it ends."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from modelpack.cli.batch import constants_of, progress_text
from modelpack.errors import UsageError
from modelpack.offline.pace import Progress

if TYPE_CHECKING:
    from modelpack.store import Entry
    from tests.cli.conftest import Cli

SLOW = """
import time
from pathlib import Path

import modelpack


@modelpack.service
class Slow:
    @modelpack.api(batch=True, max_batch_size=8)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        if (x == 66666).any():
            raise ValueError("no such row")
        while Path("held").exists() and x[:, 1].max() >= 300:
            time.sleep(0.01)
        time.sleep(0.004)
        return x.sum(axis=1)
"""


WHERE = """
import sys

import modelpack


@modelpack.service
class Where:
    @modelpack.api
    def prefix(self, name: str) -> str:
        return f"{name} {sys.prefix}"
"""


SIZES = """
from typing import TypedDict

import modelpack
from PIL.Image import Image


class Size(TypedDict):
    width: int
    height: int


@modelpack.service
class Sizes:
    @modelpack.api
    def size(self, image: Image) -> Size:
        return {"width": image.width, "height": image.height}
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "service.py").write_text(SLOW)
    return folder


def write_rows(file: Path, count: int, bad: tuple[int, ...] = ()) -> None:
    lines = [f"r{i},{66666 if i in bad else i},{i}" for i in range(count)]
    file.write_text("\n".join(["id,a,b", *lines]) + "\n")


def parts_of(folder: Path) -> list[Path]:
    return list((folder / "out.csv.batch").glob("*.done"))


def test_a_project_answers_a_table_and_says_what_it_did(cli: Cli, slow: Path) -> None:
    write_rows(slow / "rows.csv", 100)
    done = cli(
        "batch", ".", "predict", "-i", "rows.csv", "--output", "out.csv", "--keep", "id", cwd=slow
    )
    assert done.status == 0, done.err
    assert done.out == "out.csv\n"
    assert "100 rows, " in done.err
    assert "calls of" in done.err
    rows = list(csv.DictReader((slow / "out.csv").read_text().splitlines()))
    assert [(row["row"], row["id"], float(row["output"])) for row in rows] == [
        (str(i), f"r{i}", 2.0 * i) for i in range(100)
    ]


def test_bad_rows_are_in_a_file_of_their_own_and_in_the_status(cli: Cli, slow: Path) -> None:
    write_rows(slow / "rows.csv", 30, bad=(4, 20))
    words = ["batch", ".", "predict", "-i", "rows.csv", "--keep", "id", "--output"]
    done = cli(*words, "out.csv", cwd=slow)
    assert done.status == 1
    assert "\nrow 4: ValueError: no such row\n" in done.err
    assert "error[bad-rows]: 2 of 30 rows have no answer, all others have" in done.err
    lines = [json.loads(line) for line in (slow / "out.csv.bad.jsonl").read_text().splitlines()]
    assert [(one["row"], one["error"]["detail"]) for one in lines] == [
        (4, "ValueError: no such row"),
        (20, "ValueError: no such row"),
    ]
    fine = cli(*words, "two.csv", "--max-bad", 2, "-o", "json", cwd=slow)
    assert fine.status == 0, fine.err
    facts = json.loads(fine.out)
    assert (facts["rows"], facts["bad"], facts["dead_letter"]) == (30, 2, "two.csv.bad.jsonl")


def test_a_run_that_is_killed_again_and_again_loses_and_doubles_no_row(
    slow: Path, tmp_path: Path
) -> None:
    """The whole program, killed at moments that nobody chose."""
    count = 640
    write_rows(slow / "rows.csv", count, bad=(33, 400))
    program = Path(sys.executable).with_name("modelpack")
    words = [program, "batch", ".", "predict", "-i", "rows.csv", "--keep", "id", "--max-bad", "2"]
    words += ["--output", "out.csv", "--part-rows", "64"]
    moments = random.Random(7)
    killed = 0
    while True:
        with (tmp_path / "log").open("ab") as log:
            run = subprocess.Popen(words, cwd=slow, stdout=log, stderr=log)
        wanted = len(parts_of(slow)) + moments.randint(1, 4)
        while run.poll() is None and len(parts_of(slow)) < wanted:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.02))
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        killed += 1
    # 5: it was over, and was killed while it was tidying up
    assert run.returncode in (0, 5), (tmp_path / "log").read_text()
    assert killed >= 2
    rows = list(csv.DictReader((slow / "out.csv").read_text().splitlines()))
    assert [int(row["row"]) for row in rows] == [i for i in range(count) if i not in (33, 400)]
    assert all(float(row["output"]) == 2.0 * int(row["row"]) for row in rows)
    lines = (slow / "out.csv.bad.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [33, 400]


def test_a_bare_model_answers_an_array(cli: Cli, onnx_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(20, dtype=np.float64).reshape(-1, 2))
    done = cli("batch", onnx_file, "predict", "-i", "rows.npy", "--output", "out.npy")
    assert done.status == 0, done.err
    assert (
        np.load(tmp_path / "out.npy").tolist()
        == (np.arange(20, dtype=np.float32).reshape(-1, 2) * 2).tolist()
    )


def test_constants_fill_parameters_that_no_row_has(cli: Cli, project: Path, tmp_path: Path) -> None:
    (tmp_path / "names.jsonl").write_text('"ann"\n{"name": "bob"}\n')
    words = ["batch", project, "greet", "-i", "names.jsonl", "--output", "out.jsonl"]
    done = cli(*words, "--set", "times=2", "--metrics", "counts.prom")
    assert done.status == 0, done.err
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [
        '{"row":0,"output":"hello ann hello ann"}',
        '{"row":1,"output":"hello bob hello bob"}',
    ]
    assert (
        'modelpack_requests_total{api="greet",status="200"} 2.0'
        in (tmp_path / "counts.prom").read_text()
    )


def test_constants_are_checked_before_the_first_row(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.jsonl").write_text('"ann"\n')
    words = ["batch", project, "greet", "-i", "names.jsonl", "--output", "out.jsonl"]
    odd = cli(*words, "--set", "times=twice").err
    assert "--set times: expected an integer, got the string 'twice'" in odd
    unknown = cli(*words, "--set", "tims=2").err
    assert "--set tims: 'greet' has no such parameter\n  help: did you mean 'times'?" in unknown
    text = cli(*words, "--set", "name=5").err
    assert "a text that looks like a number is --set 'name=\"5\"'" in text
    assert not (tmp_path / "out.jsonl").exists()


def test_a_run_without_any_answer_says_so_with_the_first_reason(
    cli: Cli, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.jsonl").write_text("5\n")
    done = cli("batch", project, "greet", "-i", "names.jsonl", "--output", "out.jsonl")
    assert done.status == 1
    assert "row 0: /name: expected a string, got the integer 5" in done.err
    assert "error[bad-rows]: none of 1 row has an answer" in done.err


@pytest.mark.network
def test_a_bundle_answers_in_an_environment_of_its_own(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "where"
    folder.mkdir()
    (folder / "service.py").write_text(WHERE)
    built = cli("build", cwd=folder)
    assert built.status == 0, built.err
    (tmp_path / "names.jsonl").write_text('"ann"\n')
    tag = built.out.strip()
    done = cli("batch", tag, "prefix", "-i", "names.jsonl", "--output", "out.jsonl")
    assert done.status == 0, done.err
    prefix = json.loads((tmp_path / "out.jsonl").read_text())["output"]
    assert prefix.startswith("ann ")
    assert "/envs/" in prefix


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["greet", "-i", "none.jsonl"], 3, "not-found"),
        (["gret", "-i", "names.jsonl"], 3, "not-found"),
        (["greet", "-i", "names.jsonl", "--set", "times"], 2, "usage"),
        (["greet", "-i", "names.jsonl", "--set", "tims=2"], 2, "usage"),
        (["greet", "-i", "names.jsonl", "--set", "times=twice"], 2, "usage"),
        (["greet", "-i", "names.jsonl", "--engine", "spark"], 2, "usage"),
        (["greet", "-i", "names.jsonl", "--batch-size", "0"], 2, "usage"),
        (["greet", "-i", "names.jsonl", "--set", "name=x", "--set", "times=1"], 1, "batch-failed"),
    ],
)
def test_mistakes_are_said_in_four_lines_and_leave_nothing(
    inside: Cli, project: Path, words: list[str], status: int, code: str
) -> None:
    tmp_path = project.parent
    (tmp_path / "names.jsonl").write_text('"ann"\n')
    done = inside("batch", project, *words, "--output", "out.jsonl")
    done.failed_well(status, code)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_ray_that_is_not_installed_is_asked_for(
    inside: Cli, project: Path, bundle: Entry, tmp_path: Path
) -> None:
    (tmp_path / "names.jsonl").write_text('"ann"\n')
    words = ["greet", "-i", "names.jsonl", "--output", "out.jsonl", "--engine", "ray"]
    done = inside("batch", "hello:1", *words)
    done.failed_well(6, "tool-missing")
    assert "modelpack-cli[ray]" in done.err
    inside("batch", project, *words).failed_well(2, "usage")


def test_values_of_set_are_json_or_else_text() -> None:
    assert constants_of(["a=1", "b=x y", "c=[1]", 'd="1"', "e="]) == {
        "a": 1,
        "b": "x y",
        "c": [1],
        "d": "1",
        "e": "",
    }
    with pytest.raises(UsageError, match="NAME=VALUE"):
        constants_of(["1=2"])


def test_progress_has_rate_and_time_left() -> None:
    now = Progress(rows=1234, bad=2, total=10000, share=0.1234, rate=5210.4, left_s=1.68)
    assert progress_text(now) == " 12%  1,234 of 10,000 rows, 2 bad, 5,210 rows/s, 1.7 s left"
    first = Progress(rows=1, bad=0, total=None, share=0.0, rate=0.4, left_s=None)
    assert progress_text(first) == "  0%  1 rows, 0.4 rows/s"


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(cli: Cli, slow: Path) -> None:
    write_rows(slow / "rows.csv", 600)
    held = slow / "held"
    held.touch()  # the half of the rows waits, so that the run has not ended when it is interrupted
    program = Path(sys.executable).with_name("modelpack")
    words = ["batch", ".", "predict", "-i", "rows.csv", "--keep", "id", "--output", "out.csv"]
    run = subprocess.Popen(
        [program, *words, "--part-rows", "64"], cwd=slow, stderr=subprocess.PIPE, text=True
    )
    while run.poll() is None and len(parts_of(slow)) < 2:
        time.sleep(0.002)
    run.send_signal(signal.SIGINT)
    time.sleep(0.1)
    held.unlink()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from there" in said
    done = cli(*words, "--part-rows", 64, "-o", "json", cwd=slow)
    assert done.status == 0, done.err
    facts = json.loads(done.out)
    assert 128 <= facts["resumed_rows"] < 600
    assert len((slow / "out.csv").read_text().splitlines()) == 601


def test_a_folder_of_images_is_answered_by_name(cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "sizes"
    (folder / "images").mkdir(parents=True)
    (folder / "service.py").write_text(SIZES)
    for width in (3, 5):
        Image.new("L", (width, 2)).save(folder / "images" / f"{width}.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    words = ["batch", ".", "size", "-i", "images", "--max-bad", 1, "--output", "out.jsonl"]
    done = cli(*words, cwd=folder)
    assert done.status == 0, done.err
    assert [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()] == [
        {"row": 0, "file": "3.png", "width": 3, "height": 2},
        {"row": 1, "file": "5.png", "width": 5, "height": 2},
    ]
    bad = json.loads((folder / "out.jsonl.bad.jsonl").read_text())
    assert bad["error"]["code"] == "bad-input"
    assert bad["error"]["detail"].startswith("/image: expected an image file")


def test_a_terminal_shows_a_line_that_is_drawn_anew(slow: Path) -> None:
    import pty

    write_rows(slow / "rows.csv", 400)
    program = Path(sys.executable).with_name("modelpack")
    words = ["batch", ".", "predict", "-i", "rows.csv", "--keep", "id", "--output", "out.csv"]
    ours, theirs = pty.openpty()
    run = subprocess.Popen([program, *words], cwd=slow, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the terminal is closed at the end of the program
        while data := os.read(ours, 4096):
            said += data
    os.close(ours)
    assert run.wait(timeout=60) == 0
    assert b"\r\x1b[2K" in said
    assert re.search(rb"\d+%  \d+ rows, [\d,]+ rows/s", said), said
